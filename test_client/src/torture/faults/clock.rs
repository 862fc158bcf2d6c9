//! Clocks that jump: libfaketime gives nodes of our own another time, which changes while they run.
//!
//! Only the clock that tells the time of day jumps. The one that measures how long something takes is never faked,
//! because that of no machine jumps.

use super::fault::{ActiveFault, FaultSource, between};
use crate::cluster::OwnCluster;
use crate::random::Random;
use std::fs;
use std::path::PathBuf;

/// Where packages put the library.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How far clocks jump, in seconds: less than a time-out, more, across days and years.
const JUMPS: [i64; 8] = [-86_400 * 400, -3_600, -30, -1, 1, 30, 3_600, 86_400 * 400];

/// The files that say how far the clock of each node is off.
pub(crate) struct Clocks {
    names: Vec<&'static str>,
    files: Vec<PathBuf>,
}

impl Clocks {
    /// Lets nodes that are not started yet look at such files.
    pub(crate) fn of(cluster: &mut OwnCluster) -> Result<Clocks, String> {
        let library = PLACES.into_iter().find(|place| PathBuf::from(place).exists());
        let Some(library) = library else {
            return Err("libfaketime is not installed (apt-get install faketime)".to_owned());
        };
        let mut files = Vec::new();
        for number in 0..cluster.nodes().len() {
            let home = cluster.home(number).ok_or("the nodes have no directory any more")?;
            let file = home.join("clock");
            let written = fs::create_dir_all(&home).and_then(|()| fs::write(&file, "+0\n"));
            written.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
            let settings = [
                ("LD_PRELOAD", library.to_owned()),
                ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ];
            settings.into_iter().for_each(|(variable, value)| cluster.set(number, variable, value));
            files.push(file);
        }
        Ok(Clocks { names: cluster.names(), files })
    }
}

impl FaultSource for Clocks {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let (node, jump) = (random.one_of(idle), random.one_of(&JUMPS));
        let file = self.files[node].clone();
        fs::write(&file, format!("{jump:+}\n")).map_err(|error| format!("{}: {error}", file.display()))?;
        let what = format!("the clock of {} jumped by {jump:+} s", self.names[node]);
        let undo = Box::new(move || {
            fs::write(&file, "+0\n").map_err(|error| format!("{}: {error}", file.display()))?;
            Ok(None)
        });
        Ok(ActiveFault { what, nodes: vec![node], lasts: between(random, 300, 3000), undo })
    }
}
