//! Each kind of violation, planted in a history that is good otherwise, is found, and nothing else is.

use super::generator::{NODES, Sample, good};
use super::judge::{Verdict, judge};
use super::violations::Kind;
use crate::history::{Outcome, Read, ReadMode, Text, Write};

const LATE: u64 = 900_000;

fn kinds(sample: &Sample) -> Vec<Kind> {
    judge(&sample.history()).violations.kinds()
}

/// Plants something in many histories.
#[track_caller]
fn is_found(kind: Kind, plant: impl Fn(&mut Sample)) {
    for seed in 0..15 {
        let mut sample = good(seed, 40, 60);
        plant(&mut sample);
        let verdict = judge(&sample.history());
        assert_eq!(verdict.violations.kinds(), [kind], "seed {seed}: {}", sentences(&verdict));
    }
}

fn sentences(verdict: &Verdict) -> String {
    let sentences: Vec<&str> = verdict.violations.kept().iter().map(|violation| &*violation.sentence).collect();
    sentences.join("\n")
}

/// A single message that was acknowledged at its first attempt.
fn acknowledged(sample: &mut Sample) -> &mut Write {
    let is_acknowledged = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
    let texts = with_outcome(sample, is_acknowledged, |write| write.texts.len() == 1).texts;
    sample.writes.iter_mut().find(|write| write.texts == texts).expect("it was found just now")
}

/// A write with one attempt that came to this.
fn with_outcome(sample: &Sample, wanted: impl Fn(&Outcome) -> bool, fits: impl Fn(&Write) -> bool) -> Write {
    let attempts = |write: &Write| sample.writes.iter().filter(|other| other.texts == write.texts).count();
    let mut writes = sample.writes.iter().filter(|write| attempts(write) == 1 && wanted(&write.outcome));
    writes.find(|write| fits(write)).expect("such a write").clone()
}

/// A write that was refused at its only attempt.
fn refused(sample: &Sample) -> Write {
    with_outcome(sample, is_refused, |_| true)
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. })
}

fn committed(first: u64) -> Outcome {
    Outcome::Committed { first, copies: NODES as u64, in_time: true, replayed: false }
}

fn refusal(status: u16) -> Outcome {
    Outcome::Refused { status: Some(status), why: "refused".to_owned() }
}

fn unknown() -> Outcome {
    Outcome::Unknown { gave_up: false, why: "broken".to_owned() }
}

/// Adds a write, without a key.
fn write(sample: &mut Sample, texts: &[&str], (call, returned): (u64, u64), outcome: Outcome) {
    let texts = texts.iter().map(|text| Text::from(*text)).collect();
    let write = Write { texts, key: None, call, returned, outcome, ..sample.writes[0].clone() };
    sample.writes.push(write);
}

/// Lets every node show an entry in the end.
fn show(sample: &mut Sample, id: u64, text: &str) {
    sample.finals.iter_mut().for_each(|shown| shown.entries.push((id, text.into())));
}

/// A read of everything, after everything else.
fn late_read(sample: &Sample, how: ReadMode, entries: Vec<(u64, Text)>) -> Read {
    Read {
        client: "late".to_owned(),
        call: LATE,
        returned: LATE + 1,
        node: 1,
        how,
        from: sample.header.first,
        limit: None,
        stale: false,
        failed: None,
        entries,
    }
}

/// Takes a text out of everything that was shown. A page that was full stays so.
fn vanish(sample: &mut Sample, text: &str) {
    for read in sample.reads.iter_mut().filter(|read| read.entries.iter().any(|(_, shown)| **shown == *text)) {
        let was_full = read.limit == Some(read.entries.len() as u64);
        read.limit = if was_full { Some(read.entries.len() as u64 - 1) } else { read.limit };
    }
    sample.showings().for_each(|entries| entries.retain(|(_, shown)| **shown != *text));
}

#[test]
fn good_histories_are_good() {
    for seed in 0..100 {
        let verdict = judge(&good(seed, 40, 60).history());
        assert!(verdict.is_good(), "seed {seed}: {}", sentences(&verdict));
    }
}

#[test]
fn an_acknowledged_message_that_is_lost() {
    is_found(Kind::Lost, |sample| {
        let text = acknowledged(sample).texts[0].clone();
        vanish(sample, &text);
    });
    is_found(Kind::Lost, |sample| {
        let text = acknowledged(sample).texts[0].clone();
        sample.finals[2].entries.retain(|(_, shown)| *shown != text);
    });
}

#[test]
fn an_acknowledged_message_that_has_another_id_or_text() {
    is_found(Kind::Changed, |sample| {
        let Outcome::Committed { first, .. } = &mut acknowledged(sample).outcome else { unreachable!() };
        *first += 1000;
    });
    is_found(Kind::Changed, |sample| {
        let text = acknowledged(sample).texts[0].clone();
        for (_, shown) in sample.showings().flatten().filter(|(_, shown)| *shown == text) {
            *shown = "something else".into();
        }
    });
}

#[test]
fn an_acknowledged_message_with_too_few_copies() {
    let plant = |sample: &mut Sample, wanted: Option<&str>, had| {
        let write = acknowledged(sample);
        let Outcome::Committed { copies, .. } = &mut write.outcome else { unreachable!() };
        *copies = had;
        write.w = wanted.map(str::to_owned);
    };
    for (wanted, had) in [(None, 2), (Some("all"), 2), (Some("majority"), 1), (Some("2"), 1)] {
        is_found(Kind::Short, |sample| plant(sample, wanted, had));
    }
    // Where members may come and go, only a number says how many.
    for (wanted, expected) in [("all", vec![]), ("2", vec![Kind::Short])] {
        let mut sample = good(3, 40, 60);
        sample.header.alone = false;
        plant(&mut sample, Some(wanted), 1);
        assert_eq!(kinds(&sample), expected);
    }
}

#[test]
fn a_refused_message_that_is_shown() {
    // By one reader, by one node in the end, by all of them.
    is_found(Kind::RefusedShown, |sample| {
        let text = refused(sample).texts[0].clone();
        let mut entries = sample.log().to_vec();
        entries.push((5000, text));
        sample.reads.push(late_read(sample, ReadMode::Prefix, entries));
    });
    for nodes in [0..1, 0..NODES] {
        is_found(Kind::RefusedShown, |sample| {
            let text = refused(sample).texts[0].clone();
            for shown in &mut sample.finals[nodes.clone()] {
                shown.entries.push((5000, text.clone()));
            }
        });
    }
    // It was refused in the end, after an attempt without an answer.
    is_found(Kind::RefusedShown, |sample| {
        let mut first = refused(sample);
        let at = sample.writes.iter().position(|write| write.texts == first.texts).unwrap();
        sample.writes[at].key = Some("again".to_owned());
        first.key = Some("again".to_owned());
        first.outcome = unknown();
        let text = first.texts[0].clone();
        sample.writes[at].call = LATE - 1;
        sample.writes[at].returned = LATE;
        sample.writes.push(first);
        sample.finals[0].entries.push((5000, text));
    });
}

#[test]
fn a_refusal_does_not_speak_of_a_request_that_may_be_on_its_way() {
    for (gave_up, status) in [(true, 502), (false, 503)] {
        let mut sample = good(1, 40, 60);
        let mut first = refused(&sample);
        let at = sample.writes.iter().position(|write| write.texts == first.texts).unwrap();
        let last = &mut sample.writes[at];
        (last.key, last.call, last.returned) = (Some("again".to_owned()), LATE - 1, LATE);
        last.outcome = refusal(status);
        first.key = Some("again".to_owned());
        first.outcome = Outcome::Unknown { gave_up, why: "no answer".to_owned() };
        let entries: Vec<_> = (5000..).zip(first.texts.clone()).collect();
        sample.finals.iter_mut().for_each(|shown| shown.entries.extend(entries.clone()));
        sample.writes.push(first);
        assert_eq!(kinds(&sample), [], "gave up: {gave_up}, {status}");
    }
}

#[test]
fn nodes_that_differ() {
    is_found(Kind::Differs, |sample| {
        let entries = &mut sample.finals[1].entries;
        let last = entries.len() - 1;
        let (one, other) = (entries[last].1.clone(), entries[last - 1].1.clone());
        (entries[last].1, entries[last - 1].1) = (other, one);
    });
}

#[test]
fn ids_that_do_not_ascend() {
    is_found(Kind::Disorder, |sample| {
        let mut entries = sample.log().to_vec();
        entries.swap(0, 1);
        sample.reads.push(late_read(sample, ReadMode::Usual, entries));
    });
    is_found(Kind::Disorder, |sample| {
        let from = sample.log()[1].0;
        let read = Read { from, ..late_read(sample, ReadMode::Usual, sample.log().to_vec()) };
        sample.reads.push(read);
    });
}

#[test]
fn a_reply_with_a_gap() {
    is_found(Kind::Gap, |sample| {
        let mut entries = sample.log().to_vec();
        entries.remove(entries.len() / 2);
        sample.reads.push(late_read(sample, ReadMode::Usual, entries));
    });
}

#[test]
fn a_message_that_is_there_twice() {
    is_found(Kind::Duplicate, |sample| {
        let text = acknowledged(sample).texts[0].clone();
        show(sample, 5000, &text);
    });
}

#[test]
fn a_message_from_nowhere() {
    is_found(Kind::FromNowhere, |sample| {
        sample.finals[1].entries.push((5000, "t from nowhere".into()));
    });
    // Where others write, a text of theirs is none of our business.
    let mut sample = good(3, 40, 60);
    sample.header.alone = false;
    show(&mut sample, 5000, "another's");
    assert_eq!(kinds(&sample), []);
    show(&mut sample, 5001, "t of ours?");
    assert_eq!(kinds(&sample), [Kind::FromNowhere]);
}

#[test]
fn a_batch_that_is_torn() {
    let is_batch = |write: &&Write| write.texts.len() > 1;
    for is_committed in [true, false] {
        is_found(Kind::Torn, |sample| {
            let is_there = |text: &str| sample.log().iter().any(|(_, shown)| **shown == *text);
            let fits = |write: &&Write| matches!(write.outcome, Outcome::Committed { .. }) == is_committed;
            let mut batches = sample.writes.iter().filter(is_batch).filter(fits);
            let Some(text) = batches.find_map(|write| is_there(&write.texts[1]).then(|| write.texts[1].clone())) else {
                // By chance there is none in this one, so one that is torn from the beginning is made.
                write(sample, &["t batch/0", "t batch/1"], (LATE, LATE), committed(5000));
                show(sample, 5000, "t batch/0");
                return;
            };
            vanish(sample, &text);
        });
    }
}

#[test]
fn a_write_that_comes_before_an_earlier_one() {
    is_found(Kind::OutOfOrder, |sample| {
        write(sample, &["t late 1"], (LATE, LATE + 1), committed(6001));
        write(sample, &["t late 2"], (LATE + 2, LATE + 3), committed(6000));
        show(sample, 6000, "t late 2");
        show(sample, 6001, "t late 1");
    });
    // It was shown before it was sent.
    is_found(Kind::OutOfOrder, |sample| {
        sample.reads.clear();
        let (id, text) = sample.log()[0].clone();
        let before = Read { call: 0, returned: 1, ..late_read(sample, ReadMode::Prefix, vec![(id, text)]) };
        sample.reads.push(before);
    });
}

#[test]
fn what_is_not_shown_any_more() {
    is_found(Kind::Unshown, |sample| {
        let all = sample.log().to_vec();
        let less = all[..all.len() - 1].to_vec();
        let first = late_read(sample, ReadMode::Prefix, all);
        let second = Read { call: LATE + 2, returned: LATE + 3, entries: less, ..first.clone() };
        sample.reads.extend([first, second]);
    });
    // Readers saw it, and in the end it is nowhere.
    is_found(Kind::Unshown, |sample| {
        write(sample, &["t gone"], (0, 1), unknown());
        let mut entries = sample.log().to_vec();
        entries.push((5000, "t gone".into()));
        sample.reads.push(late_read(sample, ReadMode::Prefix, entries));
    });
}

/// The node that reads late has shown nothing before, so that it only lacks what others know.
fn silence(sample: &mut Sample) {
    sample.reads.retain(|read| read.node != 1);
}

#[test]
fn a_usual_read_that_is_stale() {
    let plant = |sample: &mut Sample, stale| {
        silence(sample);
        let everything = sample.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Committed { first, copies, replayed: false, .. } if copies == NODES as u64 => Some(first),
            _ => None,
        });
        let newest = everything.max().expect("something is everywhere");
        let entries = sample.log().iter().filter(|(id, _)| *id < newest).cloned().collect();
        let read = Read { stale, ..late_read(sample, ReadMode::Usual, entries) };
        sample.reads.push(read);
    };
    is_found(Kind::Stale, |sample| plant(sample, false));
    let mut sample = good(5, 40, 60);
    plant(&mut sample, true);
    assert_eq!(kinds(&sample), [], "it says so itself");
}

#[test]
fn a_strong_read_that_is_stale() {
    is_found(Kind::StaleStrong, |sample| {
        silence(sample);
        let newest = sample.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Committed { first, .. } => Some(first),
            _ => None,
        });
        let newest = newest.max().unwrap();
        let entries = sample.log().iter().filter(|(id, _)| *id < newest).cloned().collect();
        sample.reads.push(late_read(sample, ReadMode::Strong, entries));
    });
    // Only a reader of another node saw it.
    is_found(Kind::StaleStrong, |sample| {
        let all = sample.log().to_vec();
        silence(sample);
        write(sample, &["t quiet"], (0, 1), unknown());
        show(sample, 5000, "t quiet");
        let seen = Read { node: 0, ..late_read(sample, ReadMode::Prefix, sample.log().to_vec()) };
        let missed = Read { call: LATE + 2, returned: LATE + 3, ..late_read(sample, ReadMode::Strong, all) };
        sample.reads.extend([seen, missed]);
    });
}

#[test]
fn two_answers_to_one_key() {
    let again = |sample: &mut Sample, outcome| {
        let write = acknowledged(sample);
        write.key = Some("again".to_owned());
        let second = Write { call: LATE, returned: LATE + 1, outcome, ..write.clone() };
        sample.writes.push(second);
    };
    is_found(Kind::KeyTwice, |sample| {
        again(sample, Outcome::Committed { first: 7000, copies: 3, in_time: true, replayed: true });
    });
    is_found(Kind::KeyTwice, |sample| {
        again(sample, refusal(502));
    });
    let mut sample = good(7, 40, 60);
    again(&mut sample, refusal(503));
    assert_eq!(kinds(&sample), [], "what is refused for now says nothing of an earlier attempt");
}

#[test]
fn a_cluster_that_does_not_come_back() {
    is_found(Kind::NotBack, |sample| {
        sample.not_back = Some("the master is read-only".to_owned());
        sample.finals.clear();
    });
}

#[test]
fn a_violation_in_each_of_thousands_of_replies_is_reported_a_few_times() {
    let mut sample = good(11, 400, 800);
    for number in 0..5000 {
        let at = LATE + number * 2;
        let read = Read { call: at, returned: at + 1, ..late_read(&sample, ReadMode::Strong, Vec::new()) };
        sample.reads.push(read);
    }
    let violations = judge(&sample.history()).violations;
    assert!(violations.total() >= 5000 && violations.kept().len() <= 20, "{}", violations.total());
}
