//! Stopping as asked.

use crate::process::threads;
use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// Set for a node that must not outlive the process that started it: it stops when its standard input ends.
pub(crate) const STOP_WITH_PARENT: &str = "STOP_WITH_PARENT";

/// A signal that comes again within this time is the same request: GNU `timeout` sends one to the process and one to
/// its group, and a terminal may send SIGHUP beside SIGTERM.
const SAME_REQUEST: Duration = Duration::from_secs(2);
/// The exit code of a process that a signal ended.
const EXIT_SIGNAL: i32 = 130;

/// What asks this process to stop.
pub(crate) struct StopSignals {
    reasons: Receiver<&'static str>,
    /// Whether a stop has to be orderly: before that there is nothing to lose.
    is_serving: Arc<AtomicBool>,
}

/// From now on a file that reaches the size that this process may write (`ulimit -f`) is an error of that write, and
/// not the end of the process.
pub(crate) fn ignore_file_size_signal() {
    // If that is not possible, the process ends as every other would.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// From now on a signal that asks for a stop ends this process at once until [`StopSignals::wait`] is called; then it
/// waits for one.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn watch() -> io::Result<StopSignals> {
    let hangup = (!is_hangup_ignored()).then_some(SIGHUP);
    let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(hangup))?;
    if std::env::var_os(STOP_WITH_PARENT).is_some() {
        stop_with_parent(signals.handle());
    }
    let (asked, reasons) = bounded(1);
    let is_serving = Arc::new(AtomicBool::new(false));
    let serving = Arc::clone(&is_serving);
    threads::start_needed("signals", move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            let is_orderly = serving.load(Ordering::Acquire);
            if !is_orderly || first.is_some_and(|first| first.elapsed() > SAME_REQUEST) {
                log::warn!("stopped at once by {}", name(signal));
                log::logger().flush();
                std::process::exit(EXIT_SIGNAL);
            }
            if first.is_none() {
                first = Some(Instant::now());
                let _ = asked.send(name(signal));
            }
        }
    })?;
    Ok(StopSignals { reasons, is_serving })
}

impl StopSignals {
    /// Waits for a signal, or for the end of the process that started this one, and gives the name of what came. A
    /// signal that comes more than [`SAME_REQUEST`] later ends the process at once.
    pub(crate) fn wait(self) -> &'static str {
        self.is_serving.store(true, Ordering::Release);
        self.reasons.recv().unwrap_or("the end of the process that started this one")
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        _ => "Ctrl-C",
    }
}

fn stop_with_parent(handle: Handle) {
    let started = thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        handle.close();
    });
    if let Err(error) = started {
        log::warn!("this process will not stop with the one that started it: no thread could be started: {error}");
    }
}

/// Whether this process was started to survive the end of its terminal, as `nohup` does it.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (SIGHUP - 1) & 1 == 1))
}
