//! The page at `/`, in one file.

use crate::http::Reply;

const PAGE: &str = include_str!("page.html");
/// The page loads nothing from elsewhere, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers `GET /`.
pub(crate) fn page() -> Reply {
    Reply::text("text/html; charset=utf-8", PAGE.to_owned())
        .with_header("Content-Security-Policy", POLICY)
        .with_header("X-Content-Type-Options", "nosniff")
}
