//! The open descriptors of this process, and what they say about connections. The library does not count connections.

use std::fs;

/// Descriptors of one connection: the library duplicates each, for reading and for writing.
pub(super) const PER_CONNECTION: usize = 2;

/// How many descriptors this process has open; 0 where there is no `/proc`. Linux 6.2 and later give it as the size of
/// the directory; before, its entries have to be counted.
pub(super) fn open() -> usize {
    const DIRECTORY: &str = "/proc/self/fd";
    let size = fs::metadata(DIRECTORY).map_or(0, |directory| usize::try_from(directory.len()).unwrap_or(0));
    if size > 0 { size } else { fs::read_dir(DIRECTORY).map_or(0, Iterator::count) }
}

/// How many connections there are, about: what was opened since the start, for which other files and the connections to
/// other nodes pass, too. It is the same measure that the limiter takes, so it includes the connections that the
/// library leaked.
#[derive(Debug)]
pub(super) struct ConnectionCount {
    /// Descriptors of other things.
    others: usize,
}

impl ConnectionCount {
    /// Begins before the first connection. Beside what is open now, `own` descriptors will not be those of clients.
    pub(super) fn start(own: usize) -> ConnectionCount {
        ConnectionCount { others: open() + own }
    }

    pub(super) fn connections(&self) -> usize {
        open().saturating_sub(self.others) / PER_CONNECTION
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionCount, PER_CONNECTION};
    use std::fs::File;

    #[test]
    fn what_was_opened_since_the_start_counts() {
        let count = ConnectionCount::start(0);
        let _open: Vec<File> = (0..200 * PER_CONNECTION).map(|_| File::open("/dev/null").unwrap()).collect();
        if cfg!(target_os = "linux") {
            // Other tests of this process open and close files, too.
            assert!(count.connections().abs_diff(200) < 100, "{}", count.connections());
        }
    }
}
