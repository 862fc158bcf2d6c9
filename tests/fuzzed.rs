//! Runs every input in `fuzz/seeds`, and some that are made from them by chance, on any toolchain.
//!
//! `fuzz/seeds/TARGET` holds the inputs, and `fuzz/src` says what must hold for them. `FUZZED_SEED` repeats a run, and
//! `FUZZED_INPUTS` sets the number of made inputs. `fuzz/run` searches for more, guided by coverage.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

#[path = "common/random.rs"]
mod random;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use random::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Longer inputs have found nothing that shorter ones do not.
const INPUT_BYTES_MAX: usize = 4_096;

/// Checks every kept input of a target, and so many others.
fn replay(target: &str, inputs: u64, check: fn(&[u8])) {
    let kept = kept(target);
    kept.iter().for_each(|(name, input)| try_input(target, name, input, check));
    let seed = random::seed("FUZZED_SEED");
    println!("{target}: FUZZED_SEED={seed}");
    let mut random = Random::new(seed);
    for number in 0..random::variable("FUZZED_INPUTS").unwrap_or(inputs) {
        let mut input = random.one_of(&kept).1;
        for _ in 0..=random.below(4) {
            change(&mut random, &mut input, &kept);
        }
        input.truncate(INPUT_BYTES_MAX);
        try_input(target, &format!("input {number} of seed {seed}"), &input, check);
    }
}

/// The inputs under `fuzz/seeds`, in the order of their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: &Path| (path.display().to_string(), fs::read(path).unwrap());
    paths.iter().map(|path| read(path)).collect()
}

/// Checks one input. On failure it leaves the input where the fuzzer leaves what it finds.
fn try_input(target: &str, name: &str, input: &[u8], check: fn(&[u8])) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) else { return };
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{target}"));
    fs::write(&found, input).unwrap();
    println!("{name} does not pass; it is in {}, for fuzz/seeds/{target}", found.display());
    resume_unwind(panic);
}

/// Makes one change, as fuzzers do.
fn change(random: &mut Random, input: &mut Vec<u8>, kept: &[(String, Vec<u8>)]) {
    let at = random.below(input.len() as u64 + 1) as usize;
    let end = input.len().min(at + random.below(16) as usize);
    match random.below(6) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => drop(input.drain(at..end)),
        3 => input.extend_from_within(at..end),
        4 => input.insert(at, random.next() as u8),
        _ => {
            let other = random.one_of(kept).1;
            let from = random.below(other.len() as u64 + 1) as usize;
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

#[test]
fn what_clients_send() {
    replay("http", 100, targets::http::check);
}

#[test]
fn what_clients_post() {
    replay("posted", 20_000, targets::posted::check);
}

#[test]
fn what_a_master_sends() {
    replay("replicate", 5_000, targets::replicate::check);
}

#[test]
fn lives_of_a_secondary() {
    replay("calls", 2_000, targets::calls::check);
}

#[test]
fn lives_of_a_follower() {
    replay("follower", 3_000, targets::follower::check);
}

#[test]
fn lives_of_a_leader() {
    replay("leader", 300, targets::leader::check);
}

#[test]
fn damaged_directories() {
    replay("directory", 100, targets::directory::check);
}

#[test]
fn backups_that_are_restored() {
    replay("backup", 50, targets::backup::check);
}
