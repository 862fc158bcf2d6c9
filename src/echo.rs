//! The echo pair: the smallest client and server that prove sockets and threads work here.
//!
//! The client sends a line, the server sends the same bytes back. Lines end with `\n`. The server does not look at what
//! stands before it, so bytes that are not UTF-8 and `\r` travel unchanged, and it echoes a last line without `\n`,
//! too. Each client has a thread of its own, so a client that is silent, or stops in the middle of a line, does not
//! delay others.
//!
//! Caveats: [`CLIENTS_MAX`] silent clients keep others out for as long as they like. Stopping the server cuts
//! connections wherever they are.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Clients served at once. Each costs a thread and up to [`LINE_BYTES_MAX`] of memory, so this bounds both.
pub const CLIENTS_MAX: usize = 256;
/// Clients beyond [`CLIENTS_MAX`] that get an explanation at the same time; further ones are closed without one.
const REFUSALS_MAX: usize = 32;
/// Bytes in a line without its `\n`: more than a person types, and small enough to hold for every client.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long the server waits for a client to take what is echoed to it. One that never reads gives its thread back.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server reads on after an explanation. Closing with unread bytes makes TCP reset the connection, and a
/// reset may overtake the explanation.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after a failed `accept`, which usually means too many open files: trying on at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the client waits for a connection, per address of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the client waits for one echo.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes an address to listen on; port 0 takes any free one.
///
/// # Errors
/// With a sentence, if the address is in use, or may not be used.
pub fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is in use at {}; stop the program that has it, choose another port, or 0 for any free one",
            address.port(),
            address.ip()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine; 0.0.0.0 stands for all that are", address.ip())
        }
        _ => format!("cannot listen on {address}: {error}"),
    })
}

/// Serves clients until the process ends.
pub fn serve(listener: &TcpListener) {
    // Every client's thread holds a clone, so the clones count the clients.
    let seats = Arc::new(());
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            let clients = Arc::strong_count(&seats) - 1;
            let seat = Arc::clone(&seats);
            let attend = move || {
                // An error means that the client went away.
                let _ = attend(&stream, clients < CLIENTS_MAX);
                drop(seat);
            };
            if clients < CLIENTS_MAX + REFUSALS_MAX { thread::Builder::new().spawn(attend).map(drop) } else { Ok(()) }
        });
        if let Err(error) = accepted {
            eprintln!("echo_server: cannot serve a client: {error}");
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn attend(stream: &TcpStream, has_seat: bool) -> io::Result<()> {
    stream.set_write_timeout(Some(SEND_TIMEOUT))?;
    // A client waits for each echo, so none may wait to be sent with the next.
    stream.set_nodelay(true)?;
    if !has_seat {
        let why = format!("{CLIENTS_MAX} clients are being served and there is no room for more; come back later");
        return explain_and_close(stream, &why);
    }
    match echo_lines(BufReader::new(stream), stream) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            explain_and_close(stream, &format!("{error}; goodbye"))
        }
        ended => ended,
    }
}

/// Sends a last line that is not an echo, and makes sure that it arrives.
fn explain_and_close(mut stream: &TcpStream, why: &str) -> io::Result<()> {
    stream.write_all(format!("echo_server: {why}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LINGER))?;
    let (deadline, mut rest) = (Instant::now() + LINGER, vec![0; 16 * 1024]);
    while Instant::now() < deadline && stream.read(&mut rest)? > 0 {}
    Ok(())
}

fn echo_lines(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        output.write_all(&line)?;
    }
    Ok(())
}

/// Reads the next line, with its `\n` unless the input ends without one; `false` at the end of the input. A line beyond
/// [`LINE_BYTES_MAX`] is `InvalidData`.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
        let why = format!("a line may have {LINE_BYTES_MAX} bytes and this one has more");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(!line.is_empty())
}

/// A connection to an echo server.
#[derive(Debug)]
pub struct EchoClient(BufReader<TcpStream>);

impl EchoClient {
    /// Connects to the first address of the host that answers.
    ///
    /// # Errors
    /// With a sentence, if the host is unknown, or none of its addresses answers.
    pub fn connect(host: &str, port: u16) -> Result<EchoClient, String> {
        let addresses = (host, port).to_socket_addrs();
        let addresses = addresses.map_err(|error| format!("the host \"{host}\" is not known here: {error}"))?;
        let mut failure = io::Error::other("it has no address");
        for address in addresses {
            match connect(&address) {
                Ok(stream) => return Ok(EchoClient(BufReader::new(stream))),
                Err(error) => failure = error,
            }
        }
        Err(match failure.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens on {host}:{port} (connection refused); is echo_server running there?")
            }
            _ => format!("cannot connect to {host}:{port}: {failure}"),
        })
    }

    /// Sends every line of `input`, one after the other, and writes each echo to `output` before the next is sent.
    ///
    /// # Errors
    /// With a sentence, at the first line that does not come back as it was sent.
    pub fn echo_all(&mut self, mut input: impl BufRead, mut output: impl Write) -> Result<(), String> {
        let mut line = Vec::new();
        while read_line(&mut input, &mut line).map_err(|error| format!("cannot read the input: {error}"))? {
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            self.echo(&line)?;
            let written = output.write_all(&line).and_then(|()| output.flush());
            written.map_err(|error| format!("cannot write the echo: {error}"))?;
        }
        Ok(())
    }

    /// Sends one line, `\n` included, and waits for it to come back.
    fn echo(&mut self, line: &[u8]) -> Result<(), String> {
        // A server that has no room says so and closes, which may break the sending: what it said matters more.
        let sent = self.0.get_mut().write_all(line);
        let mut reply = Vec::new();
        match (sent, read_line(&mut self.0, &mut reply)) {
            (_, Ok(true)) if reply == line => Ok(()),
            (_, Ok(true)) => {
                Err(format!("the server sent something else back: {}", reply.trim_ascii_end().escape_ascii()))
            }
            (Ok(()), Ok(false)) => Err("the server closed the connection instead of echoing".to_owned()),
            (Err(error), _) | (_, Err(error)) => Err(match error.kind() {
                io::ErrorKind::WouldBlock => format!("the server sent no echo within {} s", ECHO_TIMEOUT.as_secs()),
                _ => format!("the server sent no echo: {error}"),
            }),
        }
    }
}

fn connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(ECHO_TIMEOUT))?;
    stream.set_write_timeout(Some(ECHO_TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back, and whether all of the input did.
    fn echoed(input: &[u8]) -> (Vec<u8>, bool) {
        let mut output = Vec::new();
        let ended = echo_lines(input, &mut output);
        (output, ended.is_ok())
    }

    #[test]
    fn bytes_come_back_as_they_went() {
        for input in [&b""[..], b"\n", b"one\ntwo\n", b"no newline", b"\xff\xfe\0\r\n\xc3", "Grüße 🦀\n".as_bytes()]
        {
            assert_eq!(echoed(input), (input.to_vec(), true), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_line_may_fill_the_limit_and_not_more() {
        let longest = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(echoed(&longest), (longest.clone(), true));
        assert_eq!(echoed(&longest[..LINE_BYTES_MAX]), (longest[..LINE_BYTES_MAX].to_vec(), true));

        let too_long = [b"before\n", &vec![b'x'; LINE_BYTES_MAX + 1][..]].concat();
        assert_eq!(echoed(&too_long), (b"before\n".to_vec(), false));
    }
}
