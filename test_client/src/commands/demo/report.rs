//! What the demonstration found, for the verdict and for scripts.

use crate::api::{Ack, Failure, Posted};
use crate::exit::Exit;
use serde::Serialize;
use serde_json::Value;

/// Everything that the demonstration saw.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether everything was seen and everything held.
    pub(crate) held: bool,
    /// The exit code.
    pub(crate) exit_code: u8,
    /// What must not be and was, in sentences.
    pub(crate) violations: Vec<String>,
    /// Why the demonstration ended early.
    pub(crate) stopped: Option<String>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
    /// Nodes that could not be read from here, so that nothing was learned about them.
    pub(crate) unread: Vec<String>,
    /// Whether the secondary that does not exist is still registered, which blocks every write.
    pub(crate) absent_still_registered: bool,
    /// The nodes at the beginning.
    pub(crate) nodes: Vec<Value>,
    /// Every message that was committed.
    pub(crate) writes: Vec<WriteReport>,
    /// Every comparison of a node's log with the master's.
    pub(crate) comparisons: Vec<Comparison>,
    /// The message that had to be refused.
    pub(crate) refused: Option<RefusedReport>,
}

impl Report {
    /// Settles the verdict. A violation outweighs whatever ended the demonstration.
    pub(crate) fn settle(&mut self, stopped: Option<(Exit, String)>) -> Exit {
        let (stop, sentence) = stopped.unzip();
        self.stopped = sentence;
        let exit = match stop {
            _ if !self.violations.is_empty() => Exit::Broken,
            Some(exit) => exit,
            None if !self.unread.is_empty() => Exit::Unreachable,
            None => Exit::Success,
        };
        self.exit_code = exit.code();
        self.held = exit == Exit::Success;
        exit
    }
}

/// A message that was committed.
#[derive(Debug, Serialize)]
pub(crate) struct WriteReport {
    pub(crate) message: String,
    pub(crate) message_id: u64,
    /// How long the answer took, measured here.
    pub(crate) waited_ms: u64,
    pub(crate) acks: Vec<Ack>,
}

impl WriteReport {
    pub(crate) fn new(message: &str, posted: &Posted, waited_ms: u64) -> WriteReport {
        let acks = posted.copies.acks.clone();
        WriteReport { message: message.to_owned(), message_id: posted.message_id, waited_ms, acks }
    }

    /// The acknowledgement that was waited for longest.
    pub(crate) fn slowest(&self) -> Option<&Ack> {
        self.acks.iter().max_by_key(|ack| ack.ms)
    }
}

/// A node's log beside the master's.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) server_id: String,
    /// The last id that was compared.
    pub(crate) through: u64,
    /// How many messages the node shows up to there.
    pub(crate) messages: usize,
    /// The first difference, if there is one.
    pub(crate) difference: Option<String>,
}

/// The message that had to be refused.
#[derive(Debug, Serialize)]
pub(crate) struct RefusedReport {
    pub(crate) message: String,
    pub(crate) waited_ms: u64,
    #[serde(flatten)]
    pub(crate) failure: Failure,
}
