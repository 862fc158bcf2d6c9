//! What a run leaves in the world, and has to take back however it ends: faults, and nodes of our own.

use super::faults::injector::Injector;
use crate::cluster::OwnCluster;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What is not as it was, at this moment.
#[derive(Default)]
pub(super) struct Cleanup {
    injector: Mutex<Option<Arc<Injector>>>,
    cluster: Mutex<Option<Arc<OwnCluster>>>,
}

impl Cleanup {
    /// From now on, there may be faults.
    pub(super) fn faults_begin(&self, injector: &Arc<Injector>) {
        *lock(&self.injector) = Some(Arc::clone(injector));
    }

    /// From now on, nodes of our own may run.
    pub(super) fn cluster_begins(&self, cluster: &Arc<OwnCluster>) {
        *lock(&self.cluster) = Some(Arc::clone(cluster));
    }

    /// Ends all faults, then stops our own nodes. Gives back their directory if it is to be kept and there is one.
    pub(super) fn remove(&self, keep_the_logs: bool) -> Option<PathBuf> {
        if let Some(injector) = lock(&self.injector).take() {
            injector.end();
        }
        let cluster = lock(&self.cluster).take()?;
        if keep_the_logs {
            return cluster.stop_and_keep();
        }
        cluster.stop();
        None
    }

    /// The first signal ends the run early, which is judged then. The next one takes everything back and ends the program.
    pub(super) fn remove_on_signal(self: &Arc<Cleanup>, over: &Arc<AtomicBool>) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (cleanup, over) = (Arc::clone(self), Arc::clone(over));
        let wait = move || {
            for signal in signals.forever() {
                if !over.swap(true, Ordering::SeqCst) {
                    anstream::eprintln!("test_client: told to stop; once more, and nothing is judged");
                    continue;
                }
                anstream::eprintln!("test_client: told to stop; what was changed is put back first");
                cleanup.remove(false);
                process::exit(128 + signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }
}

/// Removes what is left when it goes out of scope.
pub(super) struct Guard(pub(super) Arc<Cleanup>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.remove(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
