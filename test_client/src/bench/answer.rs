//! Reads the answers that come over one connection, however TCP cuts them into pieces.
//!
//! A body has a length, comes in chunks, or ends with the connection. The reader keeps the beginning of the body and
//! counts the rest. Invalid HTTP is a short error, after which the connection closes.

use httparse::{EMPTY_HEADER, Response, Status};

/// The longest head, and the longest line between chunks. A node's head has a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most lines of a head.
const HEADERS_MAX: usize = 64;

/// One answer, as far as it has arrived.
#[derive(Debug)]
pub(super) struct Answer {
    next: Part,
    /// Bytes that have arrived and are not parsed yet: a part of a head or of a line.
    pending: Vec<u8>,
    status: u16,
    closes: bool,
    body: Vec<u8>,
    body_bytes: u64,
    body_kept_max: usize,
}

/// The part that comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Head,
    /// So many bytes, which complete the body.
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

impl Answer {
    /// Keeps so many bytes of each body.
    pub(super) fn new(body_kept_max: usize) -> Answer {
        let (pending, body) = (Vec::new(), Vec::new());
        Answer { next: Part::Head, pending, status: 0, closes: false, body, body_bytes: 0, body_kept_max }
    }

    /// Prepares for the next answer.
    pub(super) fn begin(&mut self) {
        self.next = Part::Head;
        self.pending.clear();
        self.body.clear();
        self.body_bytes = 0;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.next == Part::Nothing
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection must not carry another request: the server closes it, or sent more than one answer.
    pub(super) fn closes(&self) -> bool {
        self.closes || !self.pending.is_empty()
    }

    /// The beginning of the body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The length of the body.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes bytes that arrived.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut arrived = std::mem::take(&mut self.pending);
        arrived.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = self.understand(&arrived[taken..])? {
            taken += length;
        }
        arrived.drain(..taken);
        self.pending = arrived;
        Ok(())
    }

    /// Handles the end of the connection, which completes some answers.
    pub(super) fn closed(&mut self) -> Result<(), &'static str> {
        self.closes = true;
        match self.next {
            Part::Nothing => {}
            Part::BodyUntilClosed => self.next = Part::Nothing,
            Part::Head if self.pending.is_empty() => return Err("closed before an answer"),
            _ => return Err("closed within an answer"),
        }
        Ok(())
    }

    /// Parses the next part. Returns its length, or `None` if more has to arrive first.
    fn understand(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let length = match self.next {
            Part::Nothing => None,
            _ if bytes.is_empty() => None,
            Part::Head => self.head(bytes)?,
            Part::Body(left) => Some(self.keep(bytes, left, Part::Body, Part::Nothing)),
            Part::Chunk(left) => Some(self.keep(bytes, left, Part::Chunk, Part::ChunkEnd)),
            Part::BodyUntilClosed => Some(self.keep(bytes, u64::MAX, |_| Part::BodyUntilClosed, Part::Nothing)),
            Part::ChunkSize | Part::ChunkEnd | Part::Trailer => self.line(bytes)?,
        };
        match length {
            None if bytes.len() > HEAD_BYTES_MAX && !self.is_complete() => Err("a head or a line without an end"),
            length => Ok(length),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        match response.parse(bytes) {
            Err(_) => Err("not an answer in HTTP"),
            Ok(Status::Partial) => Ok(None),
            Ok(Status::Complete(length)) => {
                self.status = response.code.unwrap_or_default();
                (self.next, self.closes) = framing(&response)?;
                Ok(Some(length))
            }
        }
    }

    fn keep(&mut self, bytes: &[u8], left: u64, more: impl Fn(u64) -> Part, then: Part) -> usize {
        let taken = usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left));
        let kept = taken.min(self.body_kept_max - self.body.len());
        self.body.extend_from_slice(&bytes[..kept]);
        self.body_bytes += taken as u64;
        let left = left - taken as u64;
        self.next = if left == 0 { then } else { more(left) };
        taken
    }

    fn line(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line = &bytes[..=end];
        self.next = match self.next {
            Part::ChunkEnd if line == b"\r\n" => Part::ChunkSize,
            Part::ChunkEnd => return Err("a chunk longer than it said"),
            Part::Trailer if line == b"\r\n" => Part::Nothing,
            Part::Trailer => Part::Trailer,
            _ => match httparse::parse_chunk_size(line) {
                Ok(Status::Complete((_, 0))) => Part::Trailer,
                Ok(Status::Complete((_, size))) => Part::Chunk(size),
                _ => return Err("a chunk without a size"),
            },
        };
        Ok(Some(line.len()))
    }
}

/// The part after a head, and whether the server closes the connection after this answer.
fn framing(response: &Response<'_, '_>) -> Result<(Part, bool), &'static str> {
    let mut closes = response.version == Some(0);
    let (mut length, mut is_chunked) = (None, false);
    for header in response.headers.iter() {
        let value = str::from_utf8(header.value).unwrap_or_default().trim().to_ascii_lowercase();
        match &*header.name.to_ascii_lowercase() {
            "content-length" if !value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err("a length that is not a number");
            }
            "content-length" => length = Some(value.parse().map_err(|_| "a length that is not a number")?),
            "transfer-encoding" if value == "chunked" => is_chunked = true,
            "transfer-encoding" => return Err("a transfer encoding other than chunked"),
            "connection" => closes = value.contains("close") || closes && !value.contains("keep-alive"),
            _ => {}
        }
    }
    let next = match (response.code.unwrap_or_default(), length, is_chunked) {
        // An interim answer: the final one comes after it.
        (100..=199, ..) => Part::Head,
        (204 | 304, ..) | (_, Some(0), false) => Part::Nothing,
        (_, _, true) => Part::ChunkSize,
        (_, Some(length), false) => Part::Body(length),
        (_, None, false) => Part::BodyUntilClosed,
    };
    Ok((next, closes))
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

    fn read(pieces: &[&[u8]]) -> Result<Answer, &'static str> {
        let mut answer = Answer::new(100);
        pieces.iter().try_for_each(|piece| answer.take(piece)).map(|()| answer)
    }

    #[test]
    fn an_answer_may_be_cut_anywhere() {
        for (text, status, body, closes) in [
            (PLAIN, 201, "hello", false),
            (CHUNKED, 200, "hello", false),
            (INTERIM, 201, "hello", false),
            (CLOSING, 503, "hello", true),
            (EMPTY, 204, "", false),
        ] {
            let bytes = text.as_bytes();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let cuts = (0..bytes.len()).map(|cut| vec![&bytes[..cut], &bytes[cut..]]);
            for pieces in cuts.chain([single]) {
                let answer = read(&pieces).unwrap();
                assert!(answer.is_complete(), "{pieces:?}");
                assert_eq!((answer.status(), answer.body()), (status, body.as_bytes()), "{pieces:?}");
                assert_eq!((answer.body_bytes(), answer.closes()), (body.len() as u64, closes));
            }
            for cut in 0..bytes.len() {
                let mut answer = read(&[&bytes[..cut]]).unwrap();
                assert!(!answer.is_complete() && answer.closed().is_err(), "{cut} bytes of {text:?}");
            }
            let mut two = read(&[bytes, bytes]).unwrap();
            assert!(two.is_complete() && two.closes(), "{text:?} twice");
            two.begin();
            two.take(bytes).unwrap();
            assert!(two.is_complete());
        }
    }

    #[test]
    fn a_body_may_end_with_the_connection() {
        let mut answer = read(&[b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"]).unwrap();
        assert!(!answer.is_complete() && answer.closes());
        answer.closed().unwrap();
        assert_eq!((answer.is_complete(), answer.body()), (true, &b"hello"[..]));
        assert!(!read(&[b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"]).unwrap().closes());
    }

    #[test]
    fn a_long_body_is_counted_and_not_kept() {
        let mut answer = Answer::new(3);
        answer.take(PLAIN.as_bytes()).unwrap();
        assert_eq!((answer.body(), answer.body_bytes()), (&b"hel"[..], 5));
    }

    #[test]
    fn what_http_does_not_allow_is_an_error() {
        let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        let chunks = |body: &str| format!("{}{body}", head("Transfer-Encoding: chunked"));
        for (wrong, why) in [
            ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "not an answer in HTTP"),
            (head("Content-Length: +5"), "a length that is not a number"),
            (head("Content-Length: 99999999999999999999"), "a length that is not a number"),
            (head("Transfer-Encoding: gzip, chunked"), "a transfer encoding other than chunked"),
            (chunks("five\r\n"), "a chunk without a size"),
            (chunks("3\r\nhello\r\n"), "a chunk longer than it said"),
            (chunks(&"0".repeat(20_000)), "a head or a line without an end"),
            (format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)), "a head or a line without an end"),
        ] {
            assert_eq!(read(&[wrong.as_bytes()]).map(drop), Err(why), "{wrong}");
        }
    }
}
