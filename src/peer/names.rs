//! A cache of name lookups.
//!
//! `ureq` looks a name up for every call, even if it has an open connection, and each lookup reads three files of the
//! system. This cache keeps an address for [`FRESH_FOR`] only, so that a node with a new address is found soon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an address is kept.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Looks names up, and keeps the addresses for [`FRESH_FOR`].
#[derive(Debug, Default)]
pub(super) struct RecentNames {
    resolver: DefaultResolver,
    recent: Mutex<BTreeMap<String, (Instant, ResolvedSocketAddrs)>>,
}

impl RecentNames {
    fn find(&self, authority: &Authority) -> Option<ResolvedSocketAddrs> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, addresses) = recent.get(authority.as_str())?;
        (since.elapsed() < FRESH_FOR).then(|| addresses.clone())
    }
}

impl Resolver for RecentNames {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let Some(authority) = uri.authority() else { return self.resolver.resolve(uri, config, timeout) };
        self.find(authority).map_or_else(|| self.look_up(authority, uri, config, timeout), Ok)
    }
}

impl RecentNames {
    /// Looks a name up. A function of its own, because it would enlarge the stack frame of the frequent path.
    #[cold]
    fn look_up(
        &self,
        authority: &Authority,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.resolver.resolve(uri, config, timeout).map_err(|error| match error {
            // For an unknown name, the system's resolver gives an I/O error.
            Error::Io(_) => Error::HostNotFound,
            other => other,
        })?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.insert(authority.as_str().to_owned(), (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}
