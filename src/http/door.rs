//! How many connections there may be.
//!
//! Each costs two descriptors and a thread of the library, which accepts them until it has no descriptor left; then its
//! accept loop ends, no file can be opened, and no other node called. So the door closes before that. The library cannot
//! be told, but all copies of a listener share their state: it is made not to block, so the accept loop ends as soon as
//! it is woken. While the door is closed, those who come are accepted here, told 503, and sent away. When enough others
//! have gone, a new gate opens on the listener.
//!
//! Connections are counted by the descriptors of the process, which the system tells at once; a few dozen of them are
//! something else.

use super::reply::Reply;
use super::sending::farewell;
use rustix::process::{Resource, getrlimit};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::iter;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Descriptors that are no connections of clients, about: files, connections to other nodes, and the caretaker's.
const OTHER_DESCRIPTORS: usize = 64;
/// A quarter of the descriptors, but not more than these, stay free for files, other nodes, and those who come between
/// two glances.
const SPARE_DESCRIPTORS_MAX: usize = 2_304;
/// It opens again when so many descriptors have become free, or a tenth of all: more than the caretaker gives up itself.
const MARGIN_MIN: usize = 16;
/// Who was sent away has so long to read why: a connection that is closed at once takes its last words with it.
const FAREWELL: Duration = Duration::from_millis(500);
/// So many may be reading it, of whom none counts as a connection any more; but they take descriptors that are spare.
const LEAVING_MAX: usize = 64;
/// Who waits is sent away in groups of so many.
const AT_ONCE: usize = 256;

pub(super) struct Door {
    listener: TcpListener,
    /// It closes when more descriptors are in use than this.
    closes_above: usize,
    /// So many are kept free.
    spare: usize,
    /// There were more when it was last asked.
    is_full: bool,
    /// Since when nobody is let in.
    closed_since: Option<Instant>,
    farewell: Vec<u8>,
    leaving: VecDeque<(Instant, TcpStream)>,
    leaving_max: usize,
    turned_away: u64,
}

impl Door {
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> Door {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let spare = (descriptors / 4).min(SPARE_DESCRIPTORS_MAX);
        let available = descriptors - spare;
        let wanted = connections_max * 2 + OTHER_DESCRIPTORS;
        if wanted > available {
            let connections = available.saturating_sub(OTHER_DESCRIPTORS) / 2;
            log::warn!(
                "at most about {connections} connections are taken, not {connections_max}: this process may have \
                 {descriptors} open files; ulimit -n raises that"
            );
        }
        let refusal = Reply::overloaded("this node has as many connections as it takes; try again in a moment");
        Door {
            listener,
            closes_above: wanted.min(available),
            spare,
            is_full: false,
            closed_since: None,
            farewell: farewell(&refusal).unwrap_or_default(),
            leaving: VecDeque::new(),
            leaving_max: LEAVING_MAX.min(spare / 2),
            turned_away: 0,
        }
    }

    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    pub(super) fn closed_since(&self) -> Option<Instant> {
        self.closed_since
    }

    /// Whether there are more connections than there may be: far more, or also when it was asked before. Some are very
    /// short.
    pub(super) fn is_crowded(&mut self, descriptors: usize) -> bool {
        let was_full = std::mem::replace(&mut self.is_full, descriptors > self.closes_above);
        self.is_full && (was_full || descriptors > self.closes_above + self.spare / 2)
    }

    /// Whether there is room again, and for more than a few.
    pub(super) fn has_room(&self, descriptors: usize) -> bool {
        let margin = (self.closes_above / 10).max(MARGIN_MIN);
        descriptors.saturating_sub(self.leaving.len()) + margin < self.closes_above
    }

    /// From now on nobody is let in. The accept loop still has to be woken.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        self.closed_since = Some(Instant::now());
        self.turned_away = 0;
        log::warn!("there are as many connections as this node takes; new ones are refused until some have gone");
        Ok(())
    }

    /// From now on a gate may let them in.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(false)?;
        self.closed_since = None;
        self.is_full = false;
        self.leaving.clear();
        log::info!("connections are taken again; {} were refused meanwhile", self.turned_away);
        Ok(())
    }

    /// Tells everybody who waits that there is no room. Gives how many they were.
    pub(super) fn turn_away(&mut self) -> u64 {
        let before = self.turned_away;
        let had_time = self.leaving.partition_point(|(since, _)| since.elapsed() > FAREWELL);
        self.leaving.drain(..had_time).for_each(|(_, stream)| part_from(&stream));
        for (stream, _) in iter::from_fn(|| self.listener.accept().ok()).take(AT_ONCE) {
            self.turned_away += 1;
            if self.leaving.len() >= self.leaving_max
                && let Some((_, stream)) = self.leaving.pop_front()
            {
                part_from(&stream);
            }
            if stream.set_nonblocking(true).and_then(|()| (&stream).write_all(&self.farewell)).is_ok() {
                self.leaving.push_back((Instant::now(), stream));
            }
        }
        self.turned_away - before
    }
}

/// Reads what has come: otherwise the system would tell the client of an error, and it might not read its answer.
fn part_from(mut stream: &TcpStream) {
    let _ = stream.read(&mut [0; 4_096]);
    let _ = stream.shutdown(Shutdown::Both);
}

/// How many descriptors this process has open; 0 where the system does not tell. Linux 6.2 and later tell it as the size
/// of the directory; before, its entries have to be counted.
pub(super) fn open_descriptors() -> usize {
    const DIRECTORY: &str = "/proc/self/fd";
    let told = fs::metadata(DIRECTORY).map_or(0, |directory| usize::try_from(directory.len()).unwrap_or(0));
    if told > 0 { told } else { fs::read_dir(DIRECTORY).map_or(0, Iterator::count) }
}
