//! The role of a node, and how it changes.

use super::settings::NodeSettings;
use crate::http::{Exchange, Reply, Service};
use crate::master::{Master, MasterService, Origin};
use crate::node::faults::Faults;
use crate::node::intake::Intake;
use crate::node::logging::NodeLog;
use crate::peer::{PeerError, Peers, ask_each};
use crate::process::threads::lock;
use crate::protocol::{CopyId, Epoch, LogId, Promotion};
use crate::secondary::{Secondary, SecondaryService};
use crate::store::{Identity, Store};
use crate::wire::node::StatusBody;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

/// How long a question to another node may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for a question that is asked again if too few nodes answer.
const FIRST_TIMEOUT: Duration = Duration::from_millis(400);

/// The program that runs a node: it says what an empty data directory means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    Master,
    Secondary,
}

/// The role of a node now.
#[derive(Clone)]
pub(super) enum Role {
    Leading(Arc<Master>),
    Following(Arc<Secondary>),
}

impl Service for Role {
    fn call(&self, exchange: Exchange) {
        match self {
            Role::Leading(master) => MasterService(Arc::clone(master)).call(exchange),
            Role::Following(secondary) => SecondaryService(Arc::clone(secondary)).call(exchange),
        }
    }

    fn is_prompt(&self, exchange: &Exchange) -> bool {
        match self {
            Role::Leading(master) => MasterService(Arc::clone(master)).is_prompt(exchange),
            Role::Following(secondary) => SecondaryService(Arc::clone(secondary)).is_prompt(exchange),
        }
    }
}

/// A node, whichever its role.
pub(crate) struct Roles {
    pub(super) settings: NodeSettings,
    port: u16,
    pub(super) store: Arc<dyn Store>,
    log: NodeLog,
    /// The faults that are injected into this node, whichever its role.
    pub(super) faults: Arc<Faults>,
    pub(super) peers: Peers,
    /// The same with little patience.
    pub(super) hasty_peers: Peers,
    role: RwLock<Role>,
    /// Held while the role changes.
    pub(super) changing: Mutex<()>,
    /// Held while this node tries to lead.
    pub(super) standing: Mutex<()>,
    /// Held while this node hands over.
    pub(super) handing_over: Mutex<()>,
    pub(super) intake: Arc<Intake>,
    pub(super) stopping: AtomicBool,
}

impl Roles {
    /// Starts a node that listens on `port`.
    ///
    /// # Errors
    /// If its log cannot be read or written.
    pub(crate) fn start(
        program: Program,
        mut settings: NodeSettings,
        port: u16,
        store: Arc<dyn Store>,
        log: NodeLog,
    ) -> Result<Arc<Roles>, String> {
        let token = settings.leading.common.access.cluster.as_ref();
        let faults = Faults::new(settings.leading.common.faults_enabled);
        let peers = Peers::new(QUESTION_TIMEOUT, QUESTION_TIMEOUT, token).over(faults.clone());
        let hasty_peers = Peers::new(FIRST_TIMEOUT, FIRST_TIMEOUT, token).over(faults.clone());
        let known = store.identity().map_err(|error| error.to_string())?;
        let leads = leads_at_once(program, known.as_ref(), store.copy_id(), &settings, &peers);
        if settings.following.master_urls.is_empty() {
            // As a secondary this node registers with one of those, which names the node that leads.
            settings.following.master_urls.clone_from(&settings.leading.secondaries);
        }
        // The intake gives posts back to the node, which is made of the role that has the intake.
        let node: Arc<OnceLock<Weak<Roles>>> = Arc::default();
        let of_intake = Arc::clone(&node);
        let intake = Arc::new(Intake::new(move |exchanges| match of_intake.get().and_then(Weak::upgrade) {
            Some(roles) => roles.post_again(exchanges),
            None => not_appended(exchanges, "this node is starting or stopping"),
        }));
        let role = if leads {
            let (settings, store, intake) = (settings.leading.clone(), Arc::clone(&store), Arc::clone(&intake));
            Role::Leading(Master::start(settings, port, store, (log.clone(), faults.clone()), intake, Origin::Start)?)
        } else {
            let settings = settings.following.clone();
            let edges = (log.clone(), faults.clone());
            Role::Following(Secondary::start(settings, port, Arc::clone(&store), edges, Arc::clone(&intake))?)
        };
        let roles = Arc::new(Roles {
            settings,
            port,
            store,
            log,
            faults,
            peers,
            hasty_peers,
            role: RwLock::new(role),
            changing: Mutex::new(()),
            standing: Mutex::new(()),
            handing_over: Mutex::new(()),
            intake,
            stopping: AtomicBool::new(false),
        });
        node.get_or_init(|| Arc::downgrade(&roles));
        roles.supervise()?;
        Ok(roles)
    }

    /// Stops the node.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        not_appended(self.intake.release(), "this node is stopping");
        let _changing = lock(&self.changing);
        match self.role() {
            Role::Leading(master) => master.stop(),
            Role::Following(secondary) => secondary.stop(),
        }
    }

    /// The role of this node now, unless it is changing right now.
    pub(super) fn settled_role(&self) -> Option<Role> {
        Some(self.role.try_read().ok()?.clone())
    }

    /// The role of this node now.
    pub(super) fn role(&self) -> Role {
        self.role.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.settings.leading.common.server_id
    }

    /// Whether another node may lead, as this node's disk says.
    pub(super) fn promotes(&self) -> bool {
        let known = self.store.identity().ok().flatten();
        known.is_some_and(|known| known.lineage.roster.allows_promotion())
    }

    /// Follows from now on, if this node leads in an epoch of this log before that one. Gives its role then.
    pub(super) fn yield_to(&self, log_id: LogId, epoch: Epoch, why: &str) -> Result<Role, String> {
        let _changing = lock(&self.changing);
        let Role::Leading(master) = self.role() else { return Ok(self.role()) };
        let (own_log, own_epoch) = master.log_and_epoch();
        if own_log != log_id || own_epoch >= epoch || !self.promotes() {
            return Ok(Role::Leading(master));
        }
        self.follow(&master, why)?;
        Ok(self.role())
    }

    /// Follows from now on, if this node leads as this master.
    pub(super) fn step_down(&self, master: &Arc<Master>, why: &str) -> Result<(), String> {
        let _changing = lock(&self.changing);
        match self.role() {
            Role::Leading(now) if Arc::ptr_eq(&now, master) => self.follow(master, why),
            _ => Ok(()),
        }
    }

    /// The caller holds `changing`.
    fn follow(&self, master: &Arc<Master>, why: &str) -> Result<(), String> {
        let mut role = self.role.write().unwrap_or_else(PoisonError::into_inner);
        log::warn!("this node leads no more, and follows: {why}");
        master.retire(why);
        *role = Role::Following(self.new_secondary()?);
        Ok(())
    }

    /// Follows from now on with what its store holds, after a change by an operator. The caller holds `changing`.
    pub(super) fn follow_anew(&self) -> Result<(), String> {
        let mut role = self.role.write().unwrap_or_else(PoisonError::into_inner);
        *role = Role::Following(self.new_secondary()?);
        Ok(())
    }

    /// Follows from now on, if this secondary could not be replaced after it had retired.
    pub(super) fn follow_again(&self, retired: &Arc<Secondary>) -> Result<(), String> {
        let _changing = lock(&self.changing);
        match self.role() {
            Role::Following(now) if Arc::ptr_eq(&now, retired) && !self.stopping.load(Ordering::Acquire) => {
                self.follow_anew()
            }
            _ => Ok(()),
        }
    }

    /// Leads from now on, in the epoch that this node has begun as a candidate.
    ///
    /// # Errors
    /// If it does not lead, because it is stopping, or because its store fails or knows of a later epoch.
    pub(super) fn lead(&self, candidate: &Arc<Secondary>) -> Result<(), String> {
        let _changing = lock(&self.changing);
        if self.stopping.load(Ordering::Acquire) {
            return Err("this node is stopping".to_owned());
        }
        let mut role = self.role.write().unwrap_or_else(PoisonError::into_inner);
        candidate.retire();
        let (settings, intake) = (self.settings.leading.clone(), Arc::clone(&self.intake));
        let (store, edges) = (Arc::clone(&self.store), (self.log.clone(), Arc::clone(&self.faults)));
        match Master::start(settings, self.port, store, edges, intake, Origin::Promotion) {
            Ok(master) => {
                *role = Role::Leading(master);
                Ok(())
            }
            Err(why) => {
                *role = Role::Following(self.new_secondary()?);
                Err(why)
            }
        }
    }

    fn new_secondary(&self) -> Result<Arc<Secondary>, String> {
        let edges = (self.log.clone(), Arc::clone(&self.faults));
        let (settings, intake) = (self.settings.following.clone(), Arc::clone(&self.intake));
        Secondary::start(settings, self.port, Arc::clone(&self.store), edges, intake)
    }
}

/// Answers posts that no role took.
pub(super) fn not_appended(exchanges: Vec<Exchange>, why: &str) {
    for exchange in exchanges {
        exchange.reply(Reply::overloaded(&format!("the message was not appended: {why}; try again in a second")));
    }
}

/// Whether a node leads without asking anybody, because no other node may lead: promotion is off on its disk. If it was on
/// once, the node that the roster names leads; otherwise that is the program of a master. With an empty disk that asks the
/// secondaries that it is configured with whether they hold a log that another node may lead.
fn leads_at_once(
    program: Program,
    known: Option<&Identity>,
    own: CopyId,
    settings: &NodeSettings,
    peers: &Peers,
) -> bool {
    if let Some(roster) = known.map(|known| &known.lineage.roster) {
        let was_on = !roster.contacts().is_empty();
        let is_named = if was_on { roster.master() == own } else { program == Program::Master };
        return is_named && !roster.allows_promotion();
    }
    if program == Program::Secondary || settings.leading.promotion == Some(Promotion::Off) {
        return program == Program::Master;
    }
    let states = ask_each(&settings.leading.secondaries, |url| peers.state(url));
    let has_such_a_log = |state: &Result<StatusBody, PeerError>| {
        let lineage = state.as_ref().ok().and_then(|body| body.status().lineage);
        lineage.is_some_and(|lineage| lineage.roster.allows_promotion())
    };
    let found = settings.leading.secondaries.iter().zip(&states).find(|(_, state)| has_such_a_log(state));
    if let Some((url, _)) = found {
        log::warn!(
            "{url} holds a log that another node may lead, and this data directory is empty: this node begins no log of its \
             own, and follows the node that leads. If no node does, promote the one that holds the most, with POST \
             /promotion there"
        );
    }
    found.is_none()
}
