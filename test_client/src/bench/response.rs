//! Reads the answers that come over one connection, however they are cut into pieces.
//!
//! It takes what servers may send: a body of a told length, in chunks, or until the connection closes. It keeps the
//! beginning of the body and counts the rest. What HTTP does not allow is [`Garbage`], and the end of the connection.

use httparse::{EMPTY_HEADER, Response, Status};
use std::mem;

/// Longest head. A node's has a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most lines of a head.
const HEADERS_MAX: usize = 64;

/// Longest line that tells the size of a chunk, and longest trailer.
const LINE_BYTES_MAX: usize = 1024;

/// What cannot be understood, in a few words.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Garbage(pub(super) &'static str);

/// What was read of an answer.
#[derive(Debug)]
pub(super) struct AnswerReader {
    part: Part,
    /// The head, or the line, that is not complete.
    pending: Vec<u8>,
    status: u16,
    closes: bool,
    body: Vec<u8>,
    body_bytes: u64,
    body_kept_max: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Head,
    /// So many bytes of the body, which is complete then.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The empty line behind a chunk.
    ChunkEnd,
    /// Trailers, up to an empty line.
    Trailer,
    BodyUntilClosed,
    Nothing,
}

impl AnswerReader {
    /// A reader that keeps so much of each body.
    pub(super) fn new(body_kept_max: usize) -> AnswerReader {
        AnswerReader {
            part: Part::Head,
            pending: Vec::new(),
            status: 0,
            closes: false,
            body: Vec::new(),
            body_bytes: 0,
            body_kept_max,
        }
    }

    /// Makes ready for the next answer.
    pub(super) fn begin(&mut self) {
        self.part = Part::Head;
        self.pending.clear();
        self.body.clear();
        self.body_bytes = 0;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.part == Part::Nothing
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the server takes no other request on this connection.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The beginning of the body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// How long the body is.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes what came. Gives back how much of it belongs to this answer: all, unless the answer is complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Garbage> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_complete() {
            let taken = match self.part {
                Part::Head => self.take_head(rest)?,
                Part::Body(left) => self.take_body(rest, left, Part::Body, Part::Nothing),
                Part::Chunk(left) => self.take_body(rest, left, Part::Chunk, Part::ChunkEnd),
                Part::BodyUntilClosed => self.take_body(rest, u64::MAX, |_| Part::BodyUntilClosed, Part::Nothing),
                Part::ChunkSize | Part::ChunkEnd | Part::Trailer => self.take_line(rest)?,
                Part::Nothing => 0,
            };
            rest = &rest[taken..];
        }
        Ok(bytes.len() - rest.len())
    }

    /// The server closed the connection. That completes some answers.
    pub(super) fn closed(&mut self) -> Result<(), Garbage> {
        self.closes = true;
        match self.part {
            Part::Nothing => Ok(()),
            Part::BodyUntilClosed => {
                self.part = Part::Nothing;
                Ok(())
            }
            Part::Head if self.pending.is_empty() => Err(Garbage("closed before an answer")),
            _ => Err(Garbage("closed within an answer")),
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, Garbage> {
        let before = self.pending.len();
        let room = HEAD_BYTES_MAX - before;
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        match response.parse(&self.pending) {
            Err(_) => Err(Garbage("not an answer in HTTP")),
            Ok(Status::Partial) if bytes.len() >= room => Err(Garbage("a head without an end")),
            Ok(Status::Partial) => Ok(bytes.len()),
            Ok(Status::Complete(length)) => {
                let head = Head::understand(&response)?;
                self.pending.clear();
                self.status = head.status;
                self.closes = head.closes;
                self.part = head.body;
                Ok(length - before)
            }
        }
    }

    fn take_body(&mut self, bytes: &[u8], left: u64, more: impl Fn(u64) -> Part, then: Part) -> usize {
        let taken = usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left));
        let kept = taken.min(self.body_kept_max - self.body.len());
        self.body.extend_from_slice(&bytes[..kept]);
        self.body_bytes += taken as u64;
        let left = left - taken as u64;
        self.part = if left == 0 { then } else { more(left) };
        taken
    }

    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, Garbage> {
        let end = bytes.iter().position(|&byte| byte == b'\n').map(|position| position + 1);
        let taken = end.unwrap_or(bytes.len());
        if self.pending.len() + taken > LINE_BYTES_MAX {
            return Err(Garbage("a line without an end between chunks"));
        }
        self.pending.extend_from_slice(&bytes[..taken]);
        if end.is_some() {
            let line = mem::take(&mut self.pending);
            self.part = after_line(self.part, &line)?;
            self.pending = line;
            self.pending.clear();
        }
        Ok(taken)
    }
}

/// What comes after a line between chunks.
fn after_line(part: Part, line: &[u8]) -> Result<Part, Garbage> {
    let is_empty = line == b"\r\n";
    match part {
        Part::ChunkEnd if is_empty => Ok(Part::ChunkSize),
        Part::ChunkEnd => Err(Garbage("a chunk longer than it said")),
        Part::Trailer => Ok(if is_empty { Part::Nothing } else { Part::Trailer }),
        _ => match httparse::parse_chunk_size(line) {
            Ok(Status::Complete((_, 0))) => Ok(Part::Trailer),
            Ok(Status::Complete((_, size))) => Ok(Part::Chunk(size)),
            _ => Err(Garbage("a chunk without a size")),
        },
    }
}

/// What a head says of the answer.
struct Head {
    status: u16,
    closes: bool,
    body: Part,
}

impl Head {
    fn understand(response: &Response<'_, '_>) -> Result<Head, Garbage> {
        let status = response.code.unwrap_or_default();
        let mut closes = response.version == Some(0);
        let (mut length, mut chunked) = (None, false);
        for header in response.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("Content-Length") {
                let told = content_length(value)?;
                if length.is_some_and(|length| length != told) {
                    return Err(Garbage("two lengths"));
                }
                length = Some(told);
            } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Garbage("a transfer encoding other than chunked"));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("Connection") {
                closes = (closes || names(value, b"close")) && !names(value, b"keep-alive");
            }
        }
        let body = match (status, length, chunked) {
            // An interim answer: the one that counts comes after it.
            (100..=199, ..) => Part::Head,
            (204 | 304, ..) | (_, Some(0), false) => Part::Nothing,
            (_, _, true) => Part::ChunkSize,
            (_, Some(length), false) => Part::Body(length),
            (_, None, false) => Part::BodyUntilClosed,
        };
        Ok(Head { status, closes, body })
    }
}

fn content_length(value: &[u8]) -> Result<u64, Garbage> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.ok_or(Garbage("a length that is not a number"))
}

/// Whether a list has this word.
fn names(list: &[u8], word: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "HTTP/1.1 201 Created\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n";
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello";
    const CLOSING: &str = "HTTP/1.1 503 No\r\nConnection: Keep, close\r\nContent-Length: 5\r\n\r\nhello";
    const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    fn read(pieces: &[&[u8]]) -> Result<AnswerReader, Garbage> {
        let mut reader = AnswerReader::new(100);
        for piece in pieces {
            assert_eq!(reader.take(piece)?, piece.len(), "{reader:?}");
        }
        Ok(reader)
    }

    fn garbage(bytes: &str) -> &'static str {
        read(&[bytes.as_bytes()]).map(drop).unwrap_err().0
    }

    #[test]
    fn an_answer_may_be_cut_anywhere() {
        for (answer, status, body, closes) in [
            (PLAIN, 201, "hello", false),
            (CHUNKED, 200, "hello", false),
            (INTERIM, 201, "hello", false),
            (CLOSING, 503, "hello", true),
            (EMPTY, 204, "", false),
        ] {
            let bytes = answer.as_bytes();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let cuts = (0..bytes.len()).map(|cut| vec![&bytes[..cut], &bytes[cut..]]);
            for pieces in cuts.chain([single]) {
                let reader = read(&pieces).unwrap();
                assert!(reader.is_complete(), "{pieces:?}");
                assert_eq!((reader.status(), reader.body()), (status, body.as_bytes()), "{pieces:?}");
                assert_eq!((reader.body_bytes(), reader.closes()), (body.len() as u64, closes));
            }
            for cut in 0..bytes.len() {
                let mut reader = read(&[&bytes[..cut]]).unwrap();
                assert!(!reader.is_complete() && reader.closed().is_err(), "{cut} bytes of {answer:?}");
            }
        }
    }

    #[test]
    fn what_follows_an_answer_is_left() {
        for answer in [PLAIN, CHUNKED, EMPTY] {
            let two = format!("{answer}{answer}");
            let mut reader = AnswerReader::new(100);
            assert_eq!(reader.take(two.as_bytes()), Ok(answer.len()));
            assert!(reader.is_complete());
            reader.begin();
            assert_eq!(reader.take(answer.as_bytes()), Ok(answer.len()));
            assert!(reader.is_complete());
        }
    }

    #[test]
    fn a_body_may_end_with_the_connection() {
        let mut reader = read(&[b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"]).unwrap();
        assert!(!reader.is_complete() && reader.closes());
        reader.closed().unwrap();
        assert!(reader.is_complete());
        assert_eq!(reader.body(), b"hello");
        assert!(!read(&[b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"]).unwrap().closes());
    }

    #[test]
    fn a_long_body_is_counted_and_not_kept() {
        let mut reader = AnswerReader::new(3);
        reader.take(PLAIN.as_bytes()).unwrap();
        assert_eq!((reader.body(), reader.body_bytes()), (&b"hel"[..], 5));
    }

    #[test]
    fn garbage_is_told() {
        assert_eq!(garbage("SSH-2.0-OpenSSH_9.2\r\n"), "not an answer in HTTP");
        let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        assert_eq!(garbage(&head("Content-Length: +5")), "a length that is not a number");
        assert_eq!(garbage(&head("Content-Length: 99999999999999999999")), "a length that is not a number");
        assert_eq!(garbage(&head("Content-Length: 5\r\nContent-Length: 6")), "two lengths");
        assert_eq!(garbage(&head("Transfer-Encoding: gzip, chunked")), "a transfer encoding other than chunked");
        let chunks = |body: &str| format!("{}{body}", head("Transfer-Encoding: chunked"));
        assert_eq!(garbage(&chunks("five\r\n")), "a chunk without a size");
        assert_eq!(garbage(&chunks("3\r\nhello\r\n")), "a chunk longer than it said");
        assert_eq!(garbage(&chunks(&"0".repeat(2000))), "a line without an end between chunks");
        assert_eq!(garbage(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000))), "a head without an end");
    }
}
