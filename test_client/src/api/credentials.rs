//! The token that guarded nodes ask for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A secret: the client sends it to nodes, and never prints it.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<str>);

impl Credentials {
    /// Whether there is a token: an empty variable counts as unset.
    pub(crate) fn is_given(&self) -> bool {
        !self.0.is_empty()
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl FromStr for Credentials {
    type Err = String;

    fn from_str(text: &str) -> Result<Credentials, String> {
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Credentials(text.into()))
        } else {
            Err("a token has letters, digits and signs, and no spaces".to_owned())
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(not shown)")
    }
}
