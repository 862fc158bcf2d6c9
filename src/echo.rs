//! The echo pair: the smallest client and server that prove sockets and threads work here.
//!
//! A line goes there, the same bytes come back. Lines end with `\n`; whatever stands before it is not looked at, so
//! bytes that are not UTF-8 and `\r` travel unchanged, and a last line without `\n` is echoed without one. Each client
//! has a thread of its own, so one that is silent, or stops in the middle of a line, holds up nobody.
//!
//! Caveats: a silent client keeps its thread for as long as it likes, so [`CLIENTS_MAX`] silent ones keep the others
//! out. Stopping the server cuts connections wherever they are.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Clients served at once. Each costs a thread and up to [`LINE_BYTES_MAX`] of memory, so this bounds both.
pub const CLIENTS_MAX: usize = 256;

/// Clients beyond [`CLIENTS_MAX`] that are told so at once; whoever comes on top of these is closed without a word.
pub const REFUSALS_MAX: usize = 32;

/// Bytes in a line, its `\n` not counted. Far more than anybody types, and small enough to hold for every client.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// How long the server waits for a client to take what is echoed to it. One that never reads gives its thread back.
const SEND_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long, and how many bytes, the server listens on after its last word. Closing with unread bytes makes TCP reset
/// the connection, and a reset may overtake the explanation.
const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Pause after a failed `accept`, which usually means too many open files: trying on at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the client waits for a connection, per address of the host.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long the client waits for one echo.
const ECHO_WAIT_MAX: Duration = Duration::from_secs(10);

/// What went wrong, in a sentence for the person at the keyboard.
#[derive(Debug)]
pub struct EchoError(String);

impl fmt::Display for EchoError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for EchoError {}

/// A server that has its port.
#[derive(Debug)]
pub struct EchoServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl EchoServer {
    /// Takes a port; 0 takes any free one, which [`EchoServer::address`] then tells.
    ///
    /// # Errors
    /// If the port is in use, or may not be used.
    pub fn bind(ip: IpAddr, port: u16) -> Result<EchoServer, EchoError> {
        let wanted = SocketAddr::new(ip, port);
        let bound = TcpListener::bind(wanted).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok(EchoServer { listener, address })
        });
        bound.map_err(|error| EchoError(explain_bind(wanted, &error)))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until the process ends.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(self) -> Result<(), EchoError> {
        thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || self.accept_forever())
            .map(drop)
            .map_err(|error| EchoError(format!("the system gives no thread to accept clients: {error}")))
    }

    fn accept_forever(&self) {
        // Every client's thread holds one clone, so the count of clones is the count of clients. Only this thread makes
        // clones, so the count can fall but not rise between looking and seating.
        let seats = Arc::new(());
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => seat(stream, &seats),
                Err(error) => {
                    eprintln!("echo_server: cannot accept a client: {error}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }
}

/// Gives a client a thread: to be served, or to be told that there is no room.
fn seat(stream: TcpStream, seats: &Arc<()>) {
    let taken = Arc::strong_count(seats) - 1;
    let attend: fn(&TcpStream) -> io::Result<()> = match taken {
        0..CLIENTS_MAX => serve_client,
        _ if taken < CLIENTS_MAX + REFUSALS_MAX => refuse_client,
        _ => return,
    };
    let seat = Arc::clone(seats);
    let thread = thread::Builder::new().name("client".to_owned()).spawn(move || {
        // A client that goes away in the middle is its own affair.
        let _ = attend(&stream);
        drop(seat);
    });
    if let Err(error) = thread {
        eprintln!("echo_server: the system gives no thread for a client: {error}");
    }
}

fn serve_client(stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(SEND_WAIT_MAX))?;
    // Each reply is awaited by somebody, so none should wait to be sent with the next.
    stream.set_nodelay(true)?;
    match echo_lines(BufReader::new(stream), stream)? {
        End::OfInput => Ok(()),
        End::LineTooLong => {
            say_goodbye(stream, &format!("a line may have {LINE_BYTES_MAX} bytes and this one has more; goodbye"))
        }
    }
}

fn refuse_client(stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(FAREWELL_WAIT_MAX))?;
    say_goodbye(
        stream,
        &format!("{CLIENTS_MAX} clients are being served and there is no room for more; come back later"),
    )
}

/// Sends a last line that is not an echo, and sees to it that it arrives.
fn say_goodbye(mut stream: &TcpStream, sentence: &str) -> io::Result<()> {
    stream.write_all(format!("echo_server: {sentence}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(FAREWELL_WAIT_MAX))?;
    let deadline = Instant::now() + FAREWELL_WAIT_MAX;
    let mut rest = stream.take(FAREWELL_BYTES_MAX);
    let mut scrap = vec![0; 16 * 1024];
    while rest.read(&mut scrap)? > 0 && Instant::now() < deadline {}
    Ok(())
}

/// Why echoing ended.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// Everything that came was echoed.
    OfInput,
    /// A line broke the limit; what came before it was echoed.
    LineTooLong,
}

/// Echoes line by line until there is no more.
fn echo_lines(mut input: impl BufRead, mut output: impl Write) -> io::Result<End> {
    let mut line = Vec::new();
    loop {
        match read_line(&mut input, &mut line)? {
            Line::Read => output.write_all(&line)?,
            Line::None => return Ok(End::OfInput),
            Line::TooLong => return Ok(End::LineTooLong),
        }
    }
}

/// What [`read_line`] found.
enum Line {
    /// A line, with its `\n` unless the input ended without one.
    Read,
    /// The end of the input.
    None,
    /// More than [`LINE_BYTES_MAX`] bytes without a `\n`.
    TooLong,
}

/// Reads the next line into `line`, never more of it than the limit allows.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    Ok(match line.last() {
        None => Line::None,
        Some(b'\n') => Line::Read,
        Some(_) if line.len() > LINE_BYTES_MAX => Line::TooLong,
        Some(_) => Line::Read,
    })
}

/// A client that is connected.
#[derive(Debug)]
pub struct EchoClient {
    stream: BufReader<TcpStream>,
    /// The server, as the person named it.
    server: String,
}

impl EchoClient {
    /// Connects to the first address of the host that answers.
    ///
    /// # Errors
    /// If the host is unknown, or none of its addresses answers.
    pub fn connect(host: &str, port: u16) -> Result<EchoClient, EchoError> {
        let server = format!("{host}:{port}");
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|error| EchoError(format!("the host \"{host}\" is not known here: {error}")))?;
        let stream = connect_to_any(addresses).map_err(|error| EchoError(explain_connect(&server, &error)))?;
        Ok(EchoClient { stream: BufReader::new(stream), server })
    }

    /// Sends every line of `input`, one after the other, and writes each echo to `output` before the next is sent.
    ///
    /// # Errors
    /// At the first line that does not come back as it was sent.
    pub fn echo_all(&mut self, mut input: impl BufRead, mut output: impl Write) -> Result<(), EchoError> {
        let mut line = Vec::new();
        loop {
            match read_line(&mut input, &mut line) {
                Ok(Line::Read) => {}
                Ok(Line::None) => return Ok(()),
                Ok(Line::TooLong) => {
                    return Err(EchoError(format!("a line of the input has more than {LINE_BYTES_MAX} bytes")));
                }
                Err(error) => return Err(EchoError(format!("cannot read the input: {error}"))),
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            let echo = self.echo(&line)?;
            output
                .write_all(&echo)
                .and_then(|()| output.flush())
                .map_err(|error| EchoError(format!("cannot write the echo: {error}")))?;
        }
    }

    /// Sends one line, `\n` included, and awaits it back.
    fn echo(&mut self, line: &[u8]) -> Result<Vec<u8>, EchoError> {
        // A server that has no room says so and closes, which may break the sending: what it said matters more.
        let sent = self.stream.get_mut().write_all(line);
        let mut reply = Vec::new();
        let received = read_line(&mut self.stream, &mut reply);
        match (sent, received) {
            (_, Ok(Line::Read)) if reply == line => Ok(reply),
            (_, Ok(Line::Read | Line::TooLong)) => Err(self.explain_other(&reply)),
            (Err(error), _) | (_, Err(error)) => Err(self.explain_silence(&error)),
            (Ok(()), Ok(Line::None)) => {
                Err(EchoError(format!("{} closed the connection instead of echoing", self.server)))
            }
        }
    }

    fn explain_other(&self, reply: &[u8]) -> EchoError {
        let reply = reply.strip_suffix(b"\n").unwrap_or(reply).escape_ascii();
        EchoError(format!("{} sent something else back: {reply}", self.server))
    }

    fn explain_silence(&self, error: &io::Error) -> EchoError {
        let server = &self.server;
        EchoError(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{server} sent no echo within {} seconds", ECHO_WAIT_MAX.as_secs())
            }
            _ => format!("the connection to {server} broke: {error}"),
        })
    }
}

/// Tries the addresses in turn; the last failure speaks for all of them.
fn connect_to_any(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT_MAX) {
            Ok(stream) => {
                stream.set_read_timeout(Some(ECHO_WAIT_MAX))?;
                stream.set_write_timeout(Some(ECHO_WAIT_MAX))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn explain_bind(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is in use at {}; stop the program that has it, choose another port, or 0 for any free one",
            address.port(),
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("port {} needs rights that you do not have; choose one above 1023", address.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine; 0.0.0.0 stands for all that are", address.ip())
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

fn explain_connect(server: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on {server} (connection refused); is echo_server running there?")
        }
        io::ErrorKind::TimedOut => {
            format!("{server} did not answer within {} seconds", CONNECT_WAIT_MAX.as_secs())
        }
        _ => format!("cannot connect to {server}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(input: &[u8]) -> (Vec<u8>, End) {
        let mut output = Vec::new();
        let end = echo_lines(input, &mut output).expect("memory does not fail");
        (output, end)
    }

    #[test]
    fn bytes_come_back_as_they_went() {
        for input in [&b""[..], b"\n", b"one\ntwo\n", b"no newline", b"\xff\xfe\0\r\n\xc3", "Grüße 🦀\n".as_bytes()]
        {
            assert_eq!(echoed(input), (input.to_vec(), End::OfInput), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_line_may_fill_the_limit_and_not_more() {
        let longest = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(echoed(&longest), (longest.clone(), End::OfInput));
        assert_eq!(echoed(&longest[..LINE_BYTES_MAX]), (longest[..LINE_BYTES_MAX].to_vec(), End::OfInput));

        let too_long = [b"before\n", &vec![b'x'; LINE_BYTES_MAX + 1][..]].concat();
        assert_eq!(echoed(&too_long), (b"before\n".to_vec(), End::LineTooLong));
    }
}
