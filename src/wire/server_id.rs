//! The name of a node.

/// Reads the name of a node. It must be usable in replies, logs, paths and addresses.
///
/// # Errors
/// If it is empty, too long, or has other characters than letters, digits, dot, dash and underscore.
pub fn parse(text: &str) -> Result<String, String> {
    const CHARACTERS_MAX: usize = 64;
    let usable = !text.is_empty()
        && text.len() <= CHARACTERS_MAX
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if usable {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{}\" is not a name: it must have 1 to {CHARACTERS_MAX} letters, digits, dots, dashes or underscores",
            text.escape_debug()
        ))
    }
}
