//! Readers that load a node, for `benches/compare/run --reading`. It prints JSON.
//!
//! ```text
//! readers fill HOST:PORT MESSAGES             posts messages of 100 bytes in batches
//! readers all HOST:PORT                       reads the whole log
//! readers pages HOST:PORT CLIENTS SECONDS     reads pages of 100 at random
//! readers follow MASTER NODE FOLLOWERS RATE SECONDS
//!                                             follows NODE, while RATE messages a second are posted to MASTER
//! ```
//!
//! The clients share one thread, so that this program takes little of the processors that the nodes need.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a program made of sockets and clocks")]

use rustix::event::epoll;
use serde_json::{Value, json};
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const MESSAGE_BYTES: usize = 100;
const BATCH_MESSAGES: u64 = 10_000;
const PAGE_MESSAGES: u64 = 100;
const EVENTS_MAX: usize = 256;
/// How often a thousand followers look for messages. To be woken for each would cost the node, which shares its processors
/// with them only here.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the last messages may be on their way.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    let figures = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", node, messages] => fill(node, number(messages)?)?,
        ["all", node] => read_all(node)?,
        ["pages", node, clients, seconds] => pages(node, number(clients)?, Duration::from_secs(number(seconds)?))?,
        ["follow", master, node, followers, rate, seconds] => {
            follow(master, node, number(followers)?, number(rate)?, number(seconds)?)?
        }
        _ => return Err(io::Error::other("see the first lines of readers.rs")),
    };
    println!("{figures}");
    Ok(())
}

fn connect(node: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(node)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Posts a body, and reads the reply.
fn post(stream: &mut BufReader<TcpStream>, kind: &str, body: &str) -> io::Result<()> {
    let head =
        format!("POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
    let (status, length) = read_head(stream)?;
    io::copy(&mut stream.take(length), &mut io::sink())?;
    if status == 201 { Ok(()) } else { Err(io::Error::other(format!("a post was answered by {status}"))) }
}

/// The status of a reply, and the length of its body.
fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, u64)> {
    let (mut status, mut length, mut line) = (0, 0, String::new());
    while {
        line.clear();
        stream.read_line(&mut line)? > 2
    } {
        if line.starts_with("HTTP/") {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    Ok((status, length))
}

fn fill(node: &str, messages: u64) -> io::Result<Value> {
    let mut stream = BufReader::new(connect(node)?);
    let begun = Instant::now();
    for first in (0..messages).step_by(BATCH_MESSAGES as usize) {
        let texts = (first..messages.min(first + BATCH_MESSAGES)).map(|number| format!("{number:0MESSAGE_BYTES$}"));
        post(&mut stream, "application/json", &json!(texts.collect::<Vec<_>>()).to_string())?;
    }
    Ok(json!({ "messages": messages, "seconds": begun.elapsed().as_secs_f64() }))
}

fn read_all(node: &str) -> io::Result<Value> {
    let mut stream = connect(node)?;
    stream.write_all(b"GET /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let (begun, mut bytes, mut buffer) = (Instant::now(), 0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => bytes += read,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "bytes": bytes, "seconds": seconds, "megabytes_per_second": bytes as f64 / seconds / 1e6 }))
}

/// Sockets that are read as soon as something is there.
struct Watched {
    poll: rustix::fd::OwnedFd,
    streams: Vec<TcpStream>,
    /// The pause after the last event that was there.
    rest: Duration,
}

impl Watched {
    fn new(streams: Vec<TcpStream>, rest: Duration) -> io::Result<Watched> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, stream) in (0..).zip(&streams) {
            epoll::add(&poll, stream, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        }
        Ok(Watched { poll, streams, rest })
    }

    /// Gives each socket with something to read to `read`, until the time.
    fn run(
        &mut self,
        until: Instant,
        mut read: impl FnMut(usize, &mut TcpStream) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let left = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&left))?;
            if events.len() < EVENTS_MAX {
                thread::sleep(self.rest);
            }
            for event in events.drain(..) {
                let number = event.data.u64() as usize;
                if !read(number, &mut self.streams[number])? {
                    return Ok(());
                }
            }
        }
    }
}

fn pages(node: &str, clients: u64, time: Duration) -> io::Result<Value> {
    let last = end_of_log(node)?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut ask = move |stream: &mut TcpStream| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let from = 1 + random % last.saturating_sub(PAGE_MESSAGES).max(1);
        let request = format!("GET /messages?from={from}&limit={PAGE_MESSAGES} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes())
    };
    let mut watched = Watched::new((0..clients).map(|_| connect(node)).collect::<io::Result<_>>()?, Duration::ZERO)?;
    let mut asked = Vec::new();
    for stream in &mut watched.streams {
        ask(stream)?;
        asked.push(Instant::now());
    }
    let (begun, mut took, mut buffer) = (Instant::now(), Vec::new(), vec![0; 1 << 16]);
    let mut missing = vec![0; asked.len()];
    watched.run(begun + time, |number, stream| {
        let read = stream.read(&mut buffer)?;
        if missing[number] == 0 {
            let head = buffer[..read].windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(read) + 4;
            let (status, length) = read_head(&mut &buffer[..read])?;
            if status != 200 || read == 0 {
                return Err(io::Error::other(format!("a page was answered by {status}")));
            }
            missing[number] = head + length as usize;
        }
        missing[number] -= read;
        if missing[number] == 0 {
            took.push(asked[number].elapsed());
            asked[number] = Instant::now();
            ask(stream)?;
        }
        Ok(true)
    })?;
    let per_second = took.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(
        json!({ "pages": took.len(), "pages_per_second": per_second, "p50_ms": quantile(&mut took, 50), "p99_ms": quantile(&mut took, 99) }),
    )
}

/// The last id of a log.
fn end_of_log(node: &str) -> io::Result<u64> {
    let mut stream = connect(node)?;
    stream.write_all(b"GET /messages?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let end = reply.lines().find_map(|line| line.strip_prefix("Log-End: "));
    end.and_then(|end| end.parse().ok()).ok_or_else(|| io::Error::other("the node does not say where its log ends"))
}

fn quantile(took: &mut [Duration], percent: usize) -> f64 {
    took.sort_unstable();
    let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
}

/// Each message is the time at which it was posted, so each line tells how long it took.
fn follow(master: &str, node: &str, followers: u64, rate: u64, seconds: u64) -> io::Result<Value> {
    let started = Instant::now();
    let follow = |_| {
        let mut stream = connect(node)?;
        stream.write_all(
            b"GET /messages?follow=true&from=end&view=text HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n",
        )?;
        Ok(stream)
    };
    let mut watched = Watched::new((0..followers).map(follow).collect::<io::Result<_>>()?, LOOK_EVERY)?;
    // The replies have begun once their heads have come.
    let mut waiting = followers;
    let mut buffer = vec![0; 1 << 16];
    let mut has_head = vec![false; followers as usize];
    watched.run(Instant::now() + PATIENCE, |number, stream| {
        let read = stream.read(&mut buffer)?;
        waiting -= u64::from(!std::mem::replace(&mut has_head[number], read > 0));
        Ok(waiting > 0)
    })?;
    let messages = rate * seconds;
    let address = master.to_owned();
    let writer = thread::spawn(move || {
        let mut stream = BufReader::new(connect(&address)?);
        let (begun, mut took) = (Instant::now(), Vec::new());
        for number in 0..messages {
            let due = begun + Duration::from_secs(number) / u32::try_from(rate).unwrap_or(1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let posted = Instant::now();
            post(&mut stream, "text/plain", &format!("t{:012}t", started.elapsed().as_micros()))?;
            took.push(posted.elapsed());
        }
        io::Result::Ok(took)
    });
    let (mut delays, expected) = (Vec::new(), (messages * followers) as usize);
    watched.run(Instant::now() + Duration::from_secs(seconds) + PATIENCE, |_, stream| {
        let read = stream.read(&mut buffer)?;
        let now = started.elapsed();
        for text in buffer[..read].split(|&byte| byte == b't').filter(|text| text.len() == 12) {
            let posted = std::str::from_utf8(text).ok().and_then(|digits| digits.parse().ok());
            delays.extend(posted.map(|posted| now.saturating_sub(Duration::from_micros(posted))));
        }
        Ok(delays.len() < expected)
    })?;
    let mut took = writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
    Ok(json!({
        "followers": followers, "expected": expected, "delivered": delays.len(),
        "delivery_p50_ms": quantile(&mut delays, 50), "delivery_p99_ms": quantile(&mut delays, 99),
        "write_p50_ms": quantile(&mut took, 50), "write_p99_ms": quantile(&mut took, 99),
    }))
}
