//! The whole cluster in one thread, with simulated time. One seed draws the cluster, its faults and its clients;
//! `simulation/mod.rs` says which, and what must hold.
//!
//! `cargo test --test simulation` plays some thousand seeds. `SIMULATION_SEEDS=1000000 cargo test --profile checked
//! --test simulation seeds` plays more of them in memory (`real_store`: on real files), `SIMULATION_MINUTES=30` as many
//! as fit, and both begin with `SIMULATION_FROM`. `SIMULATION_SEED=N` plays one, and prints all that happens.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test on many threads")]

#[path = "common/random.rs"]
mod random;
#[path = "simulation/mod.rs"]
mod simulation;
mod world;

use simulation::real_disk::RealDisk;
use simulation::{Outcome, Plan, Simulation};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use world::Node;
use world::disk::{SimulatedDisk, Slate};
use world::planted_bugs::PlantedBug;

/// Seeds that once broke a promise.
const REGRESSIONS: &[u64] = &[];

/// The same, where voters change.
const REGRESSIONS_OF_CHANGES: &[u64] = &[7_356, 82_605, 854_953];

/// A seed that once caught [`PlantedBug::EnteredBeforeDropped`].
const ENTERED_BEFORE_DROPPED_SHOWS: u64 = 9_772;

/// A seed that once caught [`PlantedBug::RefusalLostByCopying`].
const REFUSAL_LOST_SHOWS: u64 = 105_288;

/// A seed that once caught [`PlantedBug::OneRosterAsked`].
const ONE_ROSTER_ASKED_SHOWS: u64 = 4_198;

/// A seed that once caught [`PlantedBug::CopyIgnored`].
const COPY_IGNORED_SHOWS: u64 = 24_363;

/// Lines of the trace that a failure prints.
const TRACE_LINES: usize = 120;

fn play<P: SimulatedDisk>(seed: u64, planted: Option<PlantedBug>, disk: impl Fn(Node) -> P, loud: bool) -> Outcome {
    Simulation::new(Plan::draw(seed), planted, disk, loud).run()
}

fn on_slates(seed: u64, planted: Option<PlantedBug>, loud: bool) -> Outcome {
    play(seed, planted, Slate::of, loud)
}

fn with_promotion(seed: u64, planted: Option<PlantedBug>, loud: bool) -> Outcome {
    Simulation::new(Plan::draw_with_promotion(seed), planted, Slate::of, loud).run()
}

fn with_changes(seed: u64, planted: Option<PlantedBug>, loud: bool) -> Outcome {
    Simulation::new(Plan::draw_with_changes(seed), planted, Slate::of, loud).run()
}

fn with_trimming(seed: u64, planted: Option<PlantedBug>, loud: bool) -> Outcome {
    Simulation::new(Plan::draw_with_trimming(seed), planted, Slate::of, loud).run()
}

fn on_disks(seed: u64, loud: bool) -> Outcome {
    play(seed, None, |_| RealDisk::empty(), loud)
}

/// Plays a seed again, with a trace, and fails.
fn fail(seed: u64, outcome: &Outcome, again: impl Fn(u64, bool) -> Outcome) -> ! {
    let traced = again(seed, true);
    let from = traced.trace.len().saturating_sub(TRACE_LINES);
    for line in &traced.trace[from..] {
        println!("{line}");
    }
    let why = outcome.broken.as_deref().unwrap_or_default();
    panic!("SIMULATION_SEED={seed}: {why}");
}

#[test]
fn seeds_keep_every_promise() {
    play_many("in memory", REGRESSIONS, 2_000, |seed, loud| on_slates(seed, None, loud));
}

#[test]
fn seeds_keep_every_promise_through_promotions() {
    play_many("promotions in memory", &[], 2_000, |seed, loud| with_promotion(seed, None, loud));
}

#[test]
fn seeds_keep_every_promise_while_voters_change() {
    play_many("voters that change, in memory", REGRESSIONS_OF_CHANGES, 2_000, |seed, loud| {
        with_changes(seed, None, loud)
    });
}

#[test]
fn seeds_keep_every_promise_while_the_log_is_trimmed() {
    play_many("logs that are trimmed, in memory", &[], 2_000, |seed, loud| with_trimming(seed, None, loud));
}

#[test]
fn the_real_store_keeps_every_promise() {
    play_many("on disk", &[], 60, on_disks);
}

#[test]
fn the_real_store_keeps_every_promise_while_the_log_is_trimmed() {
    play_many("logs that are trimmed, on disk", &[], 60, |seed, loud| {
        // Only a cluster that never lets another node lead finds its copy ids on real disks.
        Simulation::new(Plan::draw_with_trimming(3 * seed), None, |_| RealDisk::empty(), loud).run()
    });
}

/// Plays the requested seed, or the known ones and then others on every processor, up to the requested number or time.
fn play_many(what: &str, known: &[u64], usually: u64, one: impl Fn(u64, bool) -> Outcome + Sync) {
    if let Some(seed) = random::variable("SIMULATION_SEED") {
        let outcome = one(seed, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(outcome.broken, None, "{what}, SIMULATION_SEED={seed}");
        return;
    }
    for &seed in known {
        let outcome = one(seed, false);
        if outcome.broken.is_some() {
            fail(seed, &outcome, &one);
        }
    }
    let minutes = random::variable("SIMULATION_MINUTES");
    let seeds = random::variable("SIMULATION_SEEDS").unwrap_or(if minutes.is_some() { u64::MAX } else { usually });
    let until = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let from = random::variable("SIMULATION_FROM").unwrap_or(1);
    let (next, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let totals = thread::scope(|scope| {
        let play = || {
            let mut total = Outcome::default();
            while !ended.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= seeds {
                    break;
                }
                let outcome = one(from + number, false);
                if outcome.broken.is_some() {
                    ended.store(true, Ordering::Relaxed);
                    return (Some((from + number, outcome)), total);
                }
                total.add(&outcome);
            }
            (None, total)
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        players.into_iter().map(|player| player.join().expect("no seed panics")).collect::<Vec<_>>()
    });
    let mut all = Outcome::default();
    for (failed, total) in &totals {
        if let Some((seed, outcome)) = failed {
            fail(*seed, outcome, &one);
        }
        all.add(total);
    }
    println!("{what}, from seed {from} on, {:.0} s: {all}", began.elapsed().as_secs_f64());
    all.assert_something_happened();
}

/// Some thousand seeds find each bug.
#[test]
fn every_planted_bug_is_caught() {
    for planted in PlantedBug::ALL {
        // This bug shows only if a secondary is killed between two writes of a call, which is rare: begin near a seed
        // that does.
        let first = if planted == PlantedBug::EnteredBeforeDropped { ENTERED_BEFORE_DROPPED_SHOWS } else { 1 };
        let caught = (first..=20_000)
            .chain(1..first)
            .find_map(|seed| on_slates(seed, Some(planted), false).broken.map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} is not caught"));
        println!("{planted:?} is caught by seed {seed}: {why}");
    }
}

#[test]
fn every_planted_bug_of_succession_is_caught() {
    for planted in PlantedBug::OF_SUCCESSION {
        // This bug shows only if a candidate copies the log of a node that lacks its refusal, and stands again.
        let first = if planted == PlantedBug::RefusalLostByCopying { REFUSAL_LOST_SHOWS } else { 1 };
        let caught = (first..first + 20_000)
            .find_map(|seed| with_promotion(seed, Some(planted), false).broken.map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} is not caught"));
        println!("{planted:?} is caught by seed {seed}: {why}");
    }
}

#[test]
fn every_planted_bug_of_changes_is_caught() {
    for planted in PlantedBug::OF_CHANGES {
        // These two need a change and promotions that meet in a rare way: begin near seeds that once caught them.
        let first = match planted {
            PlantedBug::OneRosterAsked => ONE_ROSTER_ASKED_SHOWS,
            PlantedBug::CopyIgnored => COPY_IGNORED_SHOWS,
            _ => 1,
        };
        let caught = (first..first + 100_000)
            .find_map(|seed| with_changes(seed, Some(planted), false).broken.map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} is not caught"));
        println!("{planted:?} is caught by seed {seed}: {why}");
    }
}

#[test]
fn every_planted_bug_of_trimming_is_caught() {
    for planted in PlantedBug::OF_TRIMMING {
        let caught =
            (1..=20_000).find_map(|seed| with_trimming(seed, Some(planted), false).broken.map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} is not caught"));
        println!("{planted:?} is caught by seed {seed}: {why}");
    }
}

#[test]
fn a_seed_repeats_itself() {
    let one = on_slates(7, None, true);
    assert!(one.trace.len() > 100, "{} lines", one.trace.len());
    assert_eq!(one.trace, on_slates(7, None, true).trace);
}
