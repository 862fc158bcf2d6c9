//! Stopping as asked.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::thread;

/// Set for a node that must not outlive the process that started it: it stops when its standard input ends.
pub(crate) const STOP_WITH_PARENT: &str = "STOP_WITH_PARENT";

/// Waits for SIGTERM or Ctrl-C, and gives the name of what came. A second one ends the process at once.
pub(crate) fn wait() -> io::Result<&'static str> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    if std::env::var_os(STOP_WITH_PARENT).is_some() {
        thread::Builder::new().name("parent".to_owned()).spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            handle.close();
        })?;
    }
    let reason = match signals.forever().next() {
        Some(SIGTERM) => "SIGTERM",
        Some(_) => "Ctrl-C",
        None => "the process that started this one ended",
    };
    thread::Builder::new().name("impatience".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            log::warn!("stopped at once, as asked twice");
            std::process::exit(130);
        }
    })?;
    Ok(reason)
}
