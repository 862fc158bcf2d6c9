//! Who may vote on a log, and what a vote needs.
//!
//! The *voters* are the copies of a log that decide together which of them leads. The master of an epoch is one of
//! them. With `n` voters:
//!
//! - A **majority** holds something when the master and half of all voters, rounded down, do.
//! - A **promise quorum** lets a candidate begin an epoch: one more than half of the voters, rounded down. If the master
//!   of the last epoch is not among them, half of the voters, rounded up, are enough: so of two voters the secondary
//!   can go on alone.
//!
//! Both are so if promotion is on ([`Promotion`]). If it is off, the master alone is both: then its promise is needed for
//! every epoch, and its word is final.
//!
//! Any two promise quorums for one epoch have a voter in common, which promises only once. Each has a voter in common
//! with every majority of the epoch before, so a candidate learns of all that was acknowledged with one.
//!
//! # Changes
//!
//! One voter is added or removed at a time. A [`Roster`] with a change under way needs everything twice: from the voters
//! after the change and from those before. It may end this state once it is *in effect*: so many voters know of it that
//! those who do not can begin no epoch among themselves, and what was acknowledged before is where the new quorums find
//! it. The tests below try every set of voters, of acknowledgements and of knowledge, up to seven voters. A change may be
//! taken back at any time, because everything needed the voters before it, too.
//!
//! Promotion is turned on with any number of voters at once, and off for all of them: while it is off, no node but the
//! master has a say.
//!
//! The rule of two sets of voters at once is that of joint consensus (Ongaro and Ousterhout, 2014), for one voter.

use super::{CopyId, Epoch, Id};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Whether a voter may lead while the last master does not answer.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Promotion {
    /// None may: the master alone is a majority, and its promise is needed for every epoch. What it decides needs no
    /// other node, and nothing can be written while it is away.
    #[default]
    Off,
    /// Any may that gets a promise quorum.
    On,
}

/// A set of voters.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Voters {
    copies: BTreeSet<CopyId>,
    promotion: Promotion,
}

impl Voters {
    /// These copies.
    #[must_use]
    pub fn new(promotion: Promotion, copies: impl IntoIterator<Item = CopyId>) -> Voters {
        Voters { copies: copies.into_iter().collect(), promotion }
    }

    /// How many there are.
    #[must_use]
    pub fn number(&self) -> usize {
        self.copies.len()
    }

    /// Whether one of them may take the master's place.
    #[must_use]
    pub fn promotion(&self) -> Promotion {
        self.promotion
    }

    /// Whether a copy is one of them.
    #[must_use]
    pub fn contains(&self, copy: CopyId) -> bool {
        self.copies.contains(&copy)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = CopyId> {
        self.copies.iter().copied()
    }

    /// How many voters beside the master are a majority together with it.
    #[must_use]
    pub fn others_needed(&self) -> usize {
        match self.promotion {
            Promotion::Off => 0,
            Promotion::On => self.number() / 2,
        }
    }

    /// Whether a majority holds what the master holds.
    #[must_use]
    pub fn is_majority(&self, master: CopyId, holds: impl Fn(CopyId) -> bool) -> bool {
        self.count(|copy| copy != master && holds(copy)) >= self.others_needed()
    }

    /// Whether these promises let a candidate begin an epoch, if the epoch before had this master.
    #[must_use]
    pub fn is_promise_quorum(&self, last_master: CopyId, promised: impl Fn(CopyId) -> bool) -> bool {
        let has_master = promised(last_master);
        match self.promotion {
            Promotion::Off => has_master,
            Promotion::On if has_master => self.count(promised) > self.others_needed(),
            Promotion::On => self.count(promised) >= self.number().div_ceil(2),
        }
    }

    fn count(&self, is_counted: impl Fn(CopyId) -> bool) -> usize {
        self.iter().filter(|&copy| is_counted(copy)).count()
    }
}

/// The place of a roster in the order of all rosters of a log.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RosterNumber {
    /// The epoch whose master made it.
    pub epoch: Epoch,
    /// How many changes that master had made before.
    pub sequence: u64,
}

/// One change of the voters.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RosterChange {
    /// A copy that holds the log becomes a voter.
    Add(CopyId),
    /// A voter leaves.
    Remove(CopyId),
}

/// Where the node that holds a copy is. The protocol does not read it: it is for the owner, which has to call that node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Contact {
    /// The name of the node.
    pub name: Arc<str>,
    /// Its address.
    pub url: Arc<str>,
}

/// The voters of an epoch and its master, and the voters before a change that is under way.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Roster {
    number: RosterNumber,
    master: CopyId,
    voters: Voters,
    before: Option<Voters>,
    contacts: BTreeMap<CopyId, Contact>,
}

impl Roster {
    /// A roster without a change under way.
    #[must_use]
    pub fn new(number: RosterNumber, master: CopyId, voters: Voters) -> Roster {
        Roster { number, master, voters, before: None, contacts: BTreeMap::new() }
    }

    /// The roster of a master that cannot be replaced.
    #[must_use]
    pub fn fixed(master: CopyId, epoch: Epoch) -> Roster {
        let number = RosterNumber { epoch, sequence: 0 };
        Roster::new(number, master, Voters::new(Promotion::Off, [master]))
    }

    /// Its place in the order of rosters.
    #[must_use]
    pub fn number(&self) -> RosterNumber {
        self.number
    }

    /// The copy that leads in the epoch of its number.
    #[must_use]
    pub fn master(&self) -> CopyId {
        self.master
    }

    /// The voters, those who are being added among them.
    #[must_use]
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// The voters before a change that is under way.
    #[must_use]
    pub fn before(&self) -> Option<&Voters> {
        self.before.as_ref()
    }

    /// The same with a change under way that began with these voters.
    #[must_use]
    pub fn changing_from(self, before: Option<Voters>) -> Roster {
        Roster { before, ..self }
    }

    /// Where the nodes of the log are, those without a vote included.
    #[must_use]
    pub fn contacts(&self) -> &BTreeMap<CopyId, Contact> {
        &self.contacts
    }

    /// The same with other contacts.
    #[must_use]
    pub fn with_contacts(self, contacts: BTreeMap<CopyId, Contact>) -> Roster {
        Roster { contacts, ..self }
    }

    /// Whether a change is under way.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.before.is_some()
    }

    /// Whether a majority holds what the master holds, also of the voters before a change that is under way.
    #[must_use]
    pub fn is_majority(&self, holds: impl Fn(CopyId) -> bool) -> bool {
        self.sets().all(|voters| voters.is_majority(self.master, &holds))
    }

    /// The highest id that a majority holds with all before it, given the id up to which each voter beside the master
    /// does. [`Id::MAX`] if the master alone is a majority.
    #[must_use]
    pub fn majority_mark(&self, holds: impl Fn(CopyId) -> Id) -> Id {
        let marks = self.sets().flat_map(Voters::iter).map(&holds).chain([Id::MAX]);
        marks.filter(|&mark| self.is_majority(|copy| holds(copy) >= mark)).max().unwrap_or(Id::ZERO)
    }

    /// Whether another voter may lead while the master does not answer, or what is decided may soon depend on that.
    #[must_use]
    pub fn allows_promotion(&self) -> bool {
        self.sets().any(|voters| voters.promotion == Promotion::On)
    }

    /// Whether every voter holds something, also of those before a change that is under way.
    #[must_use]
    pub fn is_everyone(&self, holds: impl Fn(CopyId) -> bool) -> bool {
        self.sets().flat_map(Voters::iter).all(holds)
    }

    /// Whether these promises let a candidate begin the next epoch; see [`Voters::is_promise_quorum`].
    #[must_use]
    pub fn is_promise_quorum(&self, promised: impl Fn(CopyId) -> bool) -> bool {
        self.sets().all(|voters| voters.is_promise_quorum(self.master, &promised))
    }

    /// Whether a copy may lead: it is a voter, also before a change that is under way.
    #[must_use]
    pub fn may_lead(&self, copy: CopyId) -> bool {
        self.sets().all(|voters| voters.contains(copy))
    }

    /// Whether a copy is a voter, or was one before a change that is under way.
    #[must_use]
    pub fn is_voter(&self, copy: CopyId) -> bool {
        self.sets().any(|voters| voters.contains(copy))
    }

    /// Whether a copy of a voter counts as one: of a voter after a change that is under way, and before it. While promotion
    /// is off, every copy does.
    #[must_use]
    pub fn counts(&self, copy: CopyId) -> bool {
        self.sets().all(|voters| voters.promotion == Promotion::Off || voters.contains(copy))
    }

    /// The voters that a change which is under way adds.
    pub fn added(&self) -> impl Iterator<Item = CopyId> {
        let is_new = |copy: &CopyId| self.before.as_ref().is_some_and(|before| !before.contains(*copy));
        self.voters.iter().filter(is_new)
    }

    /// The voters that a change which is under way removes.
    pub fn removed(&self) -> impl Iterator<Item = CopyId> {
        self.before.iter().flat_map(Voters::iter).filter(|copy| !self.voters.contains(*copy))
    }

    /// The same in an epoch of another master.
    #[must_use]
    pub fn led_by(&self, master: CopyId, epoch: Epoch) -> Roster {
        Roster { number: RosterNumber { epoch, sequence: 0 }, master, ..self.clone() }
    }

    /// The same without the voters that are not kept, and without a change under way.
    #[must_use]
    pub fn reduced_to(&self, is_kept: impl Fn(CopyId) -> bool) -> Roster {
        let voters = Voters::new(self.voters.promotion, self.voters.iter().filter(|&copy| is_kept(copy)));
        Roster { voters, before: None, ..self.clone() }
    }

    fn sets(&self) -> impl Iterator<Item = &Voters> {
        [&self.voters].into_iter().chain(&self.before)
    }

    /// Begins to turn promotion on or off, with the voters from then on. `None` if another change is under way, or if this
    /// one changes nothing.
    #[must_use]
    pub fn turned(&self, voters: Voters) -> Option<Roster> {
        if voters.promotion == self.voters.promotion { None } else { self.began(voters) }
    }

    /// Begins a change of one voter. `None` if another one is under way, if this one changes nothing, or if the master
    /// would leave.
    #[must_use]
    pub fn changed(&self, change: RosterChange) -> Option<Roster> {
        let mut voters = self.voters.clone();
        let is_change = match change {
            RosterChange::Add(copy) => voters.copies.insert(copy),
            RosterChange::Remove(copy) => copy != self.master && voters.copies.remove(&copy),
        };
        if is_change { self.began(voters) } else { None }
    }

    fn began(&self, voters: Voters) -> Option<Roster> {
        let before = Some(self.voters.clone());
        (!self.is_changing()).then(|| Roster { voters, before, ..self.renumbered() })
    }

    /// The same as the next roster of this master.
    #[must_use]
    pub fn renumbered(&self) -> Roster {
        let number = RosterNumber { sequence: self.number.sequence + 1, ..self.number };
        Roster { number, ..self.clone() }
    }

    /// Whether a change that is under way may end. `knows` says which voters hold this roster durably, and `holds` which
    /// of them hold everything that was decided before the change and everything that the epoch began with, refusals
    /// included.
    ///
    /// - Half of the voters before, rounded down, know of it, without the master and without the voter who leaves. Of two
    ///   voters, the one who leaves knows of it.
    /// - Who was added knows of it, and holds the log.
    /// - Of those who remain, so many others hold the log that no later promise quorum lacks them all.
    /// - If the change turns promotion on, a majority knows of it and holds the log.
    #[must_use]
    pub fn is_in_effect(&self, knows: impl Fn(CopyId) -> bool, holds: impl Fn(CopyId) -> bool) -> bool {
        let Some(before) = &self.before else { return true };
        let master = self.master;
        let remains = |copy: CopyId| copy != master && self.voters.contains(copy);
        match (before.promotion, self.voters.promotion) {
            (Promotion::Off, Promotion::Off) => true,
            (Promotion::Off, Promotion::On) => self.voters.is_majority(master, |copy| knows(copy) && holds(copy)),
            (Promotion::On, Promotion::Off) => before.is_majority(master, knows),
            (Promotion::On, Promotion::On) => {
                let is_known = match before.number() {
                    2 if self.voters.number() == 1 => before.iter().all(|copy| copy == master || knows(copy)),
                    _ => before.count(|copy| remains(copy) && knows(copy)) >= before.others_needed(),
                };
                let added_is_ready = self.added().all(|copy| knows(copy) && holds(copy));
                let holders_needed = match self.voters.number() < before.number() {
                    true => before.number().saturating_sub(1) / 2,
                    false => 0,
                };
                let holders = self.voters.count(|copy| remains(copy) && holds(copy));
                is_known && added_is_ready && holders >= holders_needed
            }
        }
    }

    /// The roster after a change that is in effect.
    #[must_use]
    pub fn settled(&self) -> Roster {
        Roster { before: None, ..self.renumbered() }
    }

    /// The roster after a change that is taken back.
    #[must_use]
    pub fn reverted(&self) -> Roster {
        let voters = self.before.clone().unwrap_or_else(|| self.voters.clone());
        Roster { voters, ..self.settled() }
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |copy: CopyId| match self.contacts.get(&copy) {
            Some(contact) => contact.name.to_string(),
            None => format!("the holder of copy {copy}"),
        };
        let write = |formatter: &mut fmt::Formatter<'_>, voters: &Voters| match voters.promotion {
            Promotion::Off => formatter.write_str("the master alone decides, and no other node may take its place"),
            Promotion::On => {
                let mut names: Vec<String> = voters.iter().map(name).collect();
                names.sort_unstable();
                write!(formatter, "{} vote, and each of them may lead", names.join(", "))
            }
        };
        write(formatter, &self.voters)?;
        let Some(before) = &self.before else { return Ok(()) };
        formatter.write_str(" (as soon as enough nodes know it; before: ")?;
        write(formatter, before)?;
        formatter.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTERS_MAX: u64 = 7;
    const MASTER: u64 = 0;

    /// A set of copies, one bit for each.
    type Set = u64;

    fn copy(number: u64) -> CopyId {
        CopyId::new(number)
    }

    fn has(set: Set) -> impl Fn(CopyId) -> bool {
        move |copy| set >> copy.bits() & 1 == 1
    }

    fn voters(set: Set) -> Voters {
        Voters::new(Promotion::On, (0..64).filter(|number| set >> number & 1 == 1).map(copy))
    }

    fn subsets(of: Set) -> impl Iterator<Item = Set> {
        (0..=of).filter(move |set| set & !of == 0)
    }

    fn roster(set: Set) -> Roster {
        Roster::new(RosterNumber::default(), copy(MASTER), voters(set))
    }

    /// The sets that are promise quorums of a roster.
    fn quorums(roster: &Roster, among: Set) -> Vec<Set> {
        subsets(among).filter(|&set| roster.is_promise_quorum(has(set))).collect()
    }

    #[test]
    fn two_promise_quorums_meet_and_each_meets_every_majority() {
        for number in 1..=VOTERS_MAX {
            let all = (1 << number) - 1;
            let roster = roster(all);
            let quorums = quorums(&roster, all);
            assert!(quorums.contains(&all), "all of {number}");
            for &quorum in &quorums {
                assert!(quorums.iter().all(|other| quorum & other != 0), "{quorum:b} of {number} meets no other");
                let majorities = subsets(all).filter(|&set| roster.is_majority(has(set)));
                for majority in majorities {
                    assert!(quorum & (majority | 1 << MASTER) != 0, "{quorum:b} lacks {majority:b} of {number}");
                }
            }
        }
    }

    /// The bound for writes with fewer copies than a majority: with `w` copies, the master's included, of `n` voters of
    /// which the master and `p` others promise.
    #[test]
    fn a_write_for_fewer_copies_is_kept_if_enough_others_promise() {
        for number in 2..=VOTERS_MAX {
            let others = ((1 << number) - 1) & !(1 << MASTER);
            for (promising, copies) in (1..number).flat_map(|p| (1..=number).map(move |w| (p, w))) {
                let meets = |promised: Set, held: Set| promised & held != 0;
                let of_size = |size: u64| subsets(others).filter(move |set| u64::from(set.count_ones()) == size);
                let is_kept = of_size(promising).all(|promised| of_size(copies - 1).all(|held| meets(promised, held)));
                assert_eq!(is_kept, copies + promising > number, "{promising} promises, {copies} copies of {number}");
            }
        }
    }

    /// Rosters that follow each other, each a change of the one before; only the last change may be under way. Each copy
    /// knows the rosters up to one of them. Those that are in effect are known as settled, which asks for less.
    struct Chain<'a> {
        rosters: &'a [Roster],
        /// For each roster, the sets that are promise quorums of it.
        quorums: &'a [Vec<Set>],
        /// For each copy, the place of the newest roster that it knows. The master knows all.
        known: Vec<usize>,
    }

    impl Chain<'_> {
        fn knowing(&self, place: usize) -> Set {
            (0..).zip(&self.known).filter(|(_, known)| **known >= place).map(|(number, _)| 1 << number).sum()
        }

        /// Whether each change began when the one before was in effect.
        fn is_possible(&self) -> bool {
            let settled = 1..self.rosters.len() - 1;
            settled.into_iter().all(|place| self.rosters[place].is_in_effect(has(self.knowing(place)), |_| true))
        }

        /// The sets of copies that are promise quorums by the newest roster that one of them knows.
        fn quorums(&self) -> Vec<Set> {
            let knowing: Vec<Set> = (0..=self.rosters.len()).map(|place| self.knowing(place)).collect();
            let by = |place: usize| {
                let (knowing, knowing_later) = (knowing[place], knowing[place + 1]);
                let is_newest = move |set: &Set| set & knowing != 0 && set & knowing_later == 0;
                self.quorums[place].iter().copied().filter(is_newest)
            };
            (0..self.rosters.len()).flat_map(by).collect()
        }
    }

    /// All chains of two changes, with all that each copy may know.
    fn for_each_chain(mut visit: impl FnMut(&Chain<'_>)) {
        for number in 1..VOTERS_MAX {
            let first = roster((1 << number) - 1);
            let changes = |roster: &Roster, newcomer| {
                let voters: Vec<CopyId> = roster.voters().iter().filter(|voter| *voter != copy(MASTER)).collect();
                [RosterChange::Add(copy(newcomer))]
                    .into_iter()
                    .chain(voters.into_iter().rev().map(RosterChange::Remove))
            };
            // The voters beside the master are alike, so the first change adds one, or removes any.
            for change in changes(&first, number).take(2) {
                let second = first.changed(change).unwrap();
                for change in changes(&second.settled(), number + 1) {
                    let third = second.settled().changed(change).unwrap();
                    let copies = if third.voters().contains(copy(number + 1)) { number + 2 } else { number + 1 };
                    let judged = [first.clone(), second.settled(), third.clone()];
                    let quorums = judged.map(|roster| quorums(&roster, (1 << copies) - 1));
                    let rosters = [first.clone(), second.clone(), third];
                    for levels in 0..3_usize.pow(copies as u32 - 1) {
                        let others = (0..copies as u32 - 1).map(|place| levels / 3_usize.pow(place) % 3);
                        let known = [2].into_iter().chain(others).collect();
                        let chain = Chain { rosters: &rosters, quorums: &quorums, known };
                        if chain.is_possible() {
                            visit(&chain);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn over_two_changes_any_two_promise_quorums_meet() {
        let mut chains = 0;
        for_each_chain(|chain| {
            chains += 1;
            let quorums = chain.quorums();
            for (place, one) in quorums.iter().enumerate() {
                let apart = quorums[place..].iter().find(|other| one & **other == 0);
                assert_eq!(apart, None, "{one:b} where {:?} know {:?}", chain.known, chain.rosters);
            }
        });
        assert!(chains > 1_000, "{chains} chains");
    }

    /// After a change is in effect, no promise quorum lacks all copies of what was decided before: those of the master, and
    /// of as many others as the rule asks for. With one fewer some quorum does, so the rule asks for no more than it has to.
    #[test]
    fn what_was_decided_before_a_change_is_found_after_it() {
        for number in 2..=VOTERS_MAX {
            let all: Set = (1 << number) - 1;
            let leaver = number - 1;
            for change in [RosterChange::Remove(copy(leaver)), RosterChange::Add(copy(number))] {
                let changing = roster(all).changed(change).unwrap();
                let everyone = all | 1 << number;
                let quorums = quorums(&changing.settled(), everyone);
                for holders in subsets(everyone & !(1 << MASTER)) {
                    let is_in_effect = changing.is_in_effect(|_| true, has(holders));
                    // Before the change, what is decided is held by a majority.
                    let was_decided = roster(all).is_majority(has(holders));
                    let is_found = quorums.iter().all(|quorum| quorum & (holders | 1 << MASTER) != 0);
                    assert!(!(is_in_effect && was_decided) || is_found, "{holders:b} hold it, {change:?} of {number}");
                }
            }
        }
    }

    /// Who leaves may be the only one who was told, and take that along. Who comes must know that it is a voter.
    #[test]
    fn a_change_is_known_to_those_who_stay_and_to_who_comes() {
        let in_effect = |roster: &Roster, knowing: Set| roster.is_in_effect(has(knowing), |_| true);
        let removing = roster(0b111).changed(RosterChange::Remove(copy(2))).unwrap();
        assert!(!in_effect(&removing, 0b101), "only the one who leaves knows");
        assert!(in_effect(&removing, 0b011));
        let adding = roster(0b111).changed(RosterChange::Add(copy(3))).unwrap();
        assert!(!in_effect(&adding, 0b0111), "who is added does not know");
        assert!(!in_effect(&adding, 0b1001), "only who is added knows");
        assert!(in_effect(&adding, 0b1011));
        let last = roster(0b11).changed(RosterChange::Remove(copy(1))).unwrap();
        assert!(!in_effect(&last, 0b01), "the other of two voters could go on alone");
        assert!(in_effect(&last, 0b11));
    }

    /// Promotion is turned on, or off, in one change. Each copy knows the roster before, or the one after it. While the
    /// change is under way the master's disk has it, and once it is in effect so many others do.
    #[test]
    fn promotion_is_turned_on_and_off_without_two_quorums() {
        for number in 1..=VOTERS_MAX {
            let all: Set = (1 << number) - 1;
            let (on, off) = (roster(all), Roster::fixed(copy(MASTER), Epoch::NONE));
            for (before, wanted) in [(&off, on.voters()), (&on, off.voters())] {
                let changing = before.turned(wanted.clone()).unwrap();
                let [old, under_way, new] = [before, &changing, &changing.settled()].map(|roster| quorums(roster, all));
                for knowing in subsets(all).filter(|knowing| knowing & 1 << MASTER != 0) {
                    let unaware = old.iter().filter(|set| *set & knowing == 0);
                    let aware = |quorum: &&Set| **quorum & knowing != 0;
                    let is_in_effect = changing.is_in_effect(has(knowing), |_| true);
                    let later = if is_in_effect { &new } else { &under_way };
                    for one in unaware {
                        let apart = later.iter().filter(aware).find(|other| one & **other == 0);
                        assert_eq!(apart, None, "{one:b}, {knowing:b} of {number} know {changing:?}");
                    }
                }
                for holding in subsets(all & !(1 << MASTER)) {
                    let was_decided = before.is_majority(has(holding));
                    let is_in_effect = changing.is_in_effect(|_| true, has(holding));
                    let is_found = new.iter().all(|quorum| quorum & (holding | 1 << MASTER) != 0);
                    assert!(!(was_decided && is_in_effect) || is_found, "{holding:b} of {number}, {changing:?}");
                }
            }
        }
    }

    /// What was decided and promised while a change was under way holds without it.
    #[test]
    fn a_change_can_be_taken_back_at_any_time() {
        for number in 1..VOTERS_MAX {
            let all: Set = (1 << number) - 1;
            let off = Roster::fixed(copy(MASTER), Epoch::NONE);
            let changes = [
                roster(all).changed(RosterChange::Add(copy(number))),
                roster(all).changed(RosterChange::Remove(copy(number - 1))),
                roster(all).turned(off.voters().clone()),
                off.turned(roster(all).voters().clone()),
            ];
            for changing in changes.into_iter().flatten() {
                let reverted = changing.reverted();
                assert!(reverted.number() > changing.number() && !reverted.is_changing());
                for set in subsets(all | 1 << number) {
                    assert!(!changing.is_promise_quorum(has(set)) || reverted.is_promise_quorum(has(set)));
                    assert!(!changing.is_majority(has(set)) || reverted.is_majority(has(set)));
                }
            }
        }
    }

    #[test]
    fn one_change_at_a_time_and_the_master_stays() {
        let three = roster(0b111);
        for unchanged in [RosterChange::Add(copy(1)), RosterChange::Remove(copy(5)), RosterChange::Remove(copy(MASTER))]
        {
            assert_eq!(three.changed(unchanged), None, "{unchanged:?}");
        }
        let changing = three.changed(RosterChange::Add(copy(3))).unwrap();
        assert!(changing.is_changing() && changing.number() > three.number());
        assert_eq!(changing.changed(RosterChange::Remove(copy(1))), None);
        assert!(changing.is_voter(copy(3)) && !changing.may_lead(copy(3)));
        assert!(changing.settled().may_lead(copy(3)));
    }
}
