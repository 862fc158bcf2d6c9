//! The echo pair as people meet it: two programs, their output and their exit codes.

#![allow(clippy::disallowed_types, reason = "a test of programs talks over sockets")]

use replicated_log::echo::{CLIENTS_MAX, LINE_BYTES_MAX};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Beyond this a test has failed; no test passes or fails by being faster.
const HANGS: Duration = Duration::from_secs(60);

/// A running `echo_server` on a port of its own, killed with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echo_server"))
            .arg("0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("echo_server starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("echo_server listens on ").expect(&first).parse().unwrap();
        Server { child, address }
    }

    fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// `echo_client` with this server's host and port already given.
    fn client(&self) -> Command {
        let mut command = client();
        command.arg(self.address.ip().to_string()).arg(self.address.port().to_string());
        command
    }

    /// Sends a signal and gives back the exit code.
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the test's own, for what `echo_client` is too well-behaved to do.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        Connection(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        line
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        rest
    }
}

fn client() -> Command {
    Command::new(env!("CARGO_BIN_EXE_echo_client"))
}

fn server() -> Command {
    Command::new(env!("CARGO_BIN_EXE_echo_server"))
}

/// Runs a program to its end and checks its exit code; gives back stdout and stderr.
#[track_caller]
fn ended(command: &mut Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\nstdout: {stdout}\nstderr: {stderr}");
    (stdout, stderr)
}

#[test]
fn the_client_prints_what_comes_back() {
    let server = Server::start();
    assert_eq!(ended(server.client().arg("hello world"), 0).0, "hello world\n");
    assert_eq!(
        ended(server.client().args(["several", "words", "--even", "-options"]), 0).0,
        "several words --even -options\n"
    );
    assert_eq!(ended(server.client().arg(""), 0).0, "\n");
    assert_eq!(ended(server.client().arg("two\nlines"), 0).0, "two\nlines\n");
}

#[test]
fn fifty_clients_are_served_at_once() {
    let server = Server::start();
    let clients: Vec<(String, Child)> = (0..50)
        .map(|number| {
            let text = format!("I am number {number}");
            let child = server.client().arg(&text).stdout(Stdio::piped()).spawn().unwrap();
            (text, child)
        })
        .collect();
    for (text, child) in clients {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{text}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{text}\n"));
    }
}

#[test]
fn silence_and_half_a_line_delay_no_other_client() {
    let server = Server::start();
    let _silent = server.connect();
    let mut hesitant = server.connect();
    hesitant.send(b"half a ");
    assert_eq!(ended(server.client().arg("in between"), 0).0, "in between\n");
    hesitant.send(b"line\n");
    assert_eq!(hesitant.line(), b"half a line\n");
}

#[test]
fn any_bytes_come_back_and_the_last_line_needs_no_line_break() {
    let server = Server::start();
    let mut connection = server.connect();
    let bytes = b"\xff\xfe not UTF-8 \0\r\n\nlast";
    connection.send(bytes);
    connection.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(connection.rest(), bytes);
}

#[test]
fn a_line_over_the_limit_is_explained_and_closed() {
    let server = Server::start();
    let mut connection = server.connect();
    connection.send(b"before\n");
    connection.send(&vec![b'x'; LINE_BYTES_MAX * 2]);
    assert_eq!(connection.line(), b"before\n");
    let explanation = String::from_utf8(connection.rest()).unwrap();
    assert_eq!(explanation, "echo_server: a line may have 65536 bytes and this one has more; goodbye\n");
    assert_eq!(ended(server.client().arg("still there?"), 0).0, "still there?\n");
}

#[test]
fn a_client_too_many_is_refused_and_a_place_becomes_free_again() {
    let server = Server::start();
    let mut seated: Vec<Connection> = (0..CLIENTS_MAX).map(|_| server.connect()).collect();
    for connection in &mut seated {
        connection.send(b"here\n");
        assert_eq!(connection.line(), b"here\n");
    }
    let (_, stderr) = ended(server.client().arg("me too"), 1);
    assert!(stderr.contains("256 clients are being served and there is no room for more"), "{stderr}");

    seated.pop();
    let begun = Instant::now();
    while !server.client().arg("me now").output().unwrap().status.success() {
        assert!(begun.elapsed() < HANGS, "the place of a client that left stays taken");
    }
}

#[test]
fn without_text_the_client_sends_line_by_line() {
    let server = Server::start();
    let mut child = server.client().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin: ChildStdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for text in ["first\n", "second\n", "\n"] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut echo = String::new();
        stdout.read_line(&mut echo).unwrap();
        assert_eq!(echo, text, "each echo is printed before the next line is typed");
    }
    stdin.write_all(b"no line break").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "no line break\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn signals_stop_the_server_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start();
        let mut connection = server.connect();
        connection.send(b"half a line");
        assert_eq!(server.stop(signal), Some(0), "{signal:?}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    ended(server().arg("not-a-port"), 2);
    ended(server().arg("70000"), 2);
    ended(server().args(["0", "--bind", "localhost"]), 2);
    ended(server().args(["0", "surplus"]), 2);
    ended(&mut client(), 2);
    ended(client().arg("127.0.0.1"), 2);
    ended(client().args(["127.0.0.1", "0", "text"]), 2);
}

#[test]
fn the_help_teaches() {
    for (command, example) in [(server(), "echo_server 9009"), (client(), "echo_client 127.0.0.1 9009 \"hello world\"")]
    {
        let mut command = command;
        let (help, _) = ended(command.arg("--help"), 0);
        assert!(help.contains(example) && help.contains("Exit codes"), "{help}");
    }
}

#[test]
fn failures_are_explained_in_a_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let (_, stderr) = ended(server().arg(&port), 1);
    assert!(stderr.contains(&format!("port {port} is in use at 127.0.0.1")), "{stderr}");
    let (_, stderr) = ended(server().args(["0", "--bind", "192.0.2.1"]), 1);
    assert!(stderr.contains("192.0.2.1 is not an address of this machine"), "{stderr}");

    // A port that is bound but not listened on: no other program can take it, and connections are refused.
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = reserved.local_addr().unwrap().as_socket().unwrap().port().to_string();
    let (_, stderr) = ended(client().args(["127.0.0.1", &port, "text"]), 1);
    assert!(stderr.contains(&format!("nothing listens on 127.0.0.1:{port}")), "{stderr}");
    let (_, stderr) = ended(client().args(["no-such-host.invalid", "9009", "text"]), 1);
    assert!(stderr.contains("the host \"no-such-host.invalid\" is not known here"), "{stderr}");
}

#[test]
fn a_server_that_does_not_echo_is_an_error() {
    for (reply, complaint) in
        [(&b"something\n"[..], "sent something else back: something"), (b"", "closed the connection")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let child = client().args(["127.0.0.1", &port, "text"]).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(reply).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(complaint), "{stderr}");
    }
}
