//! Pages of other sites that may use the API from a browser (CORS, in the Fetch standard). By default none may.

use crate::http::{Exchange, Method};

/// Headers of a reply that such a page may read, beside those that every page may.
const EXPOSED: &str = "ETag, Idempotent-Replayed, Location, Log-Begin, Log-End, Log-Id, Retry-After, Server-Timing, \
                       Warning, WWW-Authenticate";
/// Headers that it may send, beside those that every page may.
const TAKEN: &str = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID";
/// For how many seconds a browser may remember the answer to its question.
const REMEMBERED_S: &str = "600";

/// Origins whose pages may use this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<String>,
    are_all: bool,
}

impl Origins {
    /// Reads origins, separated by commas, such as `https://app.example.org`; `*` for all.
    ///
    /// # Errors
    /// If one of them is no origin.
    pub(crate) fn parse(text: &str) -> Result<Origins, String> {
        let mut origins = Origins::default();
        for origin in text.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if origin == "*" {
                origins.are_all = true;
            } else if rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' '])) {
                origins.allowed.push(origin.to_ascii_lowercase());
            } else {
                return Err(format!(
                    "\"{}\" is not an origin; it must be a scheme and a host as a browser sends them, without a path, such \
                     as https://app.example.org or http://localhost:8080",
                    origin.escape_debug()
                ));
            }
        }
        Ok(origins)
    }

    /// Whether pages of this origin may use this node.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.are_all || self.allowed.contains(&origin.to_ascii_lowercase())
    }

    /// Whether pages of every origin may.
    pub(crate) fn are_all(&self) -> bool {
        self.are_all
    }

    /// Adds to the reply what a browser has to know before it shows it to a page of an allowed origin. `methods` are
    /// those of the path.
    pub(crate) fn mark(&self, exchange: &mut Exchange, methods: &str) {
        let Some(origin) = exchange.header("Origin").filter(|origin| self.allow(origin)).map(str::to_owned) else {
            return;
        };
        let asks = exchange.method() == Method::Options && exchange.header("Access-Control-Request-Method").is_some();
        exchange.add_reply_header("Access-Control-Allow-Origin", origin);
        if asks {
            exchange.add_reply_header("Access-Control-Allow-Methods", methods);
            exchange.add_reply_header("Access-Control-Allow-Headers", TAKEN);
            exchange.add_reply_header("Access-Control-Max-Age", REMEMBERED_S);
        } else {
            exchange.add_reply_header("Access-Control-Expose-Headers", EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_in_full() {
        let origins = Origins::parse("https://app.example.org, http://localhost:8080").unwrap();
        assert!(
            ["https://app.example.org", "HTTPS://App.example.org", "http://localhost:8080"]
                .iter()
                .all(|o| origins.allow(o))
        );
        assert!(["http://app.example.org", "https://example.org", "null", ""].iter().all(|o| !origins.allow(o)));
        assert!(Origins::parse("*").unwrap().allow("https://any.example"));
        assert!(!Origins::parse("").unwrap().allow("https://any.example"));
        for wrong in ["app.example.org", "https://app.example.org/", "https://*.example.org", "ftp://a", "https://"] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
    }
}
