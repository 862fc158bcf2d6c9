//! Nodes as processes, and connections that send any bytes.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) use crate::common::{TIMEOUT, wait_until};

/// A node as a process. It ends with the test.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
    log_file: PathBuf,
    printed: Arc<Mutex<String>>,
    _directory: TempDir,
}

impl Node {
    /// Starts a master without secondaries.
    pub(crate) fn master(variables: &[(&str, &str)]) -> Node {
        Node::start(Command::new(env!("CARGO_BIN_EXE_master")), "master", variables)
    }

    /// Starts a secondary that registers itself with a master, and waits until that takes writes again.
    pub(crate) fn secondary_of(master: &Node) -> Node {
        Node::secondary_with(master, &[])
    }

    /// The same, with further settings.
    pub(crate) fn secondary_with(master: &Node, variables: &[(&str, &str)]) -> Node {
        let url = format!("http://{}", master.address);
        let own = [("MASTER_URL", url.as_str()), ("SECONDARY_HOST", "127.0.0.1"), ("SERVER_ID", "secondary-1")];
        let program = Command::new(env!("CARGO_BIN_EXE_secondary"));
        let secondary = Node::start(program, "secondary", &[&own, variables].concat());
        wait_until("the secondary takes part", || {
            master.get("/secondaries").json()["secondaries"][0]["state"] == "in_sync"
        });
        secondary
    }

    /// Starts a secondary that knows no master.
    pub(crate) fn lonely_secondary() -> Node {
        Node::start(Command::new(env!("CARGO_BIN_EXE_secondary")), "secondary", &[])
    }

    /// Starts a master that may open so many files and sockets at a time.
    pub(crate) fn master_with_descriptors(number: usize, variables: &[(&str, &str)]) -> Node {
        let mut shell = Command::new("/bin/sh");
        let script = format!("ulimit -Sn {number} && ulimit -Hn {number} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_master")]);
        Node::start(shell, "master", variables)
    }

    fn start(mut command: Command, role: &str, variables: &[(&str, &str)]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command
            .args(["--port", "0"])
            .env_clear()
            .envs(variables.iter().copied())
            .env("DATA_DIR", "memory")
            .env("LOG_DIR", directory.path())
            .env("STOP_WITH_PARENT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (printed, serves) = collect(&mut child);
        let address = serves.recv_timeout(TIMEOUT).expect("the node says where it serves");
        let log_file = directory.path().join(format!("{role}.log"));
        Node { child, address, log_file, printed, _directory: directory }
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect(TIMEOUT).expect("the node accepts")
    }

    pub(crate) fn try_connect(&self, timeout: Duration) -> Option<Connection> {
        let socket = own_socket();
        socket.connect_timeout(&self.address.into(), timeout).ok()?;
        Some(Connection::new(socket.into()))
    }

    /// A connection that takes some 100 KiB and then nothing, unless it is read: small segments keep the node's side of
    /// it small, too.
    pub(crate) fn connect_narrow(&self) -> Connection {
        let socket = own_socket();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.connect(&self.address.into()).unwrap();
        Connection::new(socket.into())
    }

    /// One request on a fresh connection, and its reply.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        self.connect().ask(request)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.ask(get(target))
    }

    /// Posts a message, which must be committed, and gives its id.
    #[track_caller]
    pub(crate) fn commit(&self, message: &str) -> u64 {
        let reply = self.ask(post(&serde_json::json!({ "message": message }).to_string()));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["message_id"].as_u64().expect("an id")
    }

    /// The messages from an id on.
    #[track_caller]
    pub(crate) fn messages_from(&self, id: u64) -> Vec<String> {
        let listed = self.get(&format!("/messages?view=text&from={id}")).json();
        listed["messages"].as_array().expect("a list").iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// Checks that the process did not end.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the process ended; it printed\n{}", self.printed());
    }

    /// Files and sockets that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// What it printed to stdout.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Its log file.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it as asked, and gives the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut code = None;
        wait_until("the node stops", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{} logged\n{}", self.address, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket with a loopback address of its own. A node refuses a connection from an address and port whose connection
/// it has just ended; with one address for all, the system might give such a port again.
fn own_socket() -> Socket {
    static SOCKETS: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = SOCKETS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 1, high, low], 0)).into()).unwrap();
    socket
}

/// Keeps what a node prints, and finds where it serves.
fn collect(child: &mut Child) -> (Arc<Mutex<String>>, Receiver<SocketAddr>) {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let printed = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&printed);
    let (serves, served) = channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            copy.lock().unwrap().push_str(&text);
            if let Some((_, address)) = text.trim_end().split_once(" serves on http://") {
                let _ = serves.send(address.parse().expect("an address"));
            }
            line.clear();
        }
    });
    (printed, served)
}

/// A well-formed request for a target.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: node\r\n\r\n")
}

/// A well-formed request to store a message.
pub(crate) fn post(json: &str) -> String {
    post_with(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len()), json)
}

/// A request to store a message, with header lines and a body as given.
pub(crate) fn post_with(headers: &str, body: &str) -> String {
    format!("POST /messages HTTP/1.1\r\nHost: node\r\n{headers}\r\n{body}")
}

/// A reply as it was received.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and header lines.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next_back()
    }

    /// Whether the server says that it will not read on.
    pub(crate) fn ends_connection(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection that sends any bytes, and reads replies.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection(BufReader::new(stream))
    }

    /// Sends bytes. The other side may have closed already: what it said before that is read later.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        let is_head = request.as_ref().starts_with(b"HEAD ");
        let _ = self.send(request);
        self.read_reply(is_head).expect("a reply")
    }

    /// The next reply; `None` if the connection ends without one.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        self.read_reply(false)
    }

    /// The first events of a stream: name, id and data of each.
    #[track_caller]
    pub(crate) fn events(&mut self, count: usize) -> Vec<(String, String, Value)> {
        let mut events = Vec::new();
        let (mut name, mut id, mut data) = (String::new(), String::new(), Value::Null);
        while events.len() < count {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("it goes on") > 0, "the stream ended after {events:?}");
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("data", text)) => data = serde_json::from_str(text).expect("data is JSON"),
                None if line.trim_end().is_empty() && !(name.is_empty() && id.is_empty() && data.is_null()) => {
                    events.push((std::mem::take(&mut name), std::mem::take(&mut id), std::mem::take(&mut data)));
                }
                _ => {}
            }
        }
        events
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&self) {
        let _ = self.0.get_ref().shutdown(Shutdown::Write);
    }

    /// Ends it as a crash does: the other side gets a reset.
    pub(crate) fn reset(self) {
        let socket = Socket::from(self.0.into_inner());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether the other side has closed it, without waiting.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.peek(None) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether some of a reply has arrived, or arrives within this time.
    pub(crate) fn is_answered_within(&mut self, timeout: Duration) -> bool {
        self.peek(Some(timeout)).is_ok_and(|bytes| bytes > 0)
    }

    /// How many bytes could be read, after waiting so long for them; 0 at the end of the connection.
    fn peek(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let stream = self.0.get_ref();
        stream.set_nonblocking(timeout.is_none()).unwrap();
        stream.set_read_timeout(Some(timeout.unwrap_or(TIMEOUT))).unwrap();
        let bytes = self.0.fill_buf().map(<[u8]>::len);
        let stream = self.0.get_ref();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        bytes
    }

    #[track_caller]
    fn read_reply(&mut self, is_head: bool) -> Option<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.0.read_line(&mut head) {
                Ok(0) => {
                    assert!(head.is_empty(), "the head of the reply was cut off: {head}");
                    return None;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}; so far: {head}"),
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut reply = Reply { status, head, body: Vec::new() };
        if !is_head && status >= 200 && status != 204 {
            reply.body = self.read_body(&reply);
        }
        Some(reply)
    }

    fn read_body(&mut self, reply: &Reply) -> Vec<u8> {
        let mut body = Vec::new();
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                self.0.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).expect("the size of a chunk");
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk).unwrap();
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return body;
                }
            }
        }
        match reply.header("content-length") {
            Some(length) => {
                body.resize(length.parse().expect("a length"), 0);
                self.0.read_exact(&mut body).unwrap();
            }
            None => {
                self.0.read_to_end(&mut body).unwrap();
            }
        }
        body
    }
}
