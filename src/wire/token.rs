//! The secrets of clients and nodes.
//!
//! A request has a token as `Authorization: Bearer TOKEN`, or as the password of `Basic`, for which browsers ask. The
//! user name of `Basic` does not matter. A token is compared in constant time, and never logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 256;

/// A secret.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// If it is too short, too long, or not valid in a header. The sentence does not contain it.
    pub(crate) fn parse(text: &str) -> Result<Token, String> {
        let text = text.trim_end_matches(['\r', '\n']);
        let usable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if usable && (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len()) {
            return Ok(Token(text.into()));
        }
        Err(format!(
            "the token must have {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} letters, digits and signs, and no spaces; \
             openssl rand -hex 32 makes one"
        ))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a secret is this one.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(not shown)")
    }
}

/// The secret in an `Authorization` header.
pub(crate) fn secret(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_either_scheme_and_never_shown() {
        let token = Token::parse("0123456789abcdef\n").unwrap();
        assert!(token.is(&secret("Bearer 0123456789abcdef").unwrap()));
        assert!(token.is(&secret("basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVm").unwrap()));
        for wrong in
            ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "Digest x"]
        {
            assert!(!secret(wrong).is_some_and(|given| token.is(&given)), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        for useless in ["short", "with a space in it, quite long", &"x".repeat(257), "zeichen-jenseits-von-äscii"] {
            let why = Token::parse(useless).unwrap_err();
            assert!(!why.contains(useless), "{why}");
        }
    }
}
