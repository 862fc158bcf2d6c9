//! Host names of other nodes, and where they are.
//!
//! `ureq` looks a name up for every call, also when it has a connection at hand: that reads three files of the system each
//! time. Here a name is looked up at most once in [`FRESH_FOR`], so a node that got another address is still found soon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a name is where it was.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Looks names up, and knows them for a moment.
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
    /// Apart from the usual way, whose stack it would make larger.
    #[cold]
    fn look_up(
        &self,
        authority: &Authority,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.resolver.resolve(uri, config, timeout).map_err(|error| match error {
            // Of a name that nobody has, the system says so in its own words.
            Error::Io(_) => Error::HostNotFound,
            other => other,
        })?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.insert(authority.as_str().to_owned(), (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}
