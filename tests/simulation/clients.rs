//! Clients: they post writes of every kind, and again if they do not know what became of one that has a key.

use super::{MILLISECOND, Micros, Plan, SECOND, Simulation, is_definite};
use crate::random::Random;
use crate::world::master::Post;
use crate::world::platter::Platter;
use crate::world::witness::{Answer, Witness};
use replicated_log::protocol::{Id, Patience, WriteConcern};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a client does at a moment.
#[derive(Clone, Debug)]
enum Errand {
    /// It posts a write, and waits so long for missing nodes; for none if that is nothing.
    Post { post: Post, waits: Micros },
    /// The time of a write of an incarnation of the master is over.
    Expire { last: Id, epoch: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    errands: BTreeMap<(Micros, u64), Errand>,
    errands_numbered: u64,
    /// What was posted, and waits for an answer.
    waiting: BTreeMap<usize, (Post, Micros)>,
    /// Whether the last write was posted, and how it was answered.
    last: Option<Answer>,
    has_last: bool,
}

const LAST: &str = "the last";

impl Clients {
    pub(crate) fn draw(plan: &Plan, random: &mut Random) -> Clients {
        let mut clients = Clients::default();
        for number in 0..plan.writes {
            let messages = if random.one_in(6) { 2 + random.below(3) } else { 1 };
            let texts: Vec<Arc<str>> = (0..messages).map(|part| format!("{number}.{part}").into()).collect();
            let copies = 1 + random.below(plan.secondaries as u64 + 1) as usize;
            let concern = if random.one_in(2) { WriteConcern::All } else { WriteConcern::Copies(copies) };
            let waits = random.one_of(&[0, 0, 300 * MILLISECOND, 3 * SECOND]);
            let key = random.one_in(2).then(|| format!("key-{number}").into());
            // Many come at once: rounds of several messages, and several rounds at once.
            let at = random.below(plan.lasts);
            let at = if random.one_in(2) { at - at % (plan.lasts / 4) } else { at };
            clients.add(at, Errand::Post { post: post(texts, key, concern, waits), waits });
        }
        clients
    }

    /// The last write is for all nodes, which has to succeed now.
    pub(crate) fn post_the_last(&mut self, now: Micros) {
        self.has_last = true;
        let waits = 30 * SECOND;
        let last = post(vec![LAST.into()], Some(LAST.into()), WriteConcern::All, waits);
        self.add(now, Errand::Post { post: last, waits });
    }

    fn add(&mut self, at: Micros, errand: Errand) {
        self.errands_numbered += 1;
        self.errands.insert((at, self.errands_numbered), errand);
    }

    pub(crate) fn next(&self) -> Option<Micros> {
        self.errands.first_key_value().map(|(&(at, _), _)| at)
    }

    /// What was answered since the last time.
    pub(crate) fn news(&self, witness: &Witness) -> Vec<(usize, Answer)> {
        let answer = |write: &usize| witness.writes[*write].answer.map(|answer| (*write, answer));
        self.waiting.keys().filter_map(answer).collect()
    }

    /// A client is answered.
    pub(crate) fn answered(&mut self, write: usize, answer: Answer, now: Micros, random: &mut Random) {
        let Some((post, waits)) = self.waiting.remove(&write) else { return };
        if &*post.texts[0] == LAST {
            self.last = Some(answer);
        }
        if !is_definite(answer) && post.key.is_some() {
            let at = now + 10 * MILLISECOND + random.below(500 * MILLISECOND);
            self.add(at, Errand::Post { post, waits });
        }
    }

    /// Everybody has an answer, and the last write is in the log.
    pub(crate) fn are_content(&self) -> bool {
        let has_nothing_to_do = self.errands.values().all(|errand| matches!(errand, Errand::Expire { .. }));
        self.waiting.is_empty() && has_nothing_to_do && matches!(self.last, Some(Answer::Committed { .. }))
    }

    pub(crate) fn who_waits(&self) -> String {
        let waiting: Vec<String> = self.waiting.values().map(|(post, _)| format!("{:?}", post.texts)).collect();
        format!("{}; the last write: {:?}", waiting.join(", "), self.last)
    }
}

fn post(texts: Vec<Arc<str>>, key: Option<Arc<str>>, concern: WriteConcern, waits: Micros) -> Post {
    let patience = if waits > 0 { Patience::UntilDeadline } else { Patience::FailFast };
    Post { texts, key, concern, patience }
}

impl<P: Platter> Simulation<P> {
    /// Runs the errand that is due.
    pub(super) fn next_client(&mut self) {
        let Some((_, errand)) = self.clients.errands.pop_first() else { return };
        match errand {
            Errand::Post { post, waits } => self.post(post, waits),
            Errand::Expire { last, epoch } => {
                if self.world.epoch_of(0).get() == epoch {
                    self.say(&format!("the time of write {last} is over"));
                    self.world.expire(0, last);
                }
            }
        }
        self.hear_answers();
    }

    fn post(&mut self, post: Post, waits: Micros) {
        self.say(&format!("post {:?} w={} {:?}", post.texts, post.concern, post.patience));
        let write = self.world.witness.writes.len();
        self.clients.waiting.insert(write, (post.clone(), waits));
        let awaited_before = self.awaited();
        self.world.post(0, post);
        // A write in doubt that is posted again waits for the patience of the master at least.
        let is_repeat = self.world.witness.writes[write].is_repeat();
        let waits = if is_repeat { waits.max(self.plan.patience) } else { waits };
        let new = self.awaited().into_iter().find(|id| !awaited_before.contains(id));
        if let Some(last) = new.filter(|_| waits > 0) {
            let epoch = self.world.epoch_of(0).get();
            self.clients.add(self.now + waits, Errand::Expire { last, epoch });
        }
    }

    fn awaited(&self) -> Vec<Id> {
        self.world.masters[0].process.as_ref().map_or(Vec::new(), |process| process.awaited().collect())
    }
}
