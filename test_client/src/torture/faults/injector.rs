//! Lets faults happen: one after another, sometimes two at a time at different nodes, and all ended in the end.

use super::fault::{ActiveFault, Class, Sources, Undo, between};
use crate::history::{Fault, Line, Micros, Recorder};
use crate::output::count;
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pause between two faults, in milliseconds: sometimes the cluster comes back before the next fault, sometimes it does
/// not.
const PAUSE_MS: (u64, u64) = (50, 900);

/// The faults of a run.
pub(crate) struct Injector {
    sources: Sources,
    nodes: usize,
    recorder: Arc<Recorder>,
    open: Mutex<Vec<Open>>,
    /// No fault begins any more.
    ended: AtomicBool,
    /// Why a node is not as it was before.
    damage: Mutex<Option<String>>,
    /// Faults that could not be begun, and why the last of each class could not.
    missed: Mutex<BTreeMap<Class, (u64, String)>>,
}

/// A fault that was begun.
struct Open {
    class: Class,
    what: String,
    nodes: Vec<usize>,
    begin: Micros,
    until: Instant,
    undo: Undo,
}

impl Injector {
    pub(crate) fn new(sources: Sources, nodes: usize, recorder: Arc<Recorder>) -> Injector {
        Injector {
            sources,
            nodes,
            recorder,
            open: Mutex::default(),
            ended: AtomicBool::new(false),
            damage: Mutex::default(),
            missed: Mutex::default(),
        }
    }

    /// Makes faults until [`Injector::end`].
    pub(crate) fn run(&self, mut random: Random) {
        let mut next = Instant::now();
        while !self.ended.load(Ordering::SeqCst) && !self.sources.is_empty() {
            self.end_those(|open| open.until <= Instant::now());
            if Instant::now() >= next {
                // Now and then a second one begins beside the first.
                let beside = usize::from(random.one_in(3));
                if lock(&self.open).len() <= beside {
                    self.begin(&mut random);
                }
                next = Instant::now() + between(&mut random, PAUSE_MS.0, PAUSE_MS.1);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The faults that are open now, for the line of progress.
    pub(crate) fn now(&self) -> String {
        // Undoing a fault can take seconds; the line of progress does not wait for it.
        let Ok(open) = self.open.try_lock() else { return "…".to_owned() };
        let faults: Vec<&str> = open.iter().map(|open| &*open.what).collect();
        faults.join("; ")
    }

    /// Ends all faults, and lets no other begin.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.end_those(|_| true);
    }

    /// Why a node could not be brought back, if one could not.
    pub(crate) fn damage(&self) -> Option<String> {
        lock(&self.damage).clone()
    }

    /// What could not be done, in sentences.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = lock(&self.missed);
        let sentence = |(class, (number, why)): (&Class, &(u64, String))| {
            let faults = count(*number, "fault", "faults");
            format!("{faults} of class {} could not be made; the last time because {why}", class.word())
        };
        missed.iter().map(sentence).collect()
    }

    fn begin(&self, random: &mut Random) {
        let mut open = lock(&self.open);
        let idle: Vec<usize> =
            (0..self.nodes).filter(|node| !open.iter().any(|open| open.nodes.contains(node))).collect();
        if idle.is_empty() || self.ended.load(Ordering::SeqCst) {
            return;
        }
        let (class, source) = &self.sources[random.index(self.sources.len())];
        let (class, begin) = (*class, self.recorder.now());
        match source.begin(&idle, random) {
            Ok(ActiveFault { what, nodes, lasts, undo }) => {
                open.push(Open { class, what, nodes, begin, until: Instant::now() + lasts, undo });
            }
            Err(why) => {
                let mut missed = lock(&self.missed);
                let (number, last) = missed.entry(class).or_default();
                *number += 1;
                *last = why;
            }
        }
    }

    fn end_those(&self, which: impl Fn(&Open) -> bool) {
        let mut open = lock(&self.open);
        while let Some(index) = open.iter().position(&which) {
            let Open { class, what, nodes, begin, undo, .. } = open.remove(index);
            let hits = undo().unwrap_or_else(|why| {
                lock(&self.damage).get_or_insert(why);
                None
            });
            let (class, end) = (class.word(), self.recorder.now());
            self.recorder.note(&Line::Fault(Fault { class, what, nodes, begin, end, hits }));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::fault::FaultSource;
    use super::*;
    use crate::history::{Header, read};
    use tempfile::NamedTempFile;

    /// Makes faults that say which node they are at, as long as they last. Some cannot be begun, or not be ended.
    struct FakeSource {
        at: Arc<Mutex<Vec<usize>>>,
        class: Class,
        fails: bool,
    }

    impl FaultSource for FakeSource {
        fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
            let node = random.one_of(idle);
            if self.class == Class::Disk {
                return Err("there is no disk".to_owned());
            }
            assert!(!lock(&self.at).contains(&node), "two faults at one node");
            lock(&self.at).push(node);
            let (at, fails) = (Arc::clone(&self.at), self.fails);
            let undo = Box::new(move || {
                lock(&at).retain(|other| *other != node);
                if fails { Err("it does not start".to_owned()) } else { Ok(Some(1)) }
            });
            let what = "fake".to_owned();
            Ok(ActiveFault { what, nodes: vec![node], lasts: Duration::from_millis(random.below(400)), undo })
        }
    }

    fn play(classes: &[Class], fails: bool) -> (Injector, NamedTempFile, Arc<Mutex<Vec<usize>>>) {
        let file = NamedTempFile::new().unwrap();
        let header = Header::sample(1, &["a", "b", "c"]);
        let recorder = Arc::new(Recorder::create(file.path(), header).unwrap());
        let at = Arc::new(Mutex::new(Vec::new()));
        let source = |class: &Class| -> (Class, Box<dyn FaultSource>) {
            (*class, Box::new(FakeSource { at: Arc::clone(&at), class: *class, fails }))
        };
        let injector = Injector::new(classes.iter().map(source).collect(), 3, Arc::clone(&recorder));
        thread::scope(|scope| {
            scope.spawn(|| injector.run(Random::new(3)));
            thread::sleep(Duration::from_secs(2));
            injector.end();
        });
        recorder.end(Some("there is no cluster".to_owned())).unwrap();
        (injector, file, at)
    }

    #[test]
    fn faults_are_at_different_nodes_and_all_of_them_end() {
        let (injector, file, at) = play(&[Class::Kill, Class::Pause], false);
        assert!(lock(&at).is_empty() && injector.now().is_empty());
        assert_eq!((injector.damage(), injector.missed()), (None, Vec::new()));
        let history = read(file.path()).unwrap();
        assert!(!history.faults.is_empty() && history.faults.iter().all(|(_, fault)| fault.hits == Some(1)));
    }

    #[test]
    fn what_cannot_begin_or_end_is_reported() {
        let (injector, ..) = play(&[Class::Disk], false);
        assert!(injector.missed()[0].contains("of class disk could not be made"), "{:?}", injector.missed());
        let (injector, ..) = play(&[Class::Kill], true);
        assert_eq!(injector.damage().as_deref(), Some("it does not start"));
    }
}
