//! The lineage of a copy as text, as it stands in the database.

use crate::protocol::{
    Candidacy, Contact, CopyId, Epoch, EpochEntry, EpochHistory, Id, Incarnation, Lineage, LogId, Promotion, Roster,
    RosterNumber, Voters,
};

/// Log id, epochs, roster and promise.
pub(super) type Texts = [String; 4];

pub(super) fn to_texts(lineage: &Lineage) -> Texts {
    let epoch = |&EpochEntry { epoch, start, master }: &EpochEntry| format!("{epoch} from {start} by {master}\n");
    let promised = |Candidacy { epoch, copy, master }: Candidacy| format!("{epoch} to {copy} by {master}\n");
    [
        lineage.log_id.to_string(),
        lineage.history.entries().iter().map(epoch).collect(),
        roster_text(&lineage.roster),
        lineage.promised.map(promised).unwrap_or_default(),
    ]
}

pub(super) fn parse([log_id, epochs, roster, promised]: &Texts) -> Option<Lineage> {
    let epoch = |line: &str| {
        let (epoch, rest) = line.split_once(" from ")?;
        let (start, master) = rest.split_once(" by ")?;
        Some(EpochEntry {
            epoch: parse_epoch(epoch)?,
            start: Id::new(start.parse().ok()?),
            master: parse_master(master)?,
        })
    };
    Some(Lineage {
        log_id: LogId::parse(log_id)?,
        history: EpochHistory::new(epochs.lines().map(epoch).collect::<Option<_>>()?)?,
        roster: parse_roster(roster)?,
        promised: match &**promised {
            "" => None,
            text => Some(parse_promise(text.strip_suffix('\n')?)?),
        },
    })
}

/// `EPOCH.SEQUENCE led by COPY`, then a line for the voters, one for those before a change that is under way, and one for
/// each node.
fn roster_text(roster: &Roster) -> String {
    let RosterNumber { epoch, sequence } = roster.number();
    let sets = [Some(roster.voters()), roster.before()].into_iter().flatten().map(voters_text);
    let contact = |(copy, Contact { name, url }): (&CopyId, &Contact)| format!("copy {copy} of {name} at {url}\n");
    let contacts = roster.contacts().iter().map(contact);
    format!("{epoch}.{sequence} led by {}\n{}", roster.master(), sets.chain(contacts).collect::<String>())
}

fn voters_text(voters: &Voters) -> String {
    let promotion = match voters.promotion() {
        Promotion::Off => "off",
        Promotion::On => "on",
    };
    let copies: String = voters.iter().map(|copy| format!(" {copy}")).collect();
    format!("promotion {promotion}, voters{copies}\n")
}

fn parse_roster(text: &str) -> Option<Roster> {
    let mut lines = text.lines().peekable();
    let (number, master) = lines.next()?.split_once(" led by ")?;
    let (epoch, sequence) = number.split_once('.')?;
    let number = RosterNumber { epoch: parse_epoch(epoch)?, sequence: sequence.parse().ok()? };
    let voters = parse_voters(lines.next()?)?;
    let before = match lines.next_if(|line| line.starts_with("promotion ")) {
        None => None,
        Some(line) => Some(parse_voters(line)?),
    };
    let contacts = lines.map(parse_contact).collect::<Option<_>>()?;
    Some(Roster::new(number, CopyId::parse(master)?, voters).changing_from(before).with_contacts(contacts))
}

fn parse_contact(line: &str) -> Option<(CopyId, Contact)> {
    let (copy, rest) = line.strip_prefix("copy ")?.split_once(" of ")?;
    let (name, url) = rest.split_once(" at ")?;
    Some((CopyId::parse(copy)?, Contact { name: name.into(), url: url.into() }))
}

fn parse_voters(line: &str) -> Option<Voters> {
    let (promotion, copies) = line.strip_prefix("promotion ")?.split_once(", voters")?;
    let promotion = match promotion {
        "off" => Promotion::Off,
        "on" => Promotion::On,
        _ => return None,
    };
    let copies: Option<Vec<CopyId>> = copies.split_whitespace().map(CopyId::parse).collect();
    Some(Voters::new(promotion, copies?))
}

fn parse_promise(line: &str) -> Option<Candidacy> {
    let (epoch, rest) = line.split_once(" to ")?;
    let (copy, master) = rest.split_once(" by ")?;
    Some(Candidacy { epoch: parse_epoch(epoch)?, copy: CopyId::parse(copy)?, master: parse_master(master)? })
}

fn parse_epoch(text: &str) -> Option<Epoch> {
    text.parse().ok().map(Epoch::new)
}

fn parse_master(text: &str) -> Option<Incarnation> {
    u64::from_str_radix(text, 16).ok().map(Incarnation::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RosterChange;

    #[test]
    fn a_lineage_is_read_back_as_it_was_written() {
        let (copy, master) = (CopyId::new(0xab), Incarnation::new(0xcd));
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
        history.begin(Epoch::new(7), Id::new(4), master);
        let number = RosterNumber { epoch: Epoch::new(7), sequence: 2 };
        let settled = Roster::new(number, copy, Voters::new(Promotion::On, [copy, CopyId::new(2)]));
        let changing = settled.changed(RosterChange::Add(CopyId::new(3))).unwrap();
        let candidacy = Candidacy { epoch: Epoch::new(9), copy, master };
        let contact = Contact { name: "secondary-1".into(), url: "http://localhost:5001".into() };
        let placed = changing.clone().with_contacts([(copy, contact)].into());
        for roster in [Roster::fixed(copy, Epoch::new(1)), settled, changing, placed, Roster::default()] {
            for promised in [None, Some(candidacy)] {
                let lineage =
                    Lineage { log_id: LogId::new(5), history: history.clone(), roster: roster.clone(), promised };
                let texts = to_texts(&lineage);
                assert_eq!(parse(&texts), Some(lineage), "{texts:?}");
            }
        }
    }

    #[test]
    fn what_is_no_lineage_is_not_read() {
        let (copy, log_id) = (CopyId::new(0xab), LogId::new(5));
        let lineage = Lineage {
            log_id,
            history: EpochHistory::default(),
            roster: Roster::fixed(copy, Epoch::new(1)),
            promised: Some(Candidacy { epoch: Epoch::new(9), copy, master: Incarnation::new(1) }),
        };
        let good = to_texts(&lineage);
        for (place, text) in [
            (0, "5"),
            (1, "1 from x by 1\n"),
            (2, ""),
            (2, "1.0 led by ab\n"),
            (2, "1.0 led by 00000000000000ab\npromotion on, voters\nhere\n"),
            (3, "9 to ab\n"),
            (3, "9"),
        ] {
            let mut bad = good.clone();
            bad[place] = text.to_owned();
            assert_eq!(parse(&bad), None, "{bad:?}");
        }
    }
}
