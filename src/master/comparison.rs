//! `GET /verify`: whether every replica holds the same.
//!
//! The master reads and thereby checks its own log in parts, and asks every secondary for its fingerprint of each part.
//! Where one differs, the master finds the first id that does by halving the part. What is trimmed, here or there, is
//! compared by the fingerprints that it left. A secondary is compared up to the high watermark that it knows. No write
//! waits for it.

use super::shared::Master;
use crate::http::Reply;
use crate::peer::PeerError;
use crate::process::threads::try_lock;
use crate::protocol::{Base, Fingerprint, Id, LogId, Slot};
use crate::store::{ReadLimit, StoreError, Trouble, walk};
use crate::wire::address::NodeUrl;
use crate::wire::backup::Tally;
use serde::Serialize;
use std::thread;
use std::time::Duration;

/// What is compared at a time.
const PART: ReadLimit = ReadLimit { slots_max: 20_000, bytes_max: 8 << 20 };
/// How long the master waits before it asks a secondary again that does not know the high watermark yet.
const LAG_PAUSE: Duration = Duration::from_millis(50);
/// How often the master asks such a secondary again.
const LAG_PAUSES: usize = 20;

/// The whole answer.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether every replica holds the same; `false` also if one could not be compared.
    identical: bool,
    /// The first id of the master's log.
    begins: u64,
    through: u64,
    messages: u64,
    refused: u64,
    fingerprint: String,
    replicas: Vec<ReplicaReport>,
}

#[derive(Debug, Serialize)]
struct ReplicaReport {
    server_id: String,
    url: String,
    /// How far it was compared.
    through: u64,
    /// `null` if it could not be compared.
    identical: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<u64>,
    detail: String,
}

/// A secondary under comparison.
struct Replica {
    name: String,
    url: NodeUrl,
    /// The id up to which its log is trimmed.
    base: Id,
    /// The high watermark that it knows.
    decided: Id,
    compared: Id,
    finding: Finding,
}

/// The first part of a log of which something is trimmed, here or there.
struct Beginning {
    /// The part follows this id.
    after: Id,
    /// The fingerprint up to there.
    trimmed: Fingerprint,
    part: Vec<Slot>,
    /// The last id of the part.
    through: Id,
    /// The fingerprint up to there.
    fingerprint: Fingerprint,
}

enum Finding {
    SoFarTheSame,
    Differs(Id),
    /// Somewhere up to this id, where one of the two logs is trimmed.
    DiffersUpTo(Id),
    Unknown(String),
}

impl Master {
    /// Answers 200 if all replicas hold the same, 409 if one does not, 503 if one could not be compared.
    pub(super) fn verify(&self) -> Reply {
        let Some(_one_at_a_time) = try_lock(&self.verification) else {
            return Reply::overloaded("another verification is under way; try again when it has ended");
        };
        let (log_id, through) = {
            let state = self.lock();
            (state.leader.log_id(), state.leader.shown().decided)
        };
        if let Some(Trouble::Failed(why)) = self.store.trouble() {
            return Reply::no_answer(503, &format!("the master cannot rely on its own log: {why}"));
        }
        let mut replicas = self.replicas(log_id, through);
        match self.compare(log_id, through, &mut replicas) {
            Ok((base, tally)) => report(base.id.next(), &tally, replicas),
            Err(error) => Reply::no_answer(500, &format!("the master cannot read its own log: {error}")),
        }
    }

    fn replicas(&self, log_id: LogId, through: Id) -> Vec<Replica> {
        let members: Vec<(String, NodeUrl)> =
            self.lock().members.values().map(|member| (member.name.to_string(), member.url.clone())).collect();
        let mut replicas: Vec<Replica> = members
            .into_iter()
            .map(|(name, url)| Replica {
                name,
                url,
                base: Id::ZERO,
                decided: Id::ZERO,
                compared: Id::ZERO,
                finding: Finding::SoFarTheSame,
            })
            .collect();
        each_in_parallel(&mut replicas, |replica| match self.decided_on(&replica.url, log_id, through) {
            Ok((base, decided)) => (replica.base, replica.decided) = (base, decided.min(through)),
            Err(why) => replica.finding = Finding::Unknown(why),
        });
        replicas
    }

    fn decided_on(&self, url: &NodeUrl, log_id: LogId, wanted: Id) -> Result<(Id, Id), String> {
        let mut pauses = 0;
        loop {
            let status = self.peers.state(url).map_err(|error| error.to_string())?.status();
            match status.log_id {
                Some(theirs) if theirs == log_id => {}
                Some(other) => return Err(format!("holds another log, {other}")),
                None => return Err("holds no log".to_owned()),
            }
            if status.decided >= wanted || pauses == LAG_PAUSES {
                return Ok((status.base, status.decided));
            }
            pauses += 1;
            thread::sleep(LAG_PAUSE);
        }
    }

    fn compare(&self, log_id: LogId, through: Id, replicas: &mut [Replica]) -> Result<(Base, Tally), StoreError> {
        let base = self.store.base();
        let mut tally = Tally::after(base);
        // Both logs are there from here on, as long as neither is trimmed any further.
        let after = replicas.iter().map(|replica| replica.base).max().unwrap_or_default().max(base.id).min(through);
        walk(&*self.store, base.id, after, |slot| {
            tally.add(&slot);
            Ok::<_, StoreError>(())
        })?;
        if after > Id::ZERO {
            let trimmed = tally.fingerprint;
            let part = self.store.read(after, through, PART)?;
            part.iter().for_each(|slot| tally.add(slot));
            let first = Beginning { after, trimmed, part, through: tally.last, fingerprint: tally.fingerprint };
            each_in_parallel(replicas, |replica| self.compare_beginning(log_id, &first, replica));
        }
        while tally.last < through {
            let part = self.store.read(tally.last, through, PART)?;
            if part.is_empty() {
                return Err(StoreError::new(format!("id {} is missing", tally.last.next())));
            }
            part.iter().for_each(|slot| tally.add(slot));
            each_in_parallel(replicas, |replica| {
                let Some((held, after)) = replica.part_of(&part) else { return };
                replica.finding = match self.difference(&replica.url, log_id, after, held) {
                    Ok(None) => Finding::SoFarTheSame,
                    Ok(Some(id)) => Finding::Differs(id),
                    Err(error) => Finding::Unknown(error.to_string()),
                };
                replica.compared = held.last().map_or(after, Slot::id);
            });
        }
        Ok((base, tally))
    }

    /// Compares the beginning of a log that is trimmed, here or there, together with what was trimmed.
    fn compare_beginning(&self, log_id: LogId, first: &Beginning, replica: &mut Replica) {
        if !matches!(replica.finding, Finding::SoFarTheSame) {
            return;
        }
        let Beginning { after, trimmed, part, through, fingerprint } = first;
        if replica.decided < *through {
            let why = format!("knows only the ids up to {}, and is compared from {through} on", replica.decided);
            replica.finding = Finding::Unknown(why);
            return;
        }
        let is_same = |through: Id, fingerprint: Fingerprint| {
            let theirs = self.peers.fingerprint(&replica.url, Id::ZERO, through)?.of(log_id, Id::ZERO, through);
            Ok::<_, PeerError>(theirs == Some(fingerprint))
        };
        let compared = is_same(*through, *fingerprint).and_then(|whole| {
            Ok(match whole {
                true => Finding::SoFarTheSame,
                false if is_same(*after, *trimmed)? => match self.difference(&replica.url, log_id, *after, part)? {
                    Some(id) => Finding::Differs(id),
                    None => Finding::SoFarTheSame,
                },
                false => Finding::DiffersUpTo(*after),
            })
        });
        replica.finding = compared.unwrap_or_else(|error| Finding::Unknown(error.to_string()));
        replica.compared = *through;
    }

    /// The first id of a part under which a secondary holds something else.
    fn difference(&self, url: &NodeUrl, log_id: LogId, after: Id, part: &[Slot]) -> Result<Option<Id>, PeerError> {
        let same = |after: Id, part: &[Slot]| {
            let through = part.last().map_or(after, Slot::id);
            let theirs = self.peers.fingerprint(url, after, through)?.of(log_id, after, through);
            Ok(theirs == Some(Fingerprint::of(part)))
        };
        if same(after, part)? {
            return Ok(None);
        }
        let (mut after, mut part) = (after, part);
        while part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            if same(after, first)? {
                after = first.last().map_or(after, Slot::id);
                part = second;
            } else {
                part = first;
            }
        }
        Ok(part.first().map(Slot::id))
    }
}

impl Replica {
    /// What it holds of a part, and the id before; `None` if there is nothing to compare.
    fn part_of<'a>(&self, part: &'a [Slot]) -> Option<(&'a [Slot], Id)> {
        if !matches!(self.finding, Finding::SoFarTheSame) {
            return None;
        }
        let held = part.partition_point(|slot| slot.id() <= self.decided);
        let held = &part[..held];
        held.first().map(|first| (held, first.id().previous()))
    }

    fn report(self, through: Id) -> ReplicaReport {
        let (identical, first_difference, detail) = match self.finding {
            Finding::Differs(id) => (Some(false), Some(id.get()), format!("holds something else under id {id}")),
            Finding::DiffersUpTo(id) => {
                (Some(false), None, format!("holds or held something else in the ids up to {id}, which are trimmed"))
            }
            Finding::Unknown(why) => (None, None, why),
            Finding::SoFarTheSame if self.decided < through => {
                (None, None, format!("knows only the ids up to {}, which are the same", self.decided))
            }
            Finding::SoFarTheSame => (Some(true), None, "holds the same".to_owned()),
        };
        ReplicaReport {
            server_id: self.name,
            url: self.url.to_string(),
            through: self.compared.get(),
            identical,
            first_difference,
            detail,
        }
    }
}

fn report(begins: Id, tally: &Tally, replicas: Vec<Replica>) -> Reply {
    let replicas: Vec<ReplicaReport> = replicas.into_iter().map(|replica| replica.report(tally.last)).collect();
    for replica in replicas.iter().filter(|replica| replica.identical != Some(true)) {
        log::error!("verification: {} ({}) {}", replica.server_id, replica.url, replica.detail);
    }
    let status = if replicas.iter().any(|replica| replica.identical == Some(false)) {
        409
    } else if replicas.iter().any(|replica| replica.identical.is_none()) {
        503
    } else {
        200
    };
    let report = Report {
        identical: status == 200,
        begins: begins.get(),
        through: tally.last.get(),
        messages: tally.messages,
        refused: tally.refused,
        fingerprint: tally.fingerprint.to_string(),
        replicas,
    };
    Reply::json(status, &report)
}

fn each_in_parallel(replicas: &mut [Replica], work: impl Fn(&mut Replica) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for replica in replicas {
            scope.spawn(move || work(replica));
        }
    });
}
