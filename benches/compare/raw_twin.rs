//! The lower bound of `benches/compare`: the cost of the protocol without a server library, a store or error handling.
//!
//! A master and its secondaries, as ours: every message is on the disk of all of them before the client gets its 201,
//! and messages that arrive meanwhile share the next round. Everything else is left out: decisions, restarts, timeouts,
//! checks of requests. Requests are parsed by hand, a connection to each secondary lasts for ever, and one thread runs
//! all rounds. It is not a log to use: it shows the cost of the disk and the kernel. Its master can also listen through
//! `tiny_http`, and do everything else in the same way: the difference is the cost of that library.
//!
//! ```text
//! raw_twin secondary PORT FILE
//! raw_twin master|master-tiny-http PORT FILE SECONDARY:PORT...
//! ```

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a program made of sockets, files and threads")]

use serde::Deserialize;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The reply to a request without a body: load programs ask for the health first.
const HEALTHY: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 59\r\n\r\n\
                       {\"status\":\"healthy\",\"role\":\"master\",\"server_id\":\"raw-twin\"}";

/// Messages of one round, as in ours.
const ROUND_MESSAGES_MAX: usize = 4_096;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["secondary", port, file] => serve_as_secondary(port, file),
        ["master", port, file, ref secondaries @ ..] => {
            let queue = start_rounds(file, secondaries)?;
            serve_over_sockets(port, &queue)
        }
        ["master-tiny-http", port, file, ref secondaries @ ..] => {
            let queue = start_rounds(file, secondaries)?;
            serve_over_tiny_http(port, &queue)
        }
        _ => Err(io::Error::other(
            "raw_twin secondary PORT FILE, or raw_twin master|master-tiny-http PORT FILE SECONDARY:PORT...",
        )),
    }
}

fn listen(port: &str) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port.parse().map_err(io::Error::other)?))
}

/// A file that only grows.
struct Log(File);

impl Log {
    fn open(path: &str) -> io::Result<Log> {
        OpenOptions::new().create(true).append(true).open(path).map(Log)
    }

    /// Appends a round: each message with its checksum, all of them durable when this returns.
    fn append(&mut self, round: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(round.len() + 4);
        bytes.extend_from_slice(&crc32fast::hash(round).to_le_bytes());
        bytes.extend_from_slice(round);
        self.0.write_all(&bytes)?;
        self.0.sync_data()
    }
}

fn serve_as_secondary(port: &str, file: &str) -> io::Result<()> {
    let mut log = Log::open(file)?;
    let (mut master, _) = listen(port)?.accept()?;
    master.set_nodelay(true)?;
    loop {
        let mut length = [0; 4];
        master.read_exact(&mut length)?;
        let mut round = vec![0; u32::from_le_bytes(length) as usize];
        master.read_exact(&mut round)?;
        log.append(&round)?;
        master.write_all(&[1])?;
    }
}

/// A message, and the connection of its client.
struct Waiting {
    message: String,
    client: Client,
}

enum Client {
    Socket(Arc<TcpStream>),
    TinyHttp(tiny_http::Request),
}

impl Client {
    fn answer(self, answer: &str) -> io::Result<()> {
        match self {
            Client::Socket(socket) => (&*socket).write_all(answer.as_bytes()),
            Client::TinyHttp(request) => {
                let mut writer = request.into_writer();
                writer.write_all(answer.as_bytes())?;
                writer.flush()
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    filled: Condvar,
}

impl Queue {
    fn push(&self, message: String, client: Client) {
        let mut waiting = self.waiting.lock().expect("no thread panics with it");
        waiting.push(Waiting { message, client });
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            self.filled.notify_one();
        }
    }
}

fn start_rounds(file: &str, secondaries: &[&str]) -> io::Result<Arc<Queue>> {
    let connect = |address: &&str| TcpStream::connect(address).and_then(|peer| peer.set_nodelay(true).map(|()| peer));
    let peers: Vec<TcpStream> = secondaries.iter().map(connect).collect::<io::Result<_>>()?;
    let (log, queue) = (Log::open(file)?, Arc::new(Queue::default()));
    let rounds = Arc::clone(&queue);
    thread::spawn(move || run_rounds(log, peers, &rounds).expect("a round does not fail"));
    Ok(queue)
}

fn serve_over_sockets(port: &str, queue: &Arc<Queue>) -> io::Result<()> {
    for client in listen(port)?.incoming() {
        let (client, queue) = (client?, Arc::clone(queue));
        client.set_nodelay(true)?;
        thread::spawn(move || read_requests(&Arc::new(client), &queue));
    }
    Ok(())
}

/// One thread takes the requests, as in ours.
fn serve_over_tiny_http(port: &str, queue: &Queue) -> io::Result<()> {
    let server = tiny_http::Server::from_listener(listen(port)?, None).map_err(io::Error::other)?;
    loop {
        let mut request = server.recv()?;
        if request.body_length().is_none_or(|length| length == 0) {
            Client::TinyHttp(request).answer(HEALTHY)?;
            continue;
        }
        let Posted { message } = serde_json::from_reader(request.as_reader())?;
        queue.push(message, Client::TinyHttp(request));
    }
}

#[derive(Deserialize)]
struct Posted {
    message: String,
}

/// Reads posts until the client goes away.
fn read_requests(client: &Arc<TcpStream>, queue: &Queue) -> io::Result<()> {
    let mut reader = BufReader::new(&**client);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(io::Error::other)?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        if length == 0 {
            (&**client).write_all(HEALTHY.as_bytes())?;
            continue;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let Posted { message } = serde_json::from_slice(&body)?;
        queue.push(message, Client::Socket(Arc::clone(client)));
    }
}

/// Sends each round to all secondaries, makes it durable here meanwhile, and replies when all have it.
fn run_rounds(mut log: Log, mut peers: Vec<TcpStream>, queue: &Queue) -> io::Result<()> {
    let mut id: u64 = 0;
    loop {
        let mut waiting = queue.waiting.lock().expect("no thread panics with it");
        while waiting.is_empty() {
            waiting = queue.filled.wait(waiting).expect("no thread panics with it");
        }
        let taken = waiting.len().min(ROUND_MESSAGES_MAX);
        let messages: Vec<Waiting> = waiting.drain(..taken).collect();
        drop(waiting);
        let timestamp_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let round = frame(&messages, id, timestamp_ms);
        for peer in &mut peers {
            peer.write_all(&round)?;
        }
        log.append(&round[4..])?;
        for peer in &mut peers {
            peer.read_exact(&mut [0])?;
        }
        for Waiting { client, .. } in messages {
            id += 1;
            // The client may have closed its connection.
            let _ = client.answer(&created(id, peers.len(), timestamp_ms));
        }
    }
}

fn frame(messages: &[Waiting], after: u64, timestamp_ms: u128) -> Vec<u8> {
    let mut round = vec![0; 4];
    for (id, Waiting { message, .. }) in (after + 1..).zip(messages) {
        round.extend_from_slice(&id.to_le_bytes());
        round.extend_from_slice(&timestamp_ms.to_le_bytes());
        round.extend_from_slice(&u32::try_from(message.len()).expect("messages are short").to_le_bytes());
        round.extend_from_slice(message.as_bytes());
    }
    let length = u32::try_from(round.len() - 4).expect("rounds are short");
    round[..4].copy_from_slice(&length.to_le_bytes());
    round
}

fn created(id: u64, secondaries: usize, timestamp_ms: u128) -> String {
    let body = format!(
        "{{\"status\":\"success\",\"message_id\":{id},\"replicated_to\":{secondaries},\"w\":{},\"timestamp\":{timestamp_ms}}}\n",
        secondaries + 1
    );
    format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nLocation: /messages/{id}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
