//! What the shape of this log costs by itself: the second lower bound of `benches/compare`.
//!
//! Three nodes behind `tiny_http`; the master calls with `ureq`, in a crossbeam scope with one thread per secondary and
//! round, and stores its own copy meanwhile; everything travels as JSON, and each node keeps a plain file and syncs it
//! once a round. Messages that arrive meanwhile share the next round. Everything else is left out: decisions, restarts,
//! errors, checks of requests, readers. It is not a log to use: what this log needs beyond it is its own doing.
//!
//! ```text
//! shape_twin secondary PORT FILE
//! shape_twin master PORT FILE SECONDARY:PORT...
//! ```

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a program made of sockets, files and threads")]

use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tiny_http::{Request, Server};

/// The reply to a request without a body: load programs ask for the health first.
const HEALTHY: &str = r#"{"status":"healthy","role":"master","server_id":"shape-twin"}"#;
/// Messages of one round, as in ours.
const ROUND_MESSAGES_MAX: usize = 4_096;
/// What a file is allocated by at a time.
const ALLOCATED_BYTES: u64 = 64 << 20;
/// How often a node connects to itself.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Threads that take requests.
const ACCEPTING_THREADS: usize = 2;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["secondary", port, file] => {
            let log = Mutex::new(Log::open(file)?);
            serve(port, move |request| replicate(request, &log))
        }
        ["master", port, file, ref secondaries @ ..] => {
            let urls: Vec<String> = secondaries.iter().map(|address| format!("http://{address}/replicate")).collect();
            let (log, queue) = (Log::open(file)?, Arc::new(Queue::default()));
            let rounds = Arc::clone(&queue);
            thread::spawn(move || run_rounds(log, &urls, &rounds).expect("a round does not fail"));
            serve(port, move |request| post(request, &queue))
        }
        _ => Err(io::Error::other("shape_twin secondary PORT FILE, or shape_twin master PORT FILE SECONDARY:PORT...")),
    }
}

/// Accepts requests on a pool of threads. The library's own pool leaves a connection waiting for ever if several come at
/// once; the thread of another connection takes it along when that ends.
fn serve(port: &str, handle: impl Fn(Request) -> io::Result<()> + Send + Sync) -> io::Result<()> {
    let server = Server::http(("127.0.0.1", port.parse().map_err(io::Error::other)?)).map_err(io::Error::other)?;
    let address = server.server_addr().to_ip().expect("it listens on TCP");
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                drop(TcpStream::connect(address));
                thread::sleep(PROBE_EVERY);
            }
        });
        for _ in 0..ACCEPTING_THREADS {
            scope.spawn(|| {
                loop {
                    let request = server.recv().expect("the listener lasts");
                    if request.body_length().is_none_or(|length| length == 0) {
                        answer(request, "200 OK", HEALTHY).expect("the client waits");
                    } else {
                        handle(request).expect("a request of the load can be served");
                    }
                }
            });
        }
    });
    Ok(())
}

/// Answers in one piece: two would wait for each other.
fn answer(request: Request, status: &str, body: &str) -> io::Result<()> {
    let mut writer = request.into_writer();
    write!(
        writer,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}\n",
        body.len() + 1
    )?;
    writer.flush()
}

/// A file that is written once from its beginning to its end, and allocated in advance, as the write-ahead log of ours.
struct Log {
    file: File,
    written: u64,
    allocated: u64,
}

impl Log {
    fn open(path: &str) -> io::Result<Log> {
        Ok(Log { file: File::create(path)?, written: 0, allocated: 0 })
    }

    /// Appends a round, durable when this returns.
    fn append(&mut self, round: &[u8]) -> io::Result<()> {
        let end = self.written + round.len() as u64;
        while self.allocated < end {
            fallocate(&self.file, FallocateFlags::empty(), self.allocated, ALLOCATED_BYTES)?;
            self.allocated += ALLOCATED_BYTES;
        }
        self.file.write_all_at(round, self.written)?;
        self.written = end;
        self.file.sync_data()
    }
}

#[derive(Deserialize)]
struct Posted {
    message: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    id: u64,
    timestamp: u64,
    message: String,
}

fn post(mut request: Request, queue: &Queue) -> io::Result<()> {
    let Posted { message } = serde_json::from_reader(request.as_reader())?;
    let mut waiting = queue.waiting.lock().expect("no thread panics with it");
    waiting.push((message, request));
    if waiting.len() == 1 {
        queue.filled.notify_one();
    }
    Ok(())
}

fn replicate(mut request: Request, log: &Mutex<Log>) -> io::Result<()> {
    let entries: Vec<Entry> = serde_json::from_reader(request.as_reader())?;
    log.lock().expect("no thread panics with it").append(&lines(&entries)?)?;
    let last = entries.last().map_or(0, |entry| entry.id);
    answer(request, "200 OK", &format!(r#"{{"last":{last}}}"#))
}

fn lines(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Messages that wait for a round, with the requests of their clients.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<(String, Request)>>,
    filled: Condvar,
}

impl Queue {
    fn take(&self) -> (Vec<String>, Vec<Request>) {
        let mut waiting = self.waiting.lock().expect("no thread panics with it");
        while waiting.is_empty() {
            waiting = self.filled.wait(waiting).expect("no thread panics with it");
        }
        let taken = waiting.len().min(ROUND_MESSAGES_MAX);
        waiting.drain(..taken).unzip()
    }
}

/// The call of a round, handed to the threads that wait to make it.
#[derive(Default)]
struct Handover {
    call: Mutex<Option<Arc<Vec<u8>>>>,
    given: Condvar,
}

impl Handover {
    fn give(&self, call: Vec<u8>) {
        *self.call.lock().expect("no thread panics with it") = Some(Arc::new(call));
        self.given.notify_all();
    }

    fn take(&self) -> Arc<Vec<u8>> {
        let call = self.call.lock().expect("no thread panics with it");
        let call = self.given.wait_while(call, |call| call.is_none()).expect("no thread panics with it");
        Arc::clone(call.as_ref().expect("it waited for it"))
    }
}

/// Sends each round to all secondaries, makes it durable here meanwhile, and replies when all have it. The threads of a
/// round start before there is something to carry.
fn run_rounds(mut log: Log, urls: &[String], queue: &Queue) -> io::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let mut id: u64 = 0;
    loop {
        let handover = Handover::default();
        let (clients, timestamp) = crossbeam::thread::scope(|scope| {
            for url in urls {
                let (agent, handover) = (&agent, &handover);
                scope.spawn(move |_| {
                    let call = handover.take();
                    let reply = agent.post(url).content_type("application/json").send(call.as_slice());
                    reply.expect("it answers").body_mut().read_to_vec().expect("the reply is whole")
                });
            }
            let (messages, clients) = queue.take();
            let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let timestamp = elapsed.as_millis() as u64;
            let entries: Vec<Entry> =
                (id + 1..).zip(messages).map(|(id, message)| Entry { id, timestamp, message }).collect();
            handover.give(serde_json::to_vec(&entries)?);
            log.append(&lines(&entries)?)?;
            io::Result::Ok((clients, timestamp))
        })
        .expect("no call panics")?;
        for client in clients {
            id += 1;
            let body = format!(
                r#"{{"status":"success","message_id":{id},"replicated_to":{},"w":{},"timestamp":{timestamp}}}"#,
                urls.len(),
                urls.len() + 1
            );
            // The client may have closed its connection.
            let _ = answer(client, &format!("201 Created\r\nLocation: /messages/{id}"), &body);
        }
    }
}
