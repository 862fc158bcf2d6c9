//! `test_client trace`: the timeline of one write.

use crate::api::{Client, Trace, TracedReplica, WriteIds};
use crate::exit::Exit;
use crate::output::{Bar, DIM, STRONG, Terminal, visible};
use std::io;

/// Asks the master for the trace of a message.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, id: u64) -> io::Result<Exit> {
    match client.trace(id) {
        Ok(reply) => {
            show(terminal, &reply.value)?;
            terminal.document(&reply.body)?;
            Ok(Exit::Success)
        }
        Err(failure) => failure.report(terminal),
    }
}

fn show(terminal: &mut Terminal, trace: &Trace) -> io::Result<()> {
    let what = match trace.ids {
        WriteIds::One { message_id } => format!("message {message_id}"),
        WriteIds::Batch { message_ids } => format!("messages {} to {}", message_ids.first, message_ids.last),
    };
    terminal.line(format_args!(
        "{STRONG}{what}{STRONG:#}: {} after {} {DIM}({}, w={}){DIM:#}",
        visible(&trace.outcome),
        span(trace.ms),
        visible(&trace.timestamp),
        trace.w
    ))?;
    let ended = |replica: &TracedReplica| replica.acknowledged_ms.or(replica.stored_ms);
    let bars: Vec<Bar> = trace
        .replicas
        .iter()
        .filter_map(|replica| Some(Bar { label: visible(&replica.server_id), ms: ended(replica)?.round() as u64 }))
        .collect();
    terminal.bars(&bars)?;
    for replica in &trace.replicas {
        terminal.line(format_args!("  {}: {}", visible(&replica.server_id), describe(replica)))?;
    }
    Ok(())
}

fn describe(replica: &TracedReplica) -> String {
    let mut parts = Vec::new();
    let mut part = |what: &str, ms: Option<f64>| {
        if let Some(ms) = ms {
            parts.push(format!("{what} {}", span(ms)));
        }
    };
    part("on its own disk after", replica.stored_ms);
    part("sent after", replica.sent_ms);
    part("received", replica.received_ms);
    part("on disk", replica.durable_ms);
    part("artificial delay", replica.delay_ms);
    part("acknowledged", replica.acknowledged_ms);
    if replica.attempts.is_some_and(|attempts| attempts > 1) {
        parts.push(format!("{} attempts", replica.attempts.unwrap_or_default()));
    }
    match (&replica.detail, replica.acknowledged_ms.or(replica.stored_ms)) {
        (Some(detail), _) => parts.push(visible(detail)),
        (None, None) => parts.push(format!("{} so far", visible(&replica.state))),
        (None, Some(_)) => {}
    }
    parts.join(", ")
}

fn span(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}
