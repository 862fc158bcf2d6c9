//! A node: its disk, and what its process does if it runs.

use super::World;
use super::disk::{Crash, CrashKind, SimulatedDisk};
use super::following::Following;
use super::leading::Leading;
use replicated_log::protocol::{Id, Incarnation, Slot, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node, by its place in the world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Node(pub(crate) usize);

/// The node that leads a new world.
pub(crate) const MASTER: Node = Node(0);

/// What the process of a node does.
#[allow(clippy::large_enum_variant, reason = "a world has few of them, and most lead or follow for long")]
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Role {
    Leading(Leading),
    Following(Following),
}

/// A node: its disk, its process if it runs, and what is known of those before.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Place<P> {
    pub(crate) disk: P,
    pub(crate) role: Option<Role>,
    /// Whether it leads when it starts.
    pub(crate) leads: bool,
    /// Processes so far.
    pub(super) starts: u64,
    /// The disk has failed, and takes no more writes until the node starts again.
    pub(super) disk_failed: bool,
    /// The nodes in the list of secondaries that a master keeps on disk.
    pub(super) recorded: BTreeSet<Node>,
    /// The content of the disk when the process ended. It counts as a copy while the process is down. If the
    /// disk was lost, it counts until the master knows.
    pub(super) remembered: BTreeMap<Id, Arc<str>>,
    pub(super) has_lost_disk: bool,
    /// What the disk loses at a crash, because it was never written: only with a planted bug.
    pub(super) unwritten: Option<Id>,
}

impl<P> Place<P> {
    /// A master of these nodes, which does not run.
    pub(super) fn of_master(disk: P, secondaries: BTreeSet<Node>) -> Place<P> {
        Place { leads: true, recorded: secondaries, ..Place::of_secondary(disk) }
    }

    /// A secondary, which does not run.
    pub(super) fn of_secondary(disk: P) -> Place<P> {
        Place {
            disk,
            role: None,
            leads: false,
            starts: 0,
            disk_failed: false,
            recorded: BTreeSet::new(),
            remembered: BTreeMap::new(),
            has_lost_disk: false,
            unwritten: None,
        }
    }

    /// Whether its process runs.
    pub(crate) fn runs(&self) -> bool {
        self.role.is_some()
    }

    /// Its process, if it leads.
    pub(crate) fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Some(Role::Leading(leading)) => Some(leading),
            _ => None,
        }
    }

    pub(super) fn leading_mut(&mut self) -> Option<&mut Leading> {
        match &mut self.role {
            Some(Role::Leading(leading)) => Some(leading),
            _ => None,
        }
    }

    /// Its process, if it follows.
    pub(crate) fn following(&self) -> Option<&Following> {
        match &self.role {
            Some(Role::Following(following)) => Some(following),
            _ => None,
        }
    }

    pub(super) fn following_mut(&mut self) -> Option<&mut Following> {
        match &mut self.role {
            Some(Role::Following(following)) => Some(following),
            _ => None,
        }
    }

    /// When its process has work to do by itself.
    pub(super) fn wake_at(&self) -> Option<Time> {
        match self.role.as_ref()? {
            Role::Leading(leading) => leading.leader.wake_at(),
            Role::Following(following) => following.follower.wake_at(),
        }
    }

    /// Whether its process takes part no more, and has to start again.
    pub(crate) fn has_given_up(&self) -> bool {
        self.disk_failed || self.leading().is_some_and(|leading| leading.leader.is_halted())
    }
}

impl<P: SimulatedDisk> World<P> {
    /// Starts a node on what its disk holds. A master first asks those nodes for which `hears` is true.
    pub(crate) fn start(&mut self, node: Node, hears: impl Fn(Node) -> bool) {
        let place = &mut self.nodes[node.0];
        place.disk_failed = false;
        if !place.has_lost_disk {
            place.remembered.clear();
        }
        match place.disk.open() {
            Err(why) => self.checker.broken(format!("{node:?} does not start: {why}")),
            Ok(()) if self.promotes() => self.start_voter(node),
            Ok(()) if self.nodes[node.0].leads => self.start_leading(node, hears),
            Ok(()) => self.start_following(node),
        }
        self.observe();
    }

    /// The name of a new process of a node.
    pub(super) fn new_incarnation(&mut self, node: Node, is_same: bool) -> Incarnation {
        let place = &mut self.nodes[node.0];
        place.starts += u64::from(!is_same);
        Incarnation::new(10_000 * (node.0 as u64 + 1) + place.starts)
    }

    /// Ends the process of a node without a warning, and treats its disk as `how` says.
    pub(crate) fn crash(&mut self, node: Node, how: Crash) {
        match self.nodes[node.0].role.take() {
            None => return self.observe(),
            Some(Role::Leading(leading)) => self.ends_leading(node, &leading, how),
            Some(Role::Following(_)) => self.ends_following(node),
        }
        let held = self.slots(node).into_iter().filter_map(Slot::into_entry);
        let place = &mut self.nodes[node.0];
        place.remembered.extend(held.map(|entry| (entry.id, Arc::clone(&entry.message))));
        place.has_lost_disk |= how.kind == CrashKind::DiskLost;
        place.disk.crash(how.kind);
        match how.kind {
            CrashKind::Killed => self.checker.killed(node),
            CrashKind::PowerLost { .. } => self.checker.power_lost(node),
            CrashKind::DiskLost => self.checker.disk_lost(node),
        }
        self.observe();
    }

    /// The processes that lead, each with its node.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = (Node, &Leading)> {
        self.nodes().filter_map(|node| Some((node, self.nodes[node.0].leading()?)))
    }

    /// The processes that follow, each with its node.
    pub(crate) fn followers(&self) -> impl Iterator<Item = (Node, &Following)> {
        self.nodes().filter_map(|node| Some((node, self.nodes[node.0].following()?)))
    }

    pub(crate) fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> + use<P> {
        (0..self.nodes.len()).map(Node)
    }

    /// Whether the process of a node runs.
    pub(crate) fn runs(&self, node: Node) -> bool {
        self.nodes[node.0].runs()
    }
}
