//! The options of a run.

use super::faults::{Class, word};
use crate::api::SECONDS_MAX;
use crate::numbers::number_within;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::str::FromStr;

/// More clients than this would slow the run down without testing more.
const CLIENTS_MAX: u64 = 256;

/// Writes a second. A log that grows faster cannot be read as a whole in the end.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 10_000.0;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Which cluster: `own` starts a master and two secondaries in a directory that goes away; `compose` takes the
    /// docker compose project of this directory; `given` one that runs, at --master
    #[arg(long, value_name = "WHICH", default_value = "own", value_enum)]
    pub(super) cluster: Which,

    /// Faults to make: none, all, or classes separated by commas. Own nodes: kill, pause, network, disk (needs strace),
    /// clock (needs libfaketime), members (secondaries are removed and come back), api (what PUT /faults asks nodes
    /// for); and by name only, failover: any node may lead (PROMOTION=on), and they take the lead from each other.
    /// Compose: kill, pause, network, restart, and api. Given: api. Nodes that are not own ones show the faults
    /// of class api only if they were started with ENABLE_FAULTS=1
    #[arg(long, value_name = "CLASSES", default_value = "all")]
    pub(super) faults: Wanted,

    /// How long to write, read and make faults, at most 3600. After that, the cluster has to come back, and is read
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub(super) seconds: u64,

    /// Clients that write
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub(super) writers: u64,

    /// Clients that read, at each node. One more follows its log
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub(super) readers: u64,

    /// Writes a second of all writers together, at most, so that the log stays small enough to read it as a whole
    #[arg(long, value_name = "WRITES", default_value_t = 100.0, value_parser = parse_rate)]
    pub(super) rate: f64,

    /// Repeats the choices of a run: what is written, read and broken. The timing differs in each run
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<u64>,

    /// How long the cluster may take to come back when all faults have ended; longer is a broken promise
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub(super) back_within: u64,

    /// Keep the history in this file, to be judged again by `check`. Without it, it is kept if a promise was broken
    #[arg(long, value_name = "FILE")]
    pub(super) history: Option<PathBuf>,

    /// Draw the run into this file, as SVG: faults, writes, latency, violations
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,

    /// First of three ports that own nodes listen on [default: free ones]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_533))]
    pub(super) port: Option<u16>,

    /// Compose: the file [default: the one that docker finds]
    #[arg(long, value_name = "FILE")]
    pub(super) compose_file: Option<PathBuf>,

    /// Compose: the name of the project [default: that of the directory]
    #[arg(long, value_name = "NAME")]
    pub(super) project: Option<String>,
}

impl Options {
    /// Checks combinations of options. The error is a sentence.
    pub(super) fn check(&self, has_master: bool) -> Result<(), &'static str> {
        if self.cluster == Which::Own && has_master {
            return Err("--cluster own starts its own master; with --master (or MASTER_URL), say --cluster given");
        }
        if self.cluster != Which::Own && self.port.is_some() {
            return Err("--port is for --cluster own");
        }
        if self.cluster != Which::Compose && (self.compose_file.is_some() || self.project.is_some()) {
            return Err("--compose-file and --project are for --cluster compose");
        }
        Ok(())
    }

    /// For the header of the history.
    pub(super) fn document(&self, classes: &[String]) -> Value {
        json!({
            "cluster": word(&self.cluster), "faults": classes,
            "seconds": self.seconds, "writers": self.writers, "readers": self.readers, "rate": self.rate,
        })
    }
}

/// Which cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Which {
    Own,
    Compose,
    Given,
}

/// Which classes of faults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// Whatever can be made.
    All,
    /// These; it is an error if one cannot be made.
    These(Vec<Class>),
}

impl Wanted {
    /// Whether a class is asked for by its name.
    pub(super) fn names(&self, class: Class) -> bool {
        matches!(self, Wanted::These(classes) if classes.contains(&class))
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        match text {
            "all" => Ok(Wanted::All),
            "none" => Ok(Wanted::These(Vec::new())),
            list => list.split(',').map(|word| parse_class(word.trim())).collect::<Result<_, _>>().map(Wanted::These),
        }
    }
}

fn parse_class(text: &str) -> Result<Class, String> {
    Class::from_str(text, false).map_err(|_| {
        let words: Vec<String> = Class::value_variants().iter().map(|class| class.word()).collect();
        format!("{text} is no class of faults; they are {}; or all, or none", words.join(", "))
    })
}

fn parse_rate(text: &str) -> Result<f64, String> {
    number_within(text, RATE_MIN..=RATE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Typed::try_parse_from([&["torture"], arguments].concat()).map(|typed| typed.options)
    }

    #[test]
    fn what_is_typed_is_understood() {
        assert_eq!(options(&[]).unwrap().faults, Wanted::All);
        assert_eq!(options(&["--faults", "none"]).unwrap().faults, Wanted::These(Vec::new()));
        let classes = Wanted::These(vec![Class::Kill, Class::Api]);
        assert_eq!(options(&["--faults", "kill, api"]).unwrap().faults, classes);
        assert!(options(&["--faults", "earthquake"]).unwrap_err().to_string().contains("kill, pause, network"));
        assert!(options(&["--cluster", "mine"]).is_err() && options(&["--rate", "0"]).is_err());
    }
}
