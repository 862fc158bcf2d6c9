//! A master that is replaced: real processes, of which any may come to lead.
//!
//! `SUCCESSION_SEED=N SUCCESSION_ROUNDS=200 cargo test --release --test succession rounds -- --nocapture` plays more rounds
//! of killed masters. Each prints the seed with which it can be repeated.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::random::{Random, variable};
use common::succession::{leads, preview, promote, start, wait_for_peace, wait_for_voters, write};
use common::{Cluster, Ends, Node, Reply, delete, get, post, put, try_post, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that write side by side, unless `SUCCESSION_WRITERS` says how many.
const WRITERS: u64 = 8;
/// The test prints each round that takes longer.
const SLOW_MS: u128 = 1_000;

#[test]
fn a_secondary_is_promoted_and_the_old_master_follows() {
    let mut cluster = start();
    assert_eq!(cluster.post("before").status, 201);
    cluster.master.kill();
    let reply = promote(&cluster.secondaries[0]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!((&reply.body["leader"], &reply.body["epoch"]), (&json!("secondary-1"), &json!(2)), "{reply:?}");
    assert_eq!(reply.body["removed"], json!(["master"]), "{reply:?}");
    // A message for all nodes does not wait for the one that is gone.
    assert_eq!(write(&cluster.secondaries[0], &json!({ "message": "after" })).status, 201);
    assert_eq!(write(&cluster.secondaries[1], &json!({ "message": "passed on" })).status, 201);
    cluster.master.start();
    wait_for_peace(&cluster);
    assert!(!leads(&cluster.master) && leads(&cluster.secondaries[0]));
    let reply = write(&cluster.master, &json!({ "message": "by the old master" }));
    assert_eq!((reply.status, &reply.body["w"]), (201, &json!(3)), "{reply:?}");
    let shown: Vec<String> = cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["before", "after", "passed on", "by the old master"]);
}

/// A load balancer asks every node for `/leader`.
#[test]
fn a_master_that_starts_again_leads_once_enough_voters_answer() {
    let mut cluster = start();
    cluster.nodes_mut().for_each(Node::kill);
    cluster.master.start();
    cluster.master.wait_for_log("1 of 3 voters promise it the epoch, and 2 are needed");
    assert!(!leads(&cluster.master), "nobody has promised it an epoch");
    cluster.secondaries[1].start();
    wait_until("two of three are enough", || leads(&cluster.master));
    assert_eq!(get(&cluster.master.url("/leader")).body["epoch"], 2);
    cluster.secondaries[0].start();
    wait_for_peace(&cluster);
}

#[test]
fn who_has_too_few_promises_or_a_master_that_answers_does_not_lead() {
    let mut cluster = start();
    let reply = promote(&cluster.secondaries[0]);
    let why = reply.body["error"].as_str().unwrap_or_default();
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(why.contains("master leads in epoch 1, and answers"), "{why}");
    cluster.master.kill();
    cluster.secondaries[1].kill();
    let reply = promote(&cluster.secondaries[0]);
    let why = reply.body["error"].as_str().unwrap_or_default();
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(why.contains("1 of 3 voters promise it the epoch, and 2 are needed"), "{why}");
    assert!(why.contains("master: connection refused"), "{why}");
    assert_eq!(preview(&cluster.secondaries[0])["would_lead"], false);
    let state = get(&cluster.secondaries[0].url("/replicate/state")).body;
    assert!(state["lineage"]["promised"].is_null(), "it must not keep others from leading: {state}");
}

#[test]
fn a_log_without_promotion_says_so() {
    let cluster = Cluster::start(&["0"]);
    for (node, path) in [(&cluster.secondaries[0], "/promotion"), (&cluster.master, "/switchover")] {
        let reply = post(&node.url(path), &json!({}));
        assert_eq!(reply.status, 409, "{reply:?}");
        assert!(reply.body["error"].as_str().unwrap_or_default().contains("PROMOTION=on"), "{reply:?}");
    }
    assert_eq!(get(&cluster.master.url("/leader")).status, 200);
    assert_eq!(get(&cluster.secondaries[0].url("/leader")).status, 503);
}

#[test]
fn of_two_nodes_promoted_at_once_one_leads() {
    let mut cluster = start();
    cluster.master.kill();
    let [first, second] = thread::scope(|scope| {
        let asked: Vec<_> = cluster.secondaries.iter().map(|node| scope.spawn(move || promote(node))).collect();
        let replies: Vec<Reply> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        <[Reply; 2]>::try_from(replies).expect("two replies")
    });
    assert!(first.status == 200 || second.status == 200, "{first:?} {second:?}");
    assert_ne!(first.body["epoch"], second.body["epoch"], "{first:?} {second:?}");
    cluster.master.start();
    wait_for_peace(&cluster);
    assert_eq!(cluster.nodes().filter(|node| leads(node)).count(), 1);
}

/// A removed secondary has no vote: after that, one of two nodes that are left is enough.
#[test]
fn a_secondary_that_was_removed_votes_no_more() {
    let mut cluster = start();
    cluster.secondaries[1].kill();
    let reply = delete(&cluster.master.url("/secondaries/secondary-2"));
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_until("two vote", || preview(&cluster.secondaries[0])["voters"] == 2);
    assert_eq!(cluster.post("one").status, 201);
    cluster.master.kill();
    let reply = promote(&cluster.secondaries[0]);
    assert_eq!(reply.status, 200, "{reply:?}");
    // Of two voters, the other one has to know that it is removed: until it is back, this node takes no messages.
    assert!(reply.body["not_removed"]["master"].is_string(), "{reply:?}");
    cluster.master.start();
    wait_until("the old master is back", || write(&cluster.secondaries[0], &json!({ "message": "two" })).status == 201);
}

/// A node that lost its disk comes back as another copy: it has no vote until it holds the log again.
#[test]
fn a_voter_that_lost_its_disk_votes_again_once_it_has_caught_up() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    let secondary = &mut cluster.secondaries[1];
    secondary.kill();
    secondary.lose_disk();
    secondary.start();
    wait_for_peace(&cluster);
    wait_for_voters(&cluster, 3);
    cluster.master.kill();
    let reply = promote(&cluster.secondaries[1]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(cluster.secondaries[1].messages(), [(1, "one".to_owned())]);
}

/// A master that is cut off does not know whether another node leads. A usual read does not promise that none does.
#[test]
fn a_strong_read_needs_a_majority_that_follows() {
    let cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    let strong = cluster.master.url("/messages?consistency=strong");
    assert_eq!(get(&strong).body["total"], 1);
    cluster.secondaries.iter().for_each(|node| node.signal(Signal::STOP));
    let reply = get(&strong);
    let why = reply.body["error"].as_str().unwrap_or_default();
    assert!(reply.status == 503 && why.contains("too few voters confirm"), "{reply:?}");
    assert_eq!(cluster.master.messages(), [(1, "one".to_owned())]);
    cluster.secondaries[0].signal(Signal::CONT);
    wait_until("one of two others is enough", || get(&strong).status == 200);
    cluster.secondaries[1].signal(Signal::CONT);
}

/// What clients saw while nodes came and went.
#[derive(Default)]
struct Seen {
    committed: BTreeMap<String, u64>,
    refused: Vec<String>,
    statuses: BTreeMap<u16, usize>,
    /// What was said instead of a 201, and how often.
    reasons: BTreeMap<String, usize>,
    longest_gap: Duration,
    last: Option<Instant>,
}

impl Seen {
    fn take(&mut self, text: String, reply: Option<&Reply>) {
        let status = reply.map_or(0, |reply| reply.status);
        *self.statuses.entry(status).or_default() += 1;
        if let Some(why) = reply.and_then(|reply| reply.body["error"].as_str()) {
            *self.reasons.entry(why.to_owned()).or_default() += 1;
        }
        match (status, reply) {
            (201, Some(reply)) => {
                let now = Instant::now();
                let gap = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
                self.longest_gap = self.longest_gap.max(gap);
                self.committed.insert(text, reply.body["message_id"].as_u64().unwrap());
            }
            (502, _) => self.refused.push(text),
            _ => {}
        }
    }

    /// Every message with a 201 is at its id on a node, and none with a 502 is there.
    fn assert_kept_on(&self, node: &Node, why: &str) {
        let shown: BTreeMap<String, u64> = node.messages().into_iter().map(|(id, text)| (text, id)).collect();
        for (text, id) in &self.committed {
            assert_eq!(shown.get(text), Some(id), "{text} on {}, {why}", node.name);
        }
        for text in &self.refused {
            assert!(!shown.contains_key(text), "{text} was refused, and {} shows it, {why}", node.name);
        }
    }
}

/// Posts as a client library does: where the system gives it a port that had a connection which the node has just ended, as
/// that of a follower at a change of the role, it connects again.
fn post_to(url: &str, body: &Value) -> Option<Reply> {
    loop {
        let reply = try_post(url, body);
        let why = reply.as_ref().and_then(|reply| reply.body["error"].as_str());
        if !why.is_some_and(|why| why.ends_with("connect again")) {
            return reply;
        }
    }
}

/// Runs writers at these addresses while something else happens.
fn while_writing(urls: &[String], body: impl Fn(&str) -> Value + Sync, then: impl FnOnce()) -> Seen {
    let (seen, is_over) = (Mutex::new(Seen::default()), AtomicBool::new(false));
    thread::scope(|scope| {
        let ends = Ends(&is_over);
        for writer in 0..variable("SUCCESSION_WRITERS").unwrap_or(WRITERS) {
            let (seen, is_over, body) = (&seen, &is_over, &body);
            scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let text = format!("{writer}.{number}");
                    let node = (writer + number) % urls.len() as u64;
                    let reply = post_to(&urls[usize::try_from(node).unwrap()], &body(&text));
                    let is_committed = reply.as_ref().is_some_and(|reply| reply.status == 201);
                    seen.lock().unwrap().take(text, reply.as_ref());
                    if !is_committed {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        then();
        drop(ends);
    });
    seen.into_inner().unwrap()
}

/// Asks several nodes to lead at once, until one does.
fn promote_all(cluster: &Cluster, asked: &[bool]) {
    wait_until("one of several leads", || {
        thread::scope(|scope| {
            let candidates = cluster.nodes().zip(asked).filter(|(_, asked)| **asked);
            let promotions: Vec<_> = candidates.map(|(node, _)| scope.spawn(move || promote(node))).collect();
            promotions
                .into_iter()
                .map(|promotion| promotion.join().unwrap())
                .filter(|reply| reply.status == 200)
                .count()
        }) > 0
    });
}

/// Follows the log of a node, whichever its role, from where it was to where it is again.
struct Follower {
    seen: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Follower {
    fn of(url: String) -> Follower {
        let seen: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
        let taken = Arc::clone(&seen);
        // It ends with the test.
        thread::spawn(move || {
            loop {
                let from = taken.lock().unwrap().last().map_or(1, |(id, _)| id + 1);
                if let Ok(reply) =
                    ureq::get(format!("{url}&from={from}")).header("Accept", "application/x-ndjson").call()
                {
                    let lines = BufReader::new(reply.into_body().into_reader()).lines();
                    for line in lines.map_while(Result::ok) {
                        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                        let (Some(id), Some(text)) = (message["id"].as_u64(), message["message"].as_str()) else {
                            continue;
                        };
                        taken.lock().unwrap().push((id, text.to_owned()));
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Follower { seen }
    }

    /// It has seen each message once, in order.
    fn assert_followed(self, shown: &[(u64, String)], why: &str) {
        wait_until("followers see the last message", || self.seen.lock().unwrap().last() == shown.last());
        assert!(*self.seen.lock().unwrap() == shown, "a follower has a gap or a duplicate, {why}");
    }
}

fn urls(cluster: &Cluster) -> Vec<String> {
    cluster.nodes().map(|node| node.url("/messages")).collect()
}

/// Clients need not know that another node leads, at whichever node they write.
#[test]
fn switchovers_refuse_no_write_and_lose_none() {
    let cluster = start();
    let followers = cluster.nodes().map(|node| Follower::of(node.url("/messages?follow=true"))).collect::<Vec<_>>();
    let (switchovers, mut pauses) = (variable("SUCCESSION_SWITCHOVERS").unwrap_or(10), Vec::new());
    let seen = while_writing(
        &urls(&cluster),
        |text| json!({ "message": text }),
        || {
            for _ in 0..switchovers {
                wait_until("a node may take over", || {
                    let Some(leader) = cluster.nodes().find(|node| leads(node)) else { return false };
                    let reply = post(&leader.url("/switchover"), &json!({}));
                    pauses.extend(reply.body["pause_ms"].as_u64());
                    reply.status == 200
                });
                thread::sleep(Duration::from_millis(50));
            }
        },
    );
    wait_for_peace(&cluster);
    pauses.sort_unstable();
    println!(
        "{switchovers} switchovers: posts waited {} ms in the median and {} ms at most; the longest time without a 201 was \
         {} ms; answers {:?}",
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
        seen.longest_gap.as_millis(),
        seen.statuses
    );
    assert_eq!(seen.statuses.keys().collect::<Vec<_>>(), [&201], "{:?}: {:?}", seen.statuses, seen.reasons);
    let shown = cluster.master.messages();
    followers.into_iter().for_each(|follower| follower.assert_followed(&shown, "after switchovers"));
    cluster.nodes().for_each(|node| seen.assert_kept_on(node, "after switchovers"));
}

/// The master is killed, loses its disk or is stopped, another node is promoted, and the old one comes back.
#[test]
fn rounds_of_killed_masters_lose_nothing_that_two_nodes_held() {
    let seed = variable("SUCCESSION_SEED").unwrap_or(1);
    let rounds = variable("SUCCESSION_ROUNDS").unwrap_or(6);
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start_with(&["0", "0"], &[("PROMOTION", "on"), ("ENABLE_FAULTS", "1")]);
    wait_for_voters(&cluster, 3);
    let posts = urls(&cluster);
    let followers = cluster.nodes().map(|node| Follower::of(node.url("/messages?follow=true"))).collect::<Vec<_>>();
    let (mut promoted_ms, mut back_ms) = (Vec::new(), Vec::new());
    let seen = while_writing(
        &posts,
        |text| json!({ "message": text, "w": 2 }),
        || {
            for round in 0..rounds {
                let why = format!("round {round}, SUCCESSION_SEED={seed}");
                thread::sleep(Duration::from_millis(100 + random.below(300)));
                let mut leader = None;
                wait_until(&why, || {
                    leader = cluster.nodes().position(leads);
                    leader.is_some()
                });
                let old = leader.expect("it was waited for");
                let new = (old + 1 + usize::try_from(random.below(2)).unwrap()) % 3;
                let how = random.below(9);
                {
                    let old = cluster.nodes_mut().nth(old).expect("three nodes");
                    match how {
                        0 | 1 => old.signal(Signal::STOP),
                        2 => assert_eq!(put(&old.url("/faults"), &json!({ "cut": "both" })).status, 200),
                        _ => old.kill(),
                    }
                    if how >= 6 {
                        old.lose_disk();
                    }
                }
                let began = Instant::now();
                if how == 3 {
                    promote_all(&cluster, &[0, 1, 2].map(|node| node != old));
                } else {
                    let candidate = cluster.nodes().nth(new).expect("three nodes");
                    wait_until(&why, || promote(candidate).status == 200);
                }
                // One of two that were promoted at once may give the lead to the other one again.
                let mut leader = None;
                wait_until(&why, || {
                    leader = cluster.nodes().enumerate().find(|(number, node)| *number != old && leads(node));
                    leader.is_some()
                });
                let candidate = leader.expect("it was waited for").1;
                let body = json!({ "message": format!("round {round}"), "w": 2 });
                wait_until("the new master takes writes", || write(candidate, &body).status == 201);
                promoted_ms.push(began.elapsed().as_millis());
                if promoted_ms[promoted_ms.len() - 1] > SLOW_MS {
                    println!("{why}: way {how}, writable after {} ms", promoted_ms[promoted_ms.len() - 1]);
                }
                let old = cluster.nodes_mut().nth(old).expect("three nodes");
                match how {
                    0 | 1 => old.signal(Signal::CONT),
                    2 => assert_eq!(delete(&old.url("/faults")).status, 200),
                    _ => old.start(),
                }
                let began = Instant::now();
                wait_until(&why, || {
                    let leader = cluster.nodes().find(|node| leads(node));
                    let health = leader.map(Node::health).unwrap_or_default();
                    let secondaries = health["secondaries"].as_array().cloned().unwrap_or_default();
                    secondaries.len() == 2 && secondaries.iter().all(|secondary| secondary["state"] == "in_sync")
                });
                back_ms.push(began.elapsed().as_millis());
            }
        },
    );
    wait_for_peace(&cluster);
    println!(
        "{rounds} rounds, SUCCESSION_SEED={seed}: writable {} ms after the command at most, all in sync {} ms after the old \
         master was back at most; answers {:?}",
        promoted_ms.iter().max().unwrap(),
        back_ms.iter().max().unwrap(),
        seen.statuses
    );
    let why = format!("SUCCESSION_SEED={seed}");
    let shown = cluster.master.messages();
    followers.into_iter().for_each(|follower| follower.assert_followed(&shown, &why));
    assert!(seen.committed.len() > 10, "{:?}, {why}", seen.statuses);
    cluster.nodes().for_each(|node| seen.assert_kept_on(node, &why));
    cluster.assert_same_everywhere();
}
