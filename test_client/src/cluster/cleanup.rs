//! Undoes the changes that a run makes outside itself, at its normal end, at an early one, after a panic and on a
//! signal.

use super::own_nodes::OwnCluster;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The changes to undo: nodes of our own, and at most one other change at a time.
#[derive(Clone, Default)]
pub(crate) struct Cleanup(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    cluster: Option<Arc<OwnCluster>>,
    undo: Option<Undo>,
}

/// Undoes a change, and prints a message if that fails.
type Undo = Box<dyn FnOnce() + Send>;

impl Cleanup {
    /// Records that nodes of our own may run from now on.
    pub(crate) fn cluster_begins(&self, cluster: &Arc<OwnCluster>) {
        self.lock().cluster = Some(Arc::clone(cluster));
    }

    /// Records a change that has to be undone.
    pub(crate) fn change_begins(&self, undo: impl FnOnce() + Send + 'static) {
        self.lock().undo = Some(Box::new(undo));
    }

    /// Records that the change was undone.
    pub(crate) fn change_ended(&self) {
        self.lock().undo = None;
    }

    /// Undoes all changes. Returns the directory of our own nodes if it exists and has to be kept.
    pub(crate) fn run(&self, keep_directory: bool) -> Option<PathBuf> {
        self.lock().run(keep_directory)
    }

    /// On a signal, undoes all changes, and ends the program with the exit code that a shell makes of that signal, 130
    /// for Ctrl-C. If the run may end early, the first signal asks it to, and the second one does this.
    pub(crate) fn run_on_signal(&self, end_early: Option<Arc<AtomicBool>>) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let cleanup = self.clone();
        let wait = move || {
            for signal in signals.forever() {
                if end_early.as_ref().is_some_and(|early| !early.swap(true, Ordering::SeqCst)) {
                    anstream::eprintln!("test_client: ending early; the next signal ends it without a verdict");
                    continue;
                }
                // Held to the end, so that the run makes no more changes, and does not end the program itself.
                let mut open = cleanup.lock();
                anstream::eprintln!("test_client: stopping, and undoing its changes first");
                open.run(false);
                process::exit(128 + signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn run(&mut self, keep_directory: bool) -> Option<PathBuf> {
        if let Some(undo) = self.undo.take() {
            undo();
        }
        let cluster = self.cluster.take()?;
        if keep_directory {
            return cluster.stop_and_keep();
        }
        cluster.stop();
        None
    }
}

/// Undoes all changes when it goes out of scope.
pub(crate) struct Guard(pub(crate) Cleanup);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.run(false);
    }
}
