//! The bytes of a client, sent to a master without secondaries in this process, so that the fuzzer sees what they
//! cover.
//!
//! Left out are the known bugs of the HTTP library (see `src/http/mod.rs`): for request lines of `HTTP/2` and `HTTP/3`,
//! and for declared bodies of more than 64 MiB, it leaks a thread and two descriptors. It answers an expectation that
//! it does not know before, or amid, the replies to earlier requests.
//!
//! With too few processors, one connection of some ten thousand does not end in time, mostly where `GET /metrics`
//! counts the connections of a system that has just ended tens of thousands of them. The target prints and tolerates a
//! few ([`ENDLESS_EVERY`]), so that they do not hide other findings.

use replicated_log::cli::run;
use replicated_log::cli::settings::MasterFlags;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The timeout for what normally takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest pause in a reply that may go on for ever.
const STREAM_TIMEOUT: Duration = Duration::from_millis(50);
/// Threads and descriptors of a node that serves one client at a time. Connections that end overlap a little.
const THREADS_MAX: usize = 500;
const DESCRIPTORS_MAX: usize = 500;
const CENSUS_EVERY: u64 = 200;
/// One connection of so many may go on for longer than the timeout of its client.
const ENDLESS_EVERY: u64 = 2_000;

struct Node {
    address: SocketAddr,
    executions: AtomicU64,
    /// Connections that did not end.
    endless: AtomicU64,
}

static NODE: LazyLock<Node> = LazyLock::new(Node::start);

/// Sends the bytes, closes its side, and reads the replies.
pub fn check(bytes: &[u8]) {
    if is_known_hole(bytes) {
        return;
    }
    let node = &*NODE;
    let before = node.visible();
    let (answer, is_whole) = node.throw(bytes);
    let replies = Replies { rest: &answer, is_whole, heads_only: contains(bytes, "HEAD") }.read();
    let promised: u64 = replies.iter().map(Reply::written).sum();
    let appended = node.visible() - before;
    assert!(appended <= promised, "{appended} messages were appended, and {promised} acknowledged");
    if node.executions.fetch_add(1, Ordering::Relaxed).is_multiple_of(CENSUS_EVERY) {
        check_census();
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// The bytes that follow each place of a word.
fn words<'a>(bytes: &'a [u8], word: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let places = (0..bytes.len()).filter(move |&at| contains(&bytes[at..bytes.len().min(at + word.len())], word));
    places.map(move |at| &bytes[at + word.len()..])
}

fn is_known_hole(bytes: &[u8]) -> bool {
    const DIGITS_OF_64_MIB: usize = 8;
    let is_vast = bytes.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() >= DIGITS_OF_64_MIB);
    // A post behind a read that waits for messages gets no reply within this client's timeout.
    let posts_behind = may_stream(bytes) && contains(bytes, "POST");
    let expectations = words(bytes, "Expect:").map(<[u8]>::trim_ascii_start);
    let mut expects_other = expectations.map(|rest| !contains(&rest[..rest.len().min(14)], "100-continue\r\n"));
    expects_other.any(|other| other)
        || contains(bytes, "HTTP/2")
        || contains(bytes, "HTTP/3")
        || is_vast
        || posts_behind
}

/// Whether a reply may go on until the client leaves.
fn may_stream(bytes: &[u8]) -> bool {
    ["wait", "follow", "live", "event-stream"].iter().any(|word| contains(bytes, word))
}

fn check_census() {
    let count = |directory| fs::read_dir(directory).map_or(0, Iterator::count);
    let (threads, descriptors) = (count("/proc/self/task"), count("/proc/self/fd"));
    assert!(threads <= THREADS_MAX, "{threads} threads are left");
    assert!(descriptors <= DESCRIPTORS_MAX, "{descriptors} descriptors are left");
}

impl Node {
    fn start() -> Node {
        let directory = tempfile::tempdir().expect("a directory");
        let token = directory.path().join("token");
        fs::write(&token, "a-token-that-no-input-guesses-7e6d1f0c95").expect("a file");
        // Another process may take the port in between: then the next one is tried.
        for _ in 0..16 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().unwrap();
            let flags = [
                "master",
                "--server-id=fuzzed",
                "--data-dir=memory",
                "--log-level=error",
                "--idle-timeout=1",
                "--body-timeout=1",
                &format!("--port={}", free.port()),
                &format!("--cluster-token-file={}", token.display()),
                &format!("--log-dir={}", directory.path().display()),
            ];
            let flags: MasterFlags = clap::Parser::try_parse_from(flags).expect("a command line");
            let running = thread::spawn(move || run::master(&flags));
            let node = Node { address: free, executions: AtomicU64::new(0), endless: AtomicU64::new(0) };
            while !running.is_finished() {
                if node.try_ask("GET /livez").is_some() {
                    return node;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("the node does not start");
    }

    /// A connection from an address of its own: the node rejects a port right after ending a connection from it.
    fn connect(&self) -> std::io::Result<TcpStream> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let [.., third, fourth] = CONNECTIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 1, third, fourth.max(1)], 0)).into())?;
        socket.connect_timeout(&self.address.into(), TIMEOUT)?;
        Ok(socket.into())
    }

    /// What the node sends, and whether that is complete.
    fn throw(&self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut connection = self.connect().expect("the node accepts");
        let timeout = if may_stream(bytes) { STREAM_TIMEOUT } else { TIMEOUT };
        connection.set_read_timeout(Some(timeout)).unwrap();
        // A node may have answered and closed the connection already.
        let _ = connection.write_all(bytes);
        let _ = connection.shutdown(Shutdown::Write);
        let (mut answer, began) = (Vec::new(), Instant::now());
        let mut buffer = [0; 64 << 10];
        loop {
            match connection.read(&mut buffer) {
                Ok(0) => return (answer, true),
                Ok(_) if began.elapsed() > TIMEOUT => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return (answer, false),
                Err(_) => break,
            }
        }
        if !may_stream(bytes) {
            let endless = self.endless.fetch_add(1, Ordering::Relaxed) + 1;
            let borne = 2 + self.executions.load(Ordering::Relaxed) / ENDLESS_EVERY;
            let (sent, answered) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&answer));
            eprintln!("connection {endless} without an end: {sent:?} was answered with {answered:?}");
            assert!(endless <= borne, "{endless} connections did not end within {TIMEOUT:?}");
        }
        (answer, false)
    }

    fn try_ask(&self, request: &str) -> Option<Value> {
        let mut connection = self.connect().ok()?;
        connection.set_read_timeout(Some(TIMEOUT)).ok()?;
        write!(connection, "{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).ok()?;
        let reply = Replies { rest: &answer, is_whole: true, heads_only: false }.read().pop()?;
        (reply.status == 200).then_some(reply.json)?
    }

    /// The number of messages that the node shows. It must answer this after any input.
    fn visible(&self) -> u64 {
        let health = self.try_ask("GET /health").expect("the node answers");
        health["message_count"].as_u64().unwrap_or_else(|| panic!("no number of messages in {health}"))
    }
}

struct Reply {
    status: u16,
    json: Option<Value>,
}

impl Reply {
    /// The most messages that the replies acknowledge.
    fn written(&self) -> u64 {
        match &self.json {
            Some(json) if (200..300).contains(&self.status) => json["count"].as_u64().unwrap_or(1),
            _ => 0,
        }
    }
}

/// Replies one after another, as a strict client reads them.
struct Replies<'a> {
    rest: &'a [u8],
    /// Whether the node ended the connection: then the last reply is whole, too.
    is_whole: bool,
    /// Whether a reply may lack the body that it declares.
    heads_only: bool,
}

impl Replies<'_> {
    fn read(mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while !self.rest.is_empty() {
            match self.next() {
                Some(reply) if (100..200).contains(&reply.status) => {}
                Some(reply) => replies.push(reply),
                None => {
                    assert!(!self.is_whole, "a reply was cut off: {}", String::from_utf8_lossy(self.rest));
                    break;
                }
            }
        }
        replies
    }

    /// The next reply, or `None` if it is incomplete.
    fn next(&mut self) -> Option<Reply> {
        let length = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.rest[..length]).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status = status_of(lines.next().unwrap_or_default());
        let headers: Vec<(String, &str)> = lines.map(header_of).collect();
        let header = |name| headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let is_json = header("content-type").is_some_and(|value| value.starts_with("application/json"));
        let declared = header("content-length").map(|value| value.parse::<usize>().expect("a length is a number"));
        let is_chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        self.rest = &self.rest[length + 4..];
        if (100..200).contains(&status) || [204, 304].contains(&status) {
            return Some(Reply { status, json: None });
        }
        if self.heads_only && (self.rest.is_empty() || self.rest.starts_with(b"HTTP/1.")) {
            return Some(Reply { status, json: None });
        }
        let body = match declared {
            Some(length) => self.take(length)?.to_vec(),
            None if is_chunked => self.chunks()?,
            None => std::mem::take(&mut self.rest).to_vec(),
        };
        let parse = || serde_json::from_slice(&body);
        let json = is_json.then(|| parse().unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&body))));
        if let Some(Value::Object(fields)) = &json
            && status >= 400
        {
            assert!(
                fields.contains_key("error") || fields.contains_key("status"),
                "{status} without a reason: {json:?}"
            );
        }
        Some(Reply { status, json })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = self.rest.windows(2).position(|bytes| bytes == b"\r\n")?;
            let size = std::str::from_utf8(self.take(length)?).expect("a size is ASCII").to_owned();
            let size = usize::from_str_radix(&size, 16).expect("a size is hexadecimal");
            self.take(2)?;
            body.extend_from_slice(self.take(size)?);
            assert_eq!(self.take(2)?, b"\r\n", "a chunk ends where it should");
            if size == 0 {
                return Some(body);
            }
        }
    }
}

fn status_of(line: &str) -> u16 {
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "));
    let digits = status.and_then(|status| status.get(..3));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{line:?} is not a status line"))
}

fn header_of(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is not a header"));
    (name.to_ascii_lowercase(), value.trim())
}
