//! What `/metrics` shows, in the text format of Prometheus. Only this file uses the crate `prometheus`.
//!
//! Events are counted when they happen, in a [`MasterMetrics`] or a [`SecondaryMetrics`]. The current state goes into
//! [`Gauges`] at each request, from the status that `/health` shows.
//!
//! Names follow the conventions of Prometheus: a prefix, base units (seconds, bytes), `_total` for what only grows.

use crate::http::{self, Exchange, Reply};
use crate::node::status::NodeStatus;
use crate::process::text::version;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use rustix::fs::statvfs;
use std::fs;
use std::path::Path;
use std::time::Duration;

const PREFIX: &str = "replicated_log";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds in seconds, for what normally takes a millisecond and takes as long as a delay or a timeout at most.
const SECONDS: [f64; 17] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];
/// Bounds for the messages of a round.
const MESSAGES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 4_096.0];

/// How a write ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteOutcome {
    /// 201.
    Committed,
    /// 202.
    Short,
    /// It had an id, and was refused.
    Refused,
    /// It got no id: it was refused at once.
    Rejected,
    /// This master does not know.
    Unknown,
}

impl WriteOutcome {
    const ALL: [WriteOutcome; 5] = [
        WriteOutcome::Committed,
        WriteOutcome::Short,
        WriteOutcome::Refused,
        WriteOutcome::Rejected,
        WriteOutcome::Unknown,
    ];

    fn name(self) -> &'static str {
        match self {
            WriteOutcome::Committed => "committed",
            WriteOutcome::Short => "short",
            WriteOutcome::Refused => "refused",
            WriteOutcome::Rejected => "rejected",
            WriteOutcome::Unknown => "unknown",
        }
    }
}

/// What a master counts.
pub(crate) struct MasterMetrics {
    registry: Registry,
    writes: [IntCounter; WriteOutcome::ALL.len()],
    write_seconds: Histogram,
    ack_seconds: HistogramVec,
    append_seconds: Histogram,
    round_messages: Histogram,
}

impl MasterMetrics {
    pub(crate) fn new() -> MasterMetrics {
        let registry = Registry::new();
        let writes = counters(&registry, "writes_total", "Writes by outcome.", "outcome");
        MasterMetrics {
            writes: WriteOutcome::ALL.map(|outcome| writes.with_label_values(&[outcome.name()])),
            write_seconds: histogram(
                &registry,
                "write_duration_seconds",
                "Time from the acceptance of a write to its reply, for writes that had an id.",
                &SECONDS,
            ),
            ack_seconds: histograms(
                &registry,
                "replica_ack_duration_seconds",
                "Time from sending messages to a secondary to its acknowledgement.",
                "secondary",
            ),
            append_seconds: append_histogram(&registry),
            round_messages: histogram(&registry, "round_messages", "Messages that a round carries.", &MESSAGES),
            registry,
        }
    }

    pub(crate) fn write_ended(&self, outcome: WriteOutcome) {
        self.writes[outcome as usize].inc();
    }

    pub(crate) fn write_took(&self, time: Duration) {
        self.write_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn acknowledged(&self, secondary: &str, time: Duration) {
        self.ack_seconds.with_label_values(&[secondary]).observe(time.as_secs_f64());
    }

    /// Removes the figures of a secondary that was removed.
    pub(crate) fn forget(&self, secondary: &str) {
        // This fails for a secondary that never acknowledged anything.
        let _ = self.ack_seconds.remove_label_values(&[secondary]);
    }

    pub(crate) fn appended(&self, time: Duration) {
        self.append_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn round(&self, messages: usize) {
        self.round_messages.observe(messages as f64);
    }

    pub(crate) fn reply(&self, gauges: &Gauges) -> Reply {
        text(&self.registry, gauges)
    }
}

/// What a secondary counts.
pub(crate) struct SecondaryMetrics {
    registry: Registry,
    calls: IntCounter,
    call_seconds: Histogram,
    append_seconds: Histogram,
}

impl SecondaryMetrics {
    pub(crate) fn new() -> SecondaryMetrics {
        let registry = Registry::new();
        let calls = IntCounter::with_opts(named("calls_total", "Replicate calls received."));
        SecondaryMetrics {
            calls: registered(&registry, calls),
            call_seconds: histogram(
                &registry,
                "call_duration_seconds",
                "Time from the arrival of messages to their acknowledgement, the artificial delay included.",
                &SECONDS,
            ),
            append_seconds: append_histogram(&registry),
            registry,
        }
    }

    pub(crate) fn called(&self) {
        self.calls.inc();
    }

    pub(crate) fn answered(&self, time: Duration) {
        self.call_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn appended(&self, time: Duration) {
        self.append_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn reply(&self, gauges: &Gauges) -> Reply {
        text(&self.registry, gauges)
    }
}

/// The current state of a node.
pub(crate) struct Gauges(Registry);

impl Gauges {
    /// Whether the node leads.
    pub(crate) fn leads(&self, leads: bool) {
        self.set("leads", "Whether this node leads: it takes messages, as far as others let it.", flag(leads));
    }

    /// The gauges of every node, whichever its role.
    pub(crate) fn of_node(
        exchange: &Exchange,
        data_dir: Option<&Path>,
        status: &NodeStatus,
        followers: usize,
    ) -> Gauges {
        let gauges = Gauges(Registry::new());
        let labels = ["version", "role", "server_id"];
        let info = gauges.family("build_info", "Always 1. The labels name the program and its role.", &labels);
        info.with_label_values(&[version(), status.role, &status.server_id]).set(1.0);
        gauges.set("uptime_seconds", "Seconds since the start of the node.", status.uptime_s as f64);
        gauges.set("messages", "Messages that are visible.", status.message_count as f64);
        gauges.set("epoch", "The epoch of the master, as this node knows it.", status.epoch as f64);
        gauges.set("first_id", "The first id in the log: what was before is trimmed.", status.begins as f64);
        gauges.set("last_id", "The newest id in the log.", status.last as f64);
        gauges.set("decided_id", "The high watermark: every id up to this one is decided.", status.decided as f64);
        gauges.set("database_bytes", "Bytes of the database.", status.database_bytes as f64);
        gauges.set("database_free_bytes", "Bytes of the database that are free for reuse.", status.free_bytes as f64);
        gauges.set("pending", "Messages that are undecided.", status.pending as f64);
        gauges.set("followers", "Clients that follow the log, or wait for a message.", followers as f64);
        let http::Figures { connections, refused, unanswered } = exchange.figures();
        gauges.set("http_connections", "Open connections, approximately.", connections as f64);
        gauges.set("http_requests_unanswered", "Requests that are not answered yet.", unanswered as f64);
        let refusals = IntCounter::with_opts(named(
            "http_connections_refused_total",
            "Connections refused because there were too many.",
        ));
        registered(&gauges.0, refusals).inc_by(refused);
        let requests = counters(
            &gauges.0,
            "http_requests_refused_total",
            "Requests answered with an error, by the status of the reply.",
            "status",
        );
        let of_status = status.refused_requests.iter();
        of_status.for_each(|(status, count)| requests.with_label_values(&[status]).inc_by(*count));
        let budgets = || status.budgets.iter().map(|(name, figures)| (*name, figures));
        let bytes = budgets().map(|(name, figures)| (name, figures.bytes as f64));
        gauges.set_each("budget_bytes", "Memory that clients make this node use, by purpose.", "budget", bytes);
        let most = budgets().map(|(name, figures)| (name, figures.bytes_max as f64));
        gauges.set_each("budget_bytes_max", "The limit of that memory, by purpose.", "budget", most);
        let refused =
            counters(&gauges.0, "budget_refused_total", "Requests refused because that memory was used up.", "budget");
        budgets().for_each(|(name, figures)| refused.with_label_values(&[name]).inc_by(figures.refused));
        gauges.set(
            "store_warning",
            "Whether the store has a warning, which /health shows.",
            flag(status.warning.is_some()),
        );
        if let Some(data_dir) = data_dir {
            gauges.set("data_bytes", "Bytes of the files in the data directory.", file_bytes(data_dir) as f64);
            if let Ok(disk) = statvfs(data_dir) {
                let bytes = |blocks: u64| (blocks * disk.f_frsize) as f64;
                gauges.set(
                    "disk_free_bytes",
                    "Free space of the file system that holds the data.",
                    bytes(disk.f_bavail),
                );
                gauges.set("disk_size_bytes", "Size of the file system that holds the data.", bytes(disk.f_blocks));
            }
        }
        gauges
    }

    pub(crate) fn set(&self, name: &str, help: &str, value: f64) {
        registered(&self.0, Gauge::with_opts(named(name, help))).set(value);
    }

    /// A figure for each value of a label.
    pub(crate) fn set_each<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let family = self.family(name, help, &[label]);
        values.into_iter().for_each(|(of, value)| family.with_label_values(&[of]).set(value));
    }

    fn family(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        registered(&self.0, GaugeVec::new(named(name, help), labels))
    }
}

/// A truth value as a figure, 0 or 1.
pub(crate) fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn file_bytes(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

fn text(registry: &Registry, gauges: &Gauges) -> Reply {
    let families: Vec<MetricFamily> = gauges.0.gather().into_iter().chain(registry.gather()).collect();
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => Reply::text(TEXT, text),
        Err(error) => Reply::no_answer(500, &format!("the metrics cannot be written: {error}")),
    }
}

fn append_histogram(registry: &Registry) -> Histogram {
    histogram(registry, "append_duration_seconds", "Time to append messages to this node's log and sync it.", &SECONDS)
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), help)
}

fn bounded(name: &str, help: &str, bounds: &[f64]) -> HistogramOpts {
    HistogramOpts::from(named(name, help)).buckets(bounds.to_vec())
}

fn histogram(registry: &Registry, name: &str, help: &str, bounds: &[f64]) -> Histogram {
    registered(registry, Histogram::with_opts(bounded(name, help, bounds)))
}

fn histograms(registry: &Registry, name: &str, help: &str, label: &str) -> HistogramVec {
    registered(registry, HistogramVec::new(bounded(name, help, &SECONDS), &[label]))
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    registered(registry, IntCounterVec::new(named(name, help), &[label]))
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the names of metrics are constants, and valid");
    registry.register(Box::new(collector.clone())).expect("each name is used once");
    collector
}
