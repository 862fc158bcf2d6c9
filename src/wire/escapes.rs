//! Percent signs in paths (RFC 3986, section 2), and in queries and forms (WHATWG URL, section 5).

use std::borrow::Cow;

/// Decodes a path, so that it can be compared with that of a route. A slash and a percent sign stay encoded, and so does
/// what is no text: a slash that was encoded is a part of a name, and separates nothing.
#[must_use]
pub fn normalise_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let stays = |byte: u8| byte.is_ascii_control() || byte == b'/' || byte == b'%';
    String::from_utf8(unescape(path.as_bytes(), stays)).map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Decodes a name or a value of a query or a form, in which a plus stands for a blank.
///
/// # Errors
/// With a sentence, if it is not UTF-8.
pub fn decode_form(text: &str) -> Result<String, String> {
    let text = text.replace('+', " ");
    let not_utf8 = |_| format!("\"{}\" is not UTF-8 once it is decoded", text.escape_debug());
    String::from_utf8(unescape(text.as_bytes(), |_| false)).map_err(not_utf8)
}

/// Decodes what is escaped, except the bytes that stay.
fn unescape(text: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&first, after)) = rest.split_first() {
        rest = match escaped(rest) {
            Some(byte) if stays(byte) => {
                decoded.extend(rest[..3].iter().map(u8::to_ascii_uppercase));
                &rest[3..]
            }
            Some(byte) => {
                decoded.push(byte);
                &rest[3..]
            }
            None => {
                decoded.push(first);
                after
            }
        };
    }
    decoded
}

/// The byte that a text begins with, if that is escaped.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Decodes the rest of a part of a normalised path.
#[must_use]
pub fn decode_part(part: &str) -> String {
    part.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        for (sent, meant) in [
            ("/writes/order%3A4711", "/writes/order:4711"),
            ("/%6dessages", "/messages"),
            ("/writes/a%2Fb", "/writes/a%2Fb"),
            ("/writes/a%252Fb", "/writes/a%252Fb"),
            ("/writes/%C3%A4", "/writes/\u{e4}"),
            ("/messages%00", "/messages%00"),
            ("/writes/%zz%", "/writes/%zz%"),
            ("/writes/%ff", "/writes/%ff"),
        ] {
            assert_eq!(normalise_path(sent), meant, "{sent}");
        }
        assert_eq!(["a%2Fb", "a%252Fb", "100%25"].map(decode_part), ["a/b", "a%2Fb", "100%"]);
        assert_eq!(decode_form("a+b%2Bc%26%3D%zz"), Ok("a b+c&=%zz".to_owned()));
        assert!(decode_form("%ff").is_err());
    }
}
