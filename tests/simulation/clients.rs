//! Clients: they post writes of every kind, and repeat a write that has a key if its outcome is unknown.

use super::{MILLISECOND, Micros, Plan, SECOND, Simulation, is_definite};
use crate::random::Random;
use crate::world::checker::{Answer, Checker};
use crate::world::disk::SimulatedDisk;
use crate::world::leading::Posted;
use crate::world::{MASTER, Node};
use replicated_log::protocol::WriteConcern;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// The posts to come, by time.
    posts: BTreeMap<(Micros, u64), Posted>,
    posts_numbered: u64,
    /// The posts that have no answer yet.
    waiting: BTreeMap<usize, Posted>,
    /// The answer to the last write.
    last: Option<Answer>,
}

const LAST: &str = "the last";

impl Clients {
    pub(crate) fn draw(plan: &Plan, random: &mut Random) -> Clients {
        let mut clients = Clients::default();
        for number in 0..plan.writes {
            let messages = if random.one_in(6) { 2 + random.below(3) } else { 1 };
            let texts: Vec<Arc<str>> = (0..messages).map(|part| format!("{number}.{part}").into()).collect();
            let copies = 1 + random.below(plan.secondaries as u64 + 1) as usize;
            let copies = if plan.promotes { copies.max(plan.secondaries.div_ceil(2) + 1) } else { copies };
            let concern = if random.one_in(2) { WriteConcern::All } else { WriteConcern::Copies(copies) };
            let waits = random.one_of(&[0, 0, 300 * MILLISECOND, 3 * SECOND]);
            let key = random.one_in(2).then(|| format!("key-{number}").into());
            // Several posts at the same time fill a round, and keep several rounds under way.
            let at = random.below(plan.lasts);
            let at = if random.one_in(2) { at - at % (plan.lasts / 4) } else { at };
            clients.add(at, post(texts, key, concern, waits));
        }
        clients
    }

    /// Posts the last write. It is for all nodes, and has to succeed at this point.
    pub(crate) fn post_the_last(&mut self, now: Micros) {
        self.add(now, post(vec![LAST.into()], Some(LAST.into()), WriteConcern::All, 30 * SECOND));
    }

    fn add(&mut self, at: Micros, post: Posted) {
        self.posts_numbered += 1;
        self.posts.insert((at, self.posts_numbered), post);
    }

    pub(crate) fn next(&self) -> Option<Micros> {
        self.posts.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The answers since the last call.
    pub(crate) fn news(&self, checker: &Checker) -> Vec<(usize, Answer)> {
        let answer = |write: &usize| checker.writes[*write].answer.map(|answer| (*write, answer));
        self.waiting.keys().filter_map(answer).collect()
    }

    /// Handles an answer.
    pub(crate) fn answered(&mut self, write: usize, answer: Answer, now: Micros, random: &mut Random) {
        let Some(post) = self.waiting.remove(&write) else { return };
        if &*post.texts[0] == LAST {
            self.last = Some(answer);
        }
        if !is_definite(answer) && post.key.is_some() {
            let at = now + 10 * MILLISECOND + random.below(500 * MILLISECOND);
            self.add(at, post);
        }
    }

    /// Whether every write has its answer, and the last one is in the log.
    pub(crate) fn are_content(&self) -> bool {
        self.waiting.is_empty() && self.posts.is_empty() && matches!(self.last, Some(Answer::Committed { .. }))
    }

    pub(crate) fn who_waits(&self) -> String {
        let waiting: Vec<String> = self.waiting.values().map(|post| format!("{:?}", post.texts)).collect();
        format!("{}; the last write: {:?}", waiting.join(", "), self.last)
    }
}

fn post(texts: Vec<Arc<str>>, key: Option<Arc<str>>, concern: WriteConcern, waits: Micros) -> Posted {
    Posted { texts, key, concern, timeout: (waits > 0).then(|| Duration::from_micros(waits)), follows: None }
}

impl<P: SimulatedDisk> Simulation<P> {
    /// Posts what is due.
    pub(super) fn next_client(&mut self) {
        let Some((_, post)) = self.clients.posts.pop_first() else { return };
        self.say(&format!("post {:?} w={} {:?}", post.texts, post.concern, post.timeout));
        self.clients.waiting.insert(self.world.checker.writes.len(), post.clone());
        let leaders: Vec<Node> = self.world.leaders().map(|(node, _)| node).collect();
        let node = if leaders.is_empty() { MASTER } else { self.random.one_of(&leaders) };
        self.world.post(node, &post);
        self.hear_answers();
    }
}
