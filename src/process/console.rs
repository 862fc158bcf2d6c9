//! The standard output, written without ever waiting for long.
//!
//! A pipe that is not read, or a terminal that was stopped with Ctrl-S, makes a plain `write` wait for ever, and with
//! it everything that waits for the writer. So the system is asked first whether the output takes something.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of one write: a pipe that says that it takes something takes so many without waiting (`PIPE_BUF` of Linux).
const PIECE_BYTES: usize = 4_096;

/// An output that several threads share.
#[derive(Debug)]
pub(crate) struct Console<W = io::Stdout> {
    output: Mutex<W>,
    /// It took nothing for as long as its last writer waited. Until it takes something again, no writer waits for it.
    is_stuck: AtomicBool,
}

impl Console {
    pub(crate) fn stdout() -> Console {
        Console::new(io::stdout())
    }
}

impl Console<io::Stderr> {
    pub(crate) fn stderr() -> Console<io::Stderr> {
        Console::new(io::stderr())
    }
}

impl<W: AsFd> Console<W> {
    fn new(output: W) -> Console<W> {
        Console { output: Mutex::new(output), is_stuck: AtomicBool::new(false) }
    }

    /// Writes as much as the output takes within `timeout`; less if it was stuck before. Gives the number of bytes.
    ///
    /// An output that is broken, because its reader went away, takes everything.
    pub(crate) fn write(&self, bytes: &[u8], timeout: Duration) -> usize {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + timeout;
        let mut written = 0;
        while written < bytes.len() {
            let left = match self.is_stuck.load(Ordering::Relaxed) {
                true => Duration::ZERO,
                false => deadline.saturating_duration_since(Instant::now()),
            };
            if !takes_something(&*output, left) {
                self.is_stuck.store(true, Ordering::Relaxed);
                return written;
            }
            self.is_stuck.store(false, Ordering::Relaxed);
            let piece = &bytes[written..bytes.len().min(written + PIECE_BYTES)];
            match rustix::io::write(&*output, piece) {
                Ok(taken) if taken > 0 => written += taken,
                Err(Errno::INTR | Errno::AGAIN) => {}
                _ => return bytes.len(),
            }
        }
        written
    }
}

fn takes_something(output: &impl AsFd, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).ok();
    loop {
        match poll(&mut [PollFd::new(output, PollFlags::OUT)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_full_pipe_delays_no_writer_twice_and_goes_on_when_it_is_read() {
        let (mut reader, writer) = io::pipe().unwrap();
        let console = Console::new(writer);
        let bytes = vec![b'x'; 1 << 20];
        let taken = console.write(&bytes, Duration::from_millis(20));
        assert!(taken > 0 && taken < bytes.len(), "{taken}");
        let began = Instant::now();
        assert_eq!(console.write(&bytes, Duration::from_secs(3_600)), 0, "it is known to be stuck");
        assert!(began.elapsed() < Duration::from_secs(60));
        let mut first = vec![0; taken];
        reader.read_exact(&mut first).unwrap();
        assert_eq!(console.write(b"again", Duration::ZERO), 5);
    }

    #[test]
    fn a_broken_pipe_takes_everything() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(Console::new(writer).write(b"to no one", Duration::ZERO), 9);
    }
}
