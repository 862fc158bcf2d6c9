//! The rules that observations must satisfy. Each returns sentences about violations.

use crate::api::{Message, Messages, Posted};

/// Two clocks that are read one after the other and rounded may differ by this much.
const ROUNDING_MS: u64 = 5;

/// A message that this program posted and the master acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Written {
    pub(crate) id: u64,
    pub(crate) text: String,
}

/// An acknowledged message has an acknowledgement of every secondary, and none of them comes later.
pub(crate) fn confirmed_too_early(posted: &Posted, waited_ms: u64, secondaries: &[String]) -> Vec<String> {
    let id = posted.message_id;
    let mut wrong = Vec::new();
    // More is no violation: a secondary may have joined since the list was read.
    let copies = &posted.copies;
    if copies.replicated_to < secondaries.len() {
        let (some, all) = (copies.replicated_to, secondaries.len());
        wrong.push(format!("message {id} was confirmed with {some} acknowledgements; there are {all} secondaries"));
    }
    if copies.acks.is_empty() {
        return wrong;
    }
    for name in secondaries.iter().filter(|name| copies.acks.iter().all(|ack| ack.server_id != **name)) {
        wrong.push(format!("message {id} was confirmed without an acknowledgement of {name}"));
    }
    for ack in copies.acks.iter().filter(|ack| ack.ms > waited_ms + ROUNDING_MS) {
        let (name, ms) = (&ack.server_id, ack.ms);
        wrong
            .push(format!("message {id} was confirmed after {waited_ms} ms, before {name} acknowledged it at {ms} ms"));
    }
    wrong
}

/// Later messages have higher ids.
pub(crate) fn out_of_order(written: &[Written]) -> Vec<String> {
    let falls = written.windows(2).filter(|pair| pair[0].id >= pair[1].id);
    falls.map(|pair| format!("what was posted after message {} got id {}", pair[0].id, pair[1].id)).collect()
}

/// A node shows every acknowledged message, under its id and as it was sent.
pub(crate) fn lost(shown: &Messages, written: &[Written]) -> Vec<String> {
    let verdict = |written: &Written| match shown.messages.iter().find(|message| message.id == written.id) {
        None => Some(format!("message {} was confirmed and is not shown", written.id)),
        Some(message) if message.message != written.text => {
            Some(format!("message {} is shown with another text", written.id))
        }
        Some(_) => None,
    };
    written.iter().filter_map(verdict).collect()
}

/// Up to an id, two nodes show the same messages in the same order. Returns the first difference.
pub(crate) fn difference(master: &Messages, other: &Messages, through: u64) -> Option<String> {
    let mut ours = up_to(master, through);
    let mut theirs = up_to(other, through);
    loop {
        return Some(match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (Some(one), Some(two)) if one == two => continue,
            (Some(one), Some(two)) if one.id == two.id => format!("message {} differs", one.id),
            (Some(one), _) if up_to(other, through).all(|message| message.id != one.id) => {
                format!("message {} is missing", one.id)
            }
            (Some(one), Some(two)) => format!("message {} stands where the master shows message {}", two.id, one.id),
            (Some(one), None) => format!("message {} stands in another place", one.id),
            (None, Some(two)) => format!("message {} is not shown by the master", two.id),
        });
    }
}

/// How many messages a node shows up to an id.
pub(crate) fn count_up_to(shown: &Messages, through: u64) -> usize {
    up_to(shown, through).count()
}

/// The messages up to an id. Other clients may write at the same time, so nothing beyond the id is compared.
fn up_to(shown: &Messages, through: u64) -> impl Iterator<Item = &Message> {
    shown.messages.iter().filter(move |message| message.id <= through)
}

/// Whether a node shows a text.
pub(crate) fn shows(shown: &Messages, text: &str) -> bool {
    shown.messages.iter().any(|message| message.message == text)
}

/// The messages of a run, which bear its tag, as a node shows them.
pub(crate) fn tagged(shown: &Messages, tag: &str) -> Vec<Written> {
    let ours = shown.messages.iter().filter(|message| message.message.contains(tag));
    ours.map(|message| Written { id: message.id, text: message.message.clone() }).collect()
}

/// A node may show only a part of a sequence, but that part is its beginning: the same ids, in the same order, each
/// once.
pub(crate) fn out_of_sequence(shown: &[Written], wanted: &[Written]) -> Option<String> {
    if wanted.starts_with(shown) {
        return None;
    }
    let list = |written: &[Written]| {
        let named: Vec<String> = written.iter().map(|one| format!("{} (id {})", one.text, one.id)).collect();
        named.join(", ")
    };
    Some(format!("shows {}, which is not the beginning of {}", list(shown), list(wanted)))
}

/// Whether a node shows messages up to an id.
pub(crate) fn reaches(shown: &Messages, through: u64) -> bool {
    shown.messages.iter().any(|message| message.id >= through)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(ids: &[u64]) -> Messages {
        let message = |id| json!({ "id": id, "message": format!("text {id}"), "timestamp": "then" });
        serde_json::from_value(json!({ "messages": ids.iter().map(message).collect::<Vec<_>>() })).unwrap()
    }

    fn posted(replicated_to: usize, acks: &[(&str, u64)]) -> Posted {
        let acks: Vec<_> = acks.iter().map(|(server_id, ms)| json!({ "server_id": server_id, "ms": ms })).collect();
        serde_json::from_value(json!({ "message_id": 7, "replicated_to": replicated_to, "acks": acks })).unwrap()
    }

    #[test]
    fn confirmed_means_by_all_and_not_before() {
        let both = ["a".to_owned(), "b".to_owned()];
        let wrong = |posted, waited| confirmed_too_early(&posted, waited, &both).join("; ");
        assert_eq!(wrong(posted(2, &[("a", 10), ("b", 20)]), 20), "");
        assert_eq!(wrong(posted(2, &[("a", 10), ("b", 25)]), 20), "", "rounding");
        assert_eq!(wrong(posted(2, &[]), 0), "", "a master that reports no acknowledgements");
        assert!(wrong(posted(2, &[("a", 10), ("b", 26)]), 20).contains("before b acknowledged"));
        assert!(wrong(posted(2, &[("a", 10), ("c", 20)]), 20).contains("without an acknowledgement of b"));
        assert!(wrong(posted(1, &[]), 0).contains("with 1 acknowledgements; there are 2"));
    }

    #[test]
    fn logs_are_compared_up_to_an_id() {
        let master = shown(&[1, 2, 4, 5]);
        assert_eq!(difference(&master, &shown(&[1, 2, 4]), 4), None, "what comes later does not matter");
        assert_eq!(difference(&master, &shown(&[1, 2]), 4), Some("message 4 is missing".to_owned()));
        assert_eq!(difference(&master, &shown(&[1, 4]), 4), Some("message 2 is missing".to_owned()));
        assert_eq!(
            difference(&shown(&[1]), &shown(&[1, 2]), 4),
            Some("message 2 is not shown by the master".to_owned())
        );
        assert_eq!(
            difference(&master, &shown(&[2, 1, 4]), 4),
            Some("message 2 stands where the master shows message 1".to_owned())
        );
        let mut altered = shown(&[1, 2, 4]);
        altered.messages[1].message.push('!');
        assert_eq!(difference(&master, &altered, 4), Some("message 2 differs".to_owned()));
    }

    #[test]
    fn confirmed_messages_are_shown_as_they_were_sent() {
        let written = |id, text: &str| Written { id, text: text.to_owned() };
        assert_eq!(lost(&shown(&[3, 4]), &[written(3, "text 3"), written(4, "text 4")]), Vec::<String>::new());
        assert_eq!(lost(&shown(&[3]), &[written(3, "text"), written(4, "text 4")]).len(), 2);
    }

    #[test]
    fn a_sequence_is_shown_from_its_beginning() {
        let ours = |ids: &[u64]| tagged(&shown(ids), "text");
        let wanted = ours(&[3, 4, 6]);
        for part in [&[][..], &[3], &[3, 4], &[3, 4, 6]] {
            assert_eq!(out_of_sequence(&ours(part), &wanted), None, "{part:?}");
        }
        for wrong in [&[4][..], &[3, 6], &[4, 3], &[3, 3], &[3, 4, 6, 7], &[2, 3]] {
            assert!(out_of_sequence(&ours(wrong), &wanted).is_some(), "{wrong:?}");
        }
        assert_eq!(tagged(&shown(&[1, 12]), "text 12").len(), 1);
    }

    #[test]
    fn ids_rise() {
        let written = |id| Written { id, text: String::new() };
        assert!(out_of_order(&[written(1), written(2), written(5)]).is_empty());
        assert_eq!(out_of_order(&[written(1), written(1), written(0)]).len(), 2);
    }
}
