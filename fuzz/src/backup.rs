//! Restores a backup with the program that operators use: the result is the log in its lines, or an error.

use replicated_log::cli::run;
use replicated_log::cli::settings::MasterFlags;
use replicated_log::protocol::{Id, Slot};
use replicated_log::store::{Disk, ReadLimit, Store};
use replicated_log::wire::address::NodeUrl;
use replicated_log::wire::backup::{Head, Line, Tally, write_line};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

/// Restores the bytes, and the same lines with the hash that confirms them, because no fuzzer guesses a SHA-256.
pub fn check(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    restore(bytes, &lines);
    if let Some(confirmed) = confirmed(&lines) {
        restore(&confirmed, &lines);
    }
}

/// The slots of the lines after the first, up to the first line that is no slot.
fn slots(lines: &[&[u8]]) -> Vec<Slot> {
    let slot = |line: &&[u8]| match Line::parse(line) {
        Ok(Line::Slot(slot)) => Some(slot),
        _ => None,
    };
    lines.iter().skip(1).map_while(slot).collect()
}

fn confirmed(lines: &[&[u8]]) -> Option<Vec<u8>> {
    let first = *lines.first()?;
    let base = Head::parse(first).ok()?.base().ok()?;
    let slots = slots(lines);
    let mut tally = Tally::after(base);
    slots.iter().for_each(|slot| tally.add(slot));
    let mut backup = lines[..=slots.len()].concat();
    write_line(&mut backup, &tally.end(first));
    Some(backup)
}

fn restore(backup: &[u8], lines: &[&[u8]]) {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, data) = (directory.path().join("backup"), directory.path().join("data"));
    fs::write(&file, backup).expect("a file");
    let flags: MasterFlags = clap::Parser::try_parse_from([
        "master".as_ref(),
        "--data-dir".as_ref(),
        data.as_os_str(),
        "restore".as_ref(),
        file.as_os_str(),
    ])
    .expect("a command line");
    let restored = run::master(&flags) == ExitCode::SUCCESS;
    assert!(!data.join("restoring").exists(), "nothing unfinished is left");
    if restored {
        check_restored(&data, lines);
    } else {
        assert!(!data.join("log.sqlite").exists(), "what was refused was restored");
    }
}

fn check_restored(data: &Path, lines: &[&[u8]]) {
    let head = Head::parse(lines[0]).expect("what was restored has a head");
    let store = Disk::open(data).expect("what was restored can be used");
    assert_eq!(store.read(store.base().id, Id::MAX, ALL).expect("and read"), slots(lines));
    let identity = store.identity().expect("so can whose log it is").expect("it is of a log");
    assert_eq!(identity.lineage.log_id, head.log_id());
    assert_eq!(Ok(identity.lineage.history), head.history());
    let members = identity.members.iter().map(|member| (&member.name, NodeUrl::parse(&member.url)));
    assert!(members.eq(head.secondaries.iter().map(|line| (&line.server_id, NodeUrl::parse(&line.url)))));
    assert_eq!((store.last(), store.watermark().decided), (head.through(), head.through()));
}
