//! What a run changes outside itself, and has to change back however it ends: at its end, early, by a panic or by a
//! signal.

use super::shell;
use crate::api::Address;
use crate::api::Client;
use crate::cluster::OwnCluster;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a node may take to end its fault. Faults end by themselves in the end, so nobody waits long for it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What is not as it was, at this moment.
#[derive(Default)]
pub(super) struct Cleanup(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// Nodes that run, and their directory.
    cluster: Option<Arc<OwnCluster>>,
    /// Who was asked for a fault, and by whom.
    fault: Option<(Client, Address)>,
    /// What brings the last secondary back.
    up: Option<String>,
}

impl Cleanup {
    /// From now on, nodes of our own may run.
    pub(super) fn cluster_begins(&self, cluster: &Arc<OwnCluster>) {
        self.lock().cluster = Some(Arc::clone(cluster));
    }

    /// From now on, this node may have a fault.
    pub(super) fn fault_begins(&self, client: &Client, node: &Address) {
        self.lock().fault = Some((client.with_timeout(ANSWER_WAIT_MAX), node.clone()));
    }

    pub(super) fn fault_ended(&self) {
        self.lock().fault = None;
    }

    /// From now on, the last secondary may be away.
    pub(super) fn absence_begins(&self, up: &str) {
        self.lock().up = Some(up.to_owned());
    }

    pub(super) fn absence_ended(&self) {
        self.lock().up = None;
    }

    /// Removes what is left. Gives back the directory of the nodes if it is to be kept and there is one.
    pub(super) fn remove(&self, keep_the_logs: bool) -> Option<PathBuf> {
        self.lock().remove(keep_the_logs)
    }

    /// Removes what is left and ends the program when it is told to stop. Its exit code is then what a shell makes of
    /// that signal: 130 for Ctrl-C.
    pub(super) fn remove_on_signal(self: &Arc<Cleanup>) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let cleanup = Arc::clone(self);
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                // Held to the end, so that the story changes nothing any more, and does not end the program itself.
                let mut open = cleanup.lock();
                anstream::eprintln!("test_client: told to stop; what was changed is put back first");
                open.remove(false);
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
    /// What cannot be removed is told to the person, who has to do it.
    fn remove(&mut self, keep_the_logs: bool) -> Option<PathBuf> {
        if let Some((client, node)) = self.fault.take() {
            end_fault(&client, &node);
        }
        if let Some(up) = self.up.take()
            && let Err(why) = shell::run(&up)
        {
            anstream::eprintln!("test_client: the last secondary is still away: {why}\nPlease bring it back: {up}");
        }
        let cluster = self.cluster.take()?;
        if keep_the_logs {
            return cluster.stop_and_keep();
        }
        cluster.stop();
        None
    }
}

fn end_fault(client: &Client, node: &Address) {
    if let Err(failure) = client.end_fault(node) {
        anstream::eprintln!(
            "test_client: the fault of {node} could not be ended: {failure}\n\
             It ends by itself within two minutes, or by hand: curl -X DELETE {}",
            node.url("/faults")
        );
    }
}

/// Removes what is left when it goes out of scope.
pub(super) struct Guard(pub(super) Arc<Cleanup>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.remove(false);
    }
}
