//! Which requests are let in. The library accepts almost anything; a head that two readers could understand in two ways
//! is refused here, before anything of its body is touched.

use super::limits::Limits;
use super::reply::Reply;
use tiny_http::{HTTPVersion, Request};

/// How the body of an admitted request is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is none.
    Absent,
    /// So many bytes.
    Length(usize),
    /// Chunks. The connection ends after them: what the library makes of trailers and extensions is not trusted.
    Chunked,
    /// Not to be known: the request is refused, and its connection ends.
    Ambiguous,
}

/// Headers that a request may have once. Of two lines one would be ignored.
const SINGLE: [&str; 7] = [
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Origin",
    "Sec-Fetch-Site",
];

/// Examines a head.
///
/// # Errors
/// With the reply that refuses it.
pub(super) fn examine(request: &Request, limits: &Limits) -> Result<Framing, Reply> {
    check_target(request, limits)?;
    check_headers(request, limits)?;
    check_host(request)?;
    framing(request, limits)
}

fn check_target(request: &Request, limits: &Limits) -> Result<(), Reply> {
    let target = request.url();
    if target.len() > limits.target_bytes_max {
        return Err(Reply::problem(
            414,
            &format!("the request target has {} bytes; at most {} are taken", target.len(), limits.target_bytes_max),
        ));
    }
    let is_text = !target.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    let is_asterisk = target == "*" && *request.method() == tiny_http::Method::Options;
    if !is_text || !(is_asterisk || split_target(target).is_some()) {
        return Err(Reply::problem(
            400,
            "the request target must be a path, such as /messages, or http:// with a host and a path",
        ));
    }
    if *request.http_version() < HTTPVersion(1, 0) {
        return Err(Reply::problem(400, "this server speaks HTTP/1.1 and HTTP/1.0"));
    }
    Ok(())
}

/// The host in an absolute target (RFC 9112, section 3.2.2), and the path with its query. `None` if the target is neither
/// that nor a path.
pub(super) fn split_target(target: &str) -> Option<(Option<&str>, &str)> {
    if target.starts_with('/') {
        return Some((None, target));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match path {
        "" => Some((Some(authority), "/")),
        path if path.starts_with('/') => Some((Some(authority), path)),
        _ => None,
    }
}

/// Whether the client offers another protocol. The offer is ignored (RFC 9110, section 7.8), but the library gives such
/// a request the bare connection as its body, and reads nothing after it.
pub(super) fn offers_upgrade(request: &Request) -> bool {
    connection_says(request, "upgrade")
}

/// Whether the library reads no other request of the connection.
pub(super) fn is_last(request: &Request) -> bool {
    let is_old = *request.http_version() == HTTPVersion(1, 0);
    connection_says(request, "close") || offers_upgrade(request) || (is_old && !connection_says(request, "keep-alive"))
}

/// As the library looks for it: in the first line only, and anywhere in it.
fn connection_says(request: &Request, word: &str) -> bool {
    values(request, "Connection").next().is_some_and(|value| value.to_ascii_lowercase().contains(word))
}

/// Whether the head is no longer than it may be.
pub(super) fn is_short(request: &Request, limits: &Limits) -> bool {
    request.url().len() <= limits.target_bytes_max
        && request.headers().len() <= limits.headers_max
        && header_bytes(request) <= limits.head_bytes_max
}

fn header_bytes(request: &Request) -> usize {
    request.headers().iter().map(|header| header.field.as_str().len() + header.value.len()).sum()
}

fn check_headers(request: &Request, limits: &Limits) -> Result<(), Reply> {
    let (headers, bytes) = (request.headers(), header_bytes(request));
    if headers.len() > limits.headers_max || bytes > limits.head_bytes_max {
        return Err(Reply::problem(
            431,
            &format!(
                "the request has {} header lines with {bytes} bytes; at most {} lines and {} bytes are taken",
                headers.len(),
                limits.headers_max,
                limits.head_bytes_max
            ),
        ));
    }
    for header in headers {
        let name = header.field.as_str().as_str();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Reply::problem(400, &format!("\"{}\" is not the name of a header", name.escape_debug())));
        }
        if header.value.as_str().bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
            return Err(Reply::problem(400, &format!("the header {name} has a control character in its value")));
        }
    }
    match SINGLE.iter().find(|name| values(request, name).nth(1).is_some()) {
        Some(name) => Err(Reply::problem(400, &format!("the request has more than one {name} header"))),
        None => Ok(()),
    }
}

fn check_host(request: &Request) -> Result<(), Reply> {
    let mut hosts = values(request, "Host");
    let usable = |host: &str| !host.is_empty() && !host.contains(['@', ',', '/', ' ', '\t']);
    let authority = split_target(request.url()).and_then(|(authority, _)| authority);
    if let Some(wrong) = authority.filter(|authority| !usable(authority)) {
        return Err(Reply::problem(400, &format!("\"{}\" is not a host", wrong.escape_debug())));
    }
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if usable(host) => Ok(()),
        (None, _) if *request.http_version() == HTTPVersion(1, 0) => Ok(()),
        (None, _) => Err(Reply::problem(400, "the request has no Host header")),
        (Some(host), None) => Err(Reply::problem(400, &format!("\"{}\" is not a host", host.escape_debug()))),
        (Some(_), Some(_)) => Err(Reply::problem(400, "the request has more than one Host header")),
    }
}

fn framing(request: &Request, limits: &Limits) -> Result<Framing, Reply> {
    let (mut encodings, mut lengths) = (values(request, "Transfer-Encoding"), values(request, "Content-Length"));
    match ((encodings.next(), encodings.next()), (lengths.next(), lengths.next())) {
        ((None, _), (None, _)) => Ok(Framing::Absent),
        ((None, _), (Some(length), None)) => content_length(length, limits),
        ((None, _), _) => Err(Reply::problem(400, "the request has more than one Content-Length header")),
        ((Some(encoding), None), (None, _)) if encoding.eq_ignore_ascii_case("chunked") => match request.http_version()
        {
            // The library leaves the chunks of such a request as they are.
            _ if offers_upgrade(request) => Err(Reply::problem(
                411,
                "with an offer to upgrade, this server takes no chunks; send a Content-Length, or make no offer",
            )),
            HTTPVersion(1, 1) => Ok(Framing::Chunked),
            _ => Err(Reply::problem(400, "HTTP/1.0 has no transfer encodings; send a Content-Length")),
        },
        (_, (None, _)) => {
            Err(Reply::problem(501, "the only transfer encoding taken is \"chunked\"; or send a Content-Length"))
        }
        _ => Err(Reply::problem(400, "the request has both a Content-Length and a Transfer-Encoding")),
    }
}

fn content_length(value: &str, limits: &Limits) -> Result<Framing, Reply> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reply::problem(400, &format!("\"{}\" is not a Content-Length", value.escape_debug())));
    }
    match value.parse::<usize>() {
        Ok(length) if length <= limits.body_bytes_max => Ok(Framing::Length(length)),
        _ => Err(too_large(limits.body_bytes_max)),
    }
}

/// The reply to a body beyond the limit, declared or found.
pub(super) fn too_large(body_bytes_max: usize) -> Reply {
    Reply::problem(413, &format!("the body is larger than {body_bytes_max} bytes, the limit of this node"))
}

fn values<'a>(request: &'a Request, name: &'static str) -> impl Iterator<Item = &'a str> {
    request.headers().iter().filter(move |header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// A character of a header's name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
