//! A cluster that only pretends: the nodes' HTTP interface on local ports, with scripted delays and faults.

#![allow(dead_code, reason = "each test file uses its part of this")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, Server};

/// How the cluster behaves.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Each secondary's delay before its acknowledgement, in milliseconds; as many as there are secondaries.
    pub(crate) delays_ms: Vec<u64>,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Secondaries are listed under names that do not resolve.
    UnknownNames,
    /// Secondaries are listed under such names, and each with the port of the next.
    SwappedNames,
    /// Secondaries are listed, and do not exist.
    Absent,
    /// No message is taken, and the master says so beforehand.
    NotWritable,
    /// Every message is refused.
    RefuseAll,
    /// What cannot be acknowledged by all is refused before it has an id.
    RefuseBeforehand,
    /// Every message has an unknown outcome.
    UnknownOutcome,
    /// The master confirms at once and claims that the acknowledgements came later.
    ConfirmEarly,
    /// The master confirms although a secondary cannot have acknowledged.
    IgnoreAbsent,
    /// A refused message is shown by the last secondary.
    ShowRefused,
    /// The last secondary does not show the second message.
    LoseOne,
    /// No secondary can be registered.
    NoRegistration,
    /// Registering works, and the answer says that it did not.
    LoseRegistrationAnswer,
    /// No secondary can be removed.
    NoRemoval,
    /// `demo-absent` is registered from the beginning.
    LeftOver,
    /// Nodes can be asked for faults.
    Askable,
}

/// The running stub; its threads end with the test's process.
pub(crate) struct Cluster {
    pub(crate) master: String,
    pub(crate) secondaries: Vec<String>,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Script,
    /// Name and address of every registered secondary.
    registered: Vec<(String, String)>,
    messages: Vec<Value>,
    refused: Vec<Value>,
    last_id: u64,
    /// The answers to what was committed under a key.
    keys: BTreeMap<String, Value>,
    /// The faults that nodes were asked for, and their ends, in this order.
    asked: Vec<String>,
}

impl Cluster {
    pub(crate) fn start(script: Script) -> Cluster {
        let servers: Vec<Server> = (0..=script.delays_ms.len()).map(|_| Server::http("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = servers.iter().map(|server| server.server_addr().to_ip().unwrap().port()).collect();
        let urls: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let registered = registered(&script, &ports[1..]);
        let state = State {
            script,
            registered,
            messages: Vec::new(),
            refused: Vec::new(),
            last_id: 0,
            keys: BTreeMap::new(),
            asked: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        for (number, server) in servers.into_iter().enumerate() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&server, number, &state));
        }
        Cluster { master: urls[0].clone(), secondaries: urls[1..].to_vec(), state }
    }

    /// The names of the registered secondaries.
    pub(crate) fn registered(&self) -> Vec<String> {
        self.state.lock().unwrap().registered.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The faults that nodes were asked for: the number of the node, the method and the body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The texts that were committed.
    pub(crate) fn texts(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.messages.iter().map(|message| message["message"].as_str().unwrap().to_owned()).collect()
    }
}

fn registered(script: &Script, ports: &[u16]) -> Vec<(String, String)> {
    let has = |fault| script.faults.contains(&fault);
    let url = |index: usize| match () {
        () if has(Fault::UnknownNames) => format!("http://secondary-{}.invalid:{}", index + 1, ports[index]),
        () if has(Fault::SwappedNames) => {
            format!("http://secondary-{}.invalid:{}", index + 1, ports[(index + 1) % ports.len()])
        }
        () if has(Fault::Absent) => "http://127.0.0.1:9".to_owned(),
        () => format!("http://127.0.0.1:{}", ports[index]),
    };
    let left_over = has(Fault::LeftOver).then(|| ("demo-absent".to_owned(), "http://127.0.0.1:9".to_owned()));
    let mut registered: Vec<_> =
        (0..ports.len()).map(|index| (format!("secondary-{}", index + 1), url(index))).collect();
    registered.extend(left_over);
    registered
}

fn serve(server: &Server, number: usize, state: &Mutex<State>) {
    for mut request in server.incoming_requests() {
        let is_export = request.headers().iter().any(|header| header.value == "application/x-ndjson")
            && *request.method() == Method::Get;
        let (status, body) = answer(&mut request, number, state);
        let text = if is_export { lines(&body) } else { body.to_string() };
        let header = Header::from_bytes("Content-Type", "application/json").unwrap();
        let response = Response::from_string(text).with_status_code(status).with_header(header);
        let _ = request.respond(response);
    }
}

/// Messages, one a line.
fn lines(body: &Value) -> String {
    body["messages"].as_array().into_iter().flatten().map(|message| format!("{message}\n")).collect()
}

/// A number in the query of a path.
fn in_query(url: &str, name: &str) -> Option<u64> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn answer(request: &mut Request, number: usize, state: &Mutex<State>) -> (u16, Value) {
    let mut body = String::new();
    request.as_reader().read_to_string(&mut body).unwrap();
    let path = request.url().split('?').next().unwrap().to_owned();
    let (from, limit) = (in_query(request.url(), "from"), in_query(request.url(), "limit"));
    let key = request.headers().iter().find(|header| header.field.equiv("Idempotency-Key"));
    let key = key.map(|header| header.value.to_string());
    let mut state = state.lock().unwrap();
    match (request.method(), path.as_str(), number) {
        (Method::Get, "/health", 0) => (200, state.master_health()),
        (Method::Get, "/health", _) => (200, state.secondary_health(number)),
        (Method::Get, "/messages", _) => (200, state.shown_by(number, from.unwrap_or(0), limit)),
        (method, "/faults", _) => state.fault(number, method, &body),
        (Method::Post, "/messages", 0) => state.post_once(key, &body),
        (Method::Post, "/secondaries", 0) => state.register(&serde_json::from_str(&body).unwrap()),
        (Method::Delete, path, 0) => state.remove(path.strip_prefix("/secondaries/").unwrap()),
        _ => (404, json!({ "error": format!("there is nothing at {path}") })),
    }
}

impl State {
    fn has(&self, fault: Fault) -> bool {
        self.script.faults.contains(&fault)
    }

    fn delay_ms(&self, name: &str) -> Option<u64> {
        let number: usize = name.strip_prefix("secondary-")?.parse().ok()?;
        self.script.delays_ms.get(number - 1).copied()
    }

    fn master_health(&self) -> Value {
        let secondary = |(name, url): &(String, String)| {
            let exists = self.delay_ms(name).is_some() && !self.has(Fault::Absent);
            let (state, detail) = if exists { ("in_sync", "") } else { ("unreachable", "connection refused") };
            json!({ "server_id": name, "url": url, "state": state, "matched": self.last_id,
                    "delay_ms": self.delay_ms(name), "detail": detail })
        };
        let mut health = json!({
            "status": "healthy", "role": "master", "server_id": "master", "message_count": self.messages.len(),
            "epoch": 1, "log_id": "00000000000000000000000000000001", "last": self.last_id, "decided": self.last_id,
            "pending": 0, "writable": !self.has(Fault::NotWritable),
            "secondaries": self.registered.iter().map(secondary).collect::<Vec<_>>(),
        });
        if self.has(Fault::NotWritable) {
            health["reason"] = json!("secondary-2 is catching up");
        }
        health
    }

    fn secondary_health(&self, number: usize) -> Value {
        json!({
            "status": "healthy", "role": "secondary", "server_id": format!("secondary-{number}"),
            "message_count": self.messages.len(), "delay_ms": self.script.delays_ms[number - 1], "epoch": 1,
            "log_id": "00000000000000000000000000000001", "last": self.last_id, "decided": self.last_id, "pending": 0,
            "master": "http://127.0.0.1",
        })
    }

    fn shown_by(&self, number: usize, from: u64, limit: Option<u64>) -> Value {
        let mut messages = self.messages.clone();
        let is_last = number == self.script.delays_ms.len();
        if is_last && self.has(Fault::LoseOne) && messages.len() > 1 {
            messages.remove(1);
        }
        if is_last && self.has(Fault::ShowRefused) {
            messages.extend(self.refused.clone());
        }
        messages.retain(|message| message["id"].as_u64() >= Some(from));
        messages.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        let (role, name) =
            if number == 0 { ("master", "master".to_owned()) } else { ("secondary", format!("secondary-{number}")) };
        json!({ "total": messages.len(), "messages": messages, "server_role": role, "server_id": name })
    }

    /// What was committed under a key is not written again.
    fn post_once(&mut self, key: Option<String>, body: &str) -> (u16, Value) {
        if let Some(known) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return (201, known.clone());
        }
        let texts: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (status, reply) = match &texts[..] {
            [one] if one.is_object() => self.post(one),
            several => self.post_batch(several),
        };
        if let (201, Some(key)) = (status, key) {
            self.keys.insert(key, reply.clone());
        }
        (status, reply)
    }

    fn post_batch(&mut self, texts: &[Value]) -> (u16, Value) {
        let first = self.last_id + 1;
        let replies: Vec<_> = texts.iter().map(|text| self.post(&json!({ "message": text }))).collect();
        let (status, mut reply) = replies.into_iter().next_back().unwrap();
        reply["message_ids"] = json!({ "first": first, "last": self.last_id });
        reply["count"] = json!(texts.len());
        (status, reply)
    }

    fn post(&mut self, body: &Value) -> (u16, Value) {
        self.last_id += 1;
        let message =
            json!({ "id": self.last_id, "message": body["message"], "timestamp": "2026-11-21T22:44:09.123Z" });
        let exists = |name: &str| self.delay_ms(name).is_some();
        if self.has(Fault::UnknownOutcome) {
            return (504, json!({ "error": "the master was stopped while it waited", "outcome": "unknown" }));
        }
        let absent = self.registered.iter().any(|(name, _)| !exists(name)) && !self.has(Fault::IgnoreAbsent);
        if absent || self.has(Fault::RefuseAll) {
            self.refused.push(message);
            return self.refusal();
        }
        self.messages.push(message);
        self.confirmation()
    }

    fn confirmation(&self) -> (u16, Value) {
        let longest = self.script.delays_ms.iter().copied().max().unwrap_or(0);
        let claimed_later = if self.has(Fault::ConfirmEarly) { 3_600_000 } else { 0 };
        thread::sleep(Duration::from_millis(longest));
        let ack = |(name, _): &(String, String)| {
            Some(json!({ "server_id": name, "ms": self.delay_ms(name)? + claimed_later }))
        };
        let mut acks: Vec<Value> = self.registered.iter().filter_map(ack).collect();
        acks.sort_by_key(|ack| ack["ms"].as_u64());
        let reply = json!({
            "status": "success", "message_id": self.last_id, "replicated_to": self.registered.len(),
            "timestamp": "2026-11-21T22:44:09.123Z", "ms": longest, "acks": acks,
        });
        (201, reply)
    }

    fn refusal(&self) -> (u16, Value) {
        let part = |(name, url): &(String, String)| match self.delay_ms(name) {
            Some(_) if self.has(Fault::RefuseBeforehand) => {
                json!({ "server_id": name, "url": url, "acknowledged": false, "detail": "takes part" })
            }
            Some(ms) => json!({ "server_id": name, "url": url, "acknowledged": true,
                                "detail": format!("acknowledged after {ms} ms") }),
            None => json!({ "server_id": name, "url": url, "acknowledged": false, "detail": "connection refused" }),
        };
        let secondaries: Vec<Value> = self.registered.iter().map(part).collect();
        let error = "not every secondary acknowledged, so the message was refused";
        let mut reply = json!({ "error": error, "outcome": "not_appended", "secondaries": secondaries });
        if !self.has(Fault::RefuseBeforehand) {
            reply["message_id"] = json!(self.last_id);
        }
        (502, reply)
    }

    fn fault(&mut self, number: usize, method: &Method, body: &str) -> (u16, Value) {
        let enabled = self.has(Fault::Askable);
        if *method != Method::Get && !enabled {
            return (403, json!({ "error": "this node accepts no faults" }));
        }
        if *method != Method::Get {
            self.asked.push(format!("{number} {method} {body}").trim_end().to_owned());
        }
        (200, json!({ "enabled": enabled, "active": null, "hits": 0 }))
    }

    fn register(&mut self, body: &Value) -> (u16, Value) {
        if self.has(Fault::NoRegistration) {
            return (403, json!({ "error": "the secondaries of this master are fixed" }));
        }
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        self.registered.push((text("server_id"), text("url")));
        if self.has(Fault::LoseRegistrationAnswer) {
            return (500, json!({ "error": "something went wrong" }));
        }
        (200, json!({ "status": "registered", "total_secondaries": self.registered.len() }))
    }

    fn remove(&mut self, name: &str) -> (u16, Value) {
        if self.has(Fault::NoRemoval) {
            return (503, json!({ "error": "the master is stopping", "outcome": "not_appended" }));
        }
        self.registered.retain(|(registered, _)| registered != name);
        (200, json!({ "status": "removed", "total_secondaries": self.registered.len() }))
    }
}

/// A server that gives one answer to whatever it is asked, and keeps what it was asked.
pub(crate) struct Recorder {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Its method, path and query.
    pub(crate) line: String,
    headers: Vec<Header>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    }
}

impl Recorder {
    /// Answers after a delay.
    pub(crate) fn start(delay: Duration, status: u16, headers: &[(&str, &str)], body: &Value) -> Recorder {
        let server = Server::http("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.server_addr().to_ip().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { url, requests: Arc::clone(&requests) };
        let header = |(name, value): &(&str, &str)| Header::from_bytes(*name, *value).unwrap();
        let (headers, body): (Vec<Header>, _) = (headers.iter().map(header).collect(), body.to_string());
        thread::spawn(move || {
            for mut request in server.incoming_requests() {
                requests.lock().unwrap().push(record(&mut request));
                thread::sleep(delay);
                let response = Response::from_string(&*body).with_status_code(status);
                let response = headers.iter().cloned().fold(response, Response::with_header);
                let _ = request.respond(response);
            }
        });
        recorder
    }

    /// All requests.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// The only request.
    pub(crate) fn request(&self) -> Recorded {
        let requests = self.requests.lock().unwrap();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

fn record(request: &mut Request) -> Recorded {
    let line = format!("{} {}", request.method(), request.url());
    let headers = request.headers().to_vec();
    let mut body = String::new();
    request.as_reader().read_to_string(&mut body).unwrap();
    Recorded { line, headers, body }
}

/// A server that takes one request, answers with these bytes whatever it was, and closes. `None` never answers.
pub(crate) fn one_answer(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut chunk = [0; 1024];
            let length = stream.read(&mut chunk).unwrap();
            assert_ne!(length, 0, "the client closed before its request was complete");
            request.extend_from_slice(&chunk[..length]);
        }
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
            None => drop(stream.read(&mut [0])),
        }
    });
    url
}
