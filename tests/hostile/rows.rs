//! Bad requests, one by one: what is wrong with each, what it gets, and its bytes.
//!
//! Every message in them says `bad`, and every request hidden behind another one says `smuggled`: neither may ever be
//! found in the log.

use super::support::{get, post, post_with};

/// What a client is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gets {
    /// A status, and a sentence in JSON. The connection goes on.
    Refused(u16),
    /// The same, and `Connection: close`: nothing that follows is acted on.
    RefusedAtLast(u16),
    /// A status and nothing else: the HTTP library answers by itself. Then the connection ends.
    Curt(u16),
    /// The connection ends without an answer.
    Closed,
    /// It is served as if nothing were wrong.
    Served(u16),
    /// Neither an answer nor an end.
    Silence,
    /// The connection stays as long as something drips in.
    KeptByDrops,
    /// Not tried here: it would take gigabytes, or hours.
    Untried,
}

/// A bad request.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) gets: Gets,
    pub(crate) sent: Vec<u8>,
}

fn row(what: &'static str, gets: Gets, sent: impl Into<Vec<u8>>) -> Row {
    Row { what, gets, sent: sent.into() }
}

/// A body of 17 bytes.
const BAD: &str = r#"{"message":"bad"}"#;
const SMUGGLED: &str = "POST /messages HTTP/1.1\r\nHost: node\r\nContent-Length: 22\r\n\r\n{\"message\":\"smuggled\"}";

/// A post of [`BAD`], with these header lines added to those it needs.
fn post_and(headers: &str) -> String {
    post_with(&format!("Content-Length: 17\r\n{headers}"), BAD)
}

/// A post of [`BAD`] with these header lines only, and another request behind it.
fn smuggling(headers: &str) -> String {
    post_with(headers, BAD) + SMUGGLED
}

/// A head without a body.
fn head(request_line: &str, headers: &str) -> String {
    format!("{request_line}\r\n{headers}\r\n")
}

/// Requests whose head is wrong.
pub(crate) fn bad_heads() -> Vec<Row> {
    use Gets::{Curt, Refused, RefusedAtLast};
    let chunked = |headers: &str| format!("{headers}Transfer-Encoding: chunked\r\n");
    vec![
        // Where does the body end? If two readers could disagree, the connection ends.
        row("two lengths that agree", RefusedAtLast(400), smuggling("Content-Length: 17\r\nContent-Length: 17\r\n")),
        row("two lengths that differ", RefusedAtLast(400), smuggling("Content-Length: 17\r\nContent-Length: 99\r\n")),
        row(
            "two lengths, the longer first",
            RefusedAtLast(400),
            smuggling("Content-Length: 40\r\nContent-Length: 1\r\n"),
        ),
        row("a list of lengths", RefusedAtLast(400), smuggling("Content-Length: 17, 17\r\n")),
        row("a length with a sign", RefusedAtLast(400), smuggling("Content-Length: +17\r\n")),
        row("a negative length", RefusedAtLast(400), smuggling("Content-Length: -1\r\n")),
        row("a length in letters", RefusedAtLast(400), smuggling("Content-Length: abc\r\n")),
        row("a hexadecimal length", RefusedAtLast(400), smuggling("Content-Length: 0x11\r\n")),
        row("a length with a gap", RefusedAtLast(400), smuggling("Content-Length: 1 7\r\n")),
        row("a fraction as length", RefusedAtLast(400), smuggling("Content-Length: 17.0\r\n")),
        row("an empty length", RefusedAtLast(400), smuggling("Content-Length:\r\n")),
        row("a length of 2^64", RefusedAtLast(413), smuggling("Content-Length: 18446744073709551616\r\n")),
        row("a length of 60 digits", RefusedAtLast(413), smuggling(&format!("Content-Length: {}\r\n", "9".repeat(60)))),
        row("a length and chunks", RefusedAtLast(400), smuggling(&chunked("Content-Length: 17\r\n"))),
        row(
            "chunks and a length",
            RefusedAtLast(400),
            smuggling("Transfer-Encoding: chunked\r\nContent-Length: 17\r\n"),
        ),
        row("two encodings", RefusedAtLast(501), smuggling(&chunked("Transfer-Encoding: chunked\r\n"))),
        row("the encoding identity", RefusedAtLast(501), smuggling("Transfer-Encoding: identity\r\n")),
        row(
            "an encoding that only looks like chunked",
            RefusedAtLast(501),
            smuggling("Transfer-Encoding: xchunked\r\n"),
        ),
        row("an encoding beyond chunked", RefusedAtLast(501), smuggling("Transfer-Encoding: chunked, gzip\r\n")),
        row("an encoding before chunked", RefusedAtLast(501), smuggling("Transfer-Encoding: gzip, chunked\r\n")),
        row("an empty encoding", RefusedAtLast(501), smuggling("Transfer-Encoding:\r\n")),
        row("a blank before the colon", Curt(400), smuggling("Transfer-Encoding : chunked\r\n")),
        row("a blank before the colon of a length", Curt(400), smuggling("Content-Length : 17\r\n")),
        row(
            "chunks in HTTP/1.0",
            RefusedAtLast(400),
            "POST /messages HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"message\":\"bad\"}\r\n0\r\n\r\n",
        ),
        row(
            "a chunk of no size",
            RefusedAtLast(400),
            post_with(&chunked(""), "\r\n{\"message\":\"bad\"}\r\n0\r\n\r\n"),
        ),
        row("a chunk of a strange size", RefusedAtLast(400), post_with(&chunked(""), "xyz\r\nbad\r\n0\r\n\r\n")),
        row("a chunk of 2^64 bytes", RefusedAtLast(400), post_with(&chunked(""), "10000000000000000\r\nbad")),
        row(
            "a chunk that is longer than its size",
            RefusedAtLast(400),
            post_with(&chunked(""), "3\r\nbad bad\r\n0\r\n\r\n"),
        ),
        row(
            "chunks of text",
            RefusedAtLast(411),
            post_with(&chunked("Content-Type: text/plain\r\n"), "3\r\nbad\r\n0\r\n\r\n"),
        ),
        row(
            "chunks behind an offer to upgrade",
            RefusedAtLast(411),
            post_with(&chunked("Connection: Upgrade\r\nUpgrade: h2c\r\n"), "11\r\n{\"message\":\"bad\"}\r\n0\r\n\r\n"),
        ),
        row("another charset", Refused(415), post_and("Content-Type: text/plain; charset=utf-16\r\n")),
        row("a compressed body", Refused(415), post_and("Content-Encoding: gzip\r\n")),
        row("two types", RefusedAtLast(400), post_and("Content-Type: text/plain\r\nContent-Type: text/plain\r\n")),
        row("two keys", RefusedAtLast(400), post_and("Idempotency-Key: a\r\nIdempotency-Key: b\r\n")),
        row("a tag that is no position", Refused(400), post_and("If-Match: \"x\"\r\n")),
        row("a weak tag", Refused(412), post_and("If-Match: W/\"1\"\r\n")),
        row("only if there is nothing", Refused(400), post_and("If-None-Match: *\r\n")),
        // Bodies that are not taken.
        row("neither length nor chunks", Refused(411), head("POST /messages HTTP/1.1", "Host: node\r\n")),
        row("a byte over the body limit", RefusedAtLast(413), post_with("Content-Length: 8388609\r\n", "x")),
        row(
            "a terabyte, of which one byte comes",
            RefusedAtLast(413),
            post_with("Content-Length: 1099511627776\r\n", "x"),
        ),
        row(
            "2^62 bytes, of which one comes",
            RefusedAtLast(413),
            post_with("Content-Length: 4611686018427387904\r\n", "x"),
        ),
        row(
            "a terabyte for a path that is not there",
            RefusedAtLast(413),
            "POST /nowhere HTTP/1.1\r\nHost: node\r\nContent-Length: 1099511627776\r\n\r\nx",
        ),
        row(
            "a terabyte, after a question whether to send it",
            RefusedAtLast(413),
            post_with("Content-Length: 1099511627776\r\nExpect: 100-continue\r\n", ""),
        ),
        row(
            "a body over the limit, after a question whether to send it",
            RefusedAtLast(413),
            post_with("Content-Length: 8388609\r\nExpect: 100-continue\r\n", ""),
        ),
        row(
            "a body of another type, after a question whether to send it",
            RefusedAtLast(415),
            post_with("Content-Length: 17\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n", ""),
        ),
        row("an unknown expectation", Curt(417), post_and("Expect: a miracle\r\n")),
        row("a type that is not JSON", Refused(415), post_and("Content-Type: application/xml\r\n")),
        row("a type that only begins like JSON", Refused(415), post_and("Content-Type: application/json-patch\r\n")),
        row("an empty type", Refused(415), post_and("Content-Type:\r\n")),
        // Which host is asked?
        row("no host", RefusedAtLast(400), head("GET /messages HTTP/1.1", "")),
        row("two hosts", RefusedAtLast(400), head("GET /messages HTTP/1.1", "Host: a\r\nHost: b\r\n")),
        row("an empty host", RefusedAtLast(400), head("GET /messages HTTP/1.1", "Host:\r\n")),
        row("a user in the host", RefusedAtLast(400), head("GET /messages HTTP/1.1", "Host: user@node\r\n")),
        row("a list of hosts", RefusedAtLast(400), head("GET /messages HTTP/1.1", "Host: a,b\r\n")),
        row("a path in the host", RefusedAtLast(400), head("GET /messages HTTP/1.1", "Host: node/path\r\n")),
        // What is asked?
        row("a version to come", Curt(400), head("GET /messages HTTP/9.9", "Host: node\r\n")),
        row("a version of the past", RefusedAtLast(400), head("GET /messages HTTP/0.9", "Host: node\r\n")),
        row("no version", Curt(400), head("GET /messages", "Host: node\r\n")),
        row("two blanks in the request line", Curt(400), head("GET  /messages HTTP/1.1", "Host: node\r\n")),
        row("words that are no request", Curt(400), "hello\r\n\r\n"),
        row("a NUL in the path", RefusedAtLast(400), get("/messages\0")),
        row("a DEL in the path", RefusedAtLast(400), get("/messages\x7f")),
        row("a bare CR in the path", RefusedAtLast(400), get("/mess\rages")),
        row("an address of another protocol", RefusedAtLast(400), get("ftp://node/messages")),
        row("an address with a user", RefusedAtLast(400), get("http://user@node/messages")),
        row("a tunnel", RefusedAtLast(400), head("CONNECT other:443 HTTP/1.1", "Host: other:443\r\n")),
        row("a path of 2,049 bytes", RefusedAtLast(414), get(&format!("/{}", "a".repeat(2_048)))),
        row("a path of 1 MiB", RefusedAtLast(414), get(&format!("/{}", "a".repeat(1 << 20)))),
        row("an unknown path", Refused(404), get("/nowhere")),
        row("two slashes", Refused(404), get("//messages")),
        row("a slash at the end", Refused(404), get("/messages/")),
        row("a way up", Refused(404), get("/messages/../health")),
        row("a way up in disguise", Refused(404), get("/messages/%2e%2e/health")),
        row("an encoded NUL", Refused(404), get("/messages%00")),
        row("a path in capitals", Refused(404), get("/MESSAGES")),
        row("a post to an unknown path", Refused(404), post(BAD).replace("/messages", "/message")),
        row("the secondaries' own path", Refused(404), get("/replicate/state")),
        row("a known path, another method", Refused(405), head("DELETE /messages HTTP/1.1", "Host: node\r\n")),
        row("another method, with a body", Refused(405), post(BAD).replace("POST", "PUT")),
        row("a trace", Refused(405), head("TRACE /messages HTTP/1.1", "Host: node\r\n")),
        row("a tunnel through a path", Refused(405), head("CONNECT /messages HTTP/1.1", "Host: node\r\n")),
        row("a post to where one only reads", Refused(405), post(BAD).replace("/messages", "/health")),
        row("a method that is none", Refused(501), head("BREW /messages HTTP/1.1", "Host: node\r\n")),
        row("a method in small letters", Refused(501), post(BAD).replace("POST", "post")),
        row("no method and no path either", Refused(501), head("BREW /coffee HTTP/1.1", "Host: node\r\n")),
        // Header lines.
        row("a header without a colon", Curt(400), post_and("just words\r\n")),
        row("a header without a name", RefusedAtLast(400), post_and(": value\r\n")),
        row("a header name in brackets", RefusedAtLast(400), post_and("[name]: value\r\n")),
        row("a header that goes on in the next line", Curt(400), post_and("X: a\r\n b\r\n")),
        row("a NUL in a header", RefusedAtLast(400), post_and("X: a\0b\r\n")),
        row("a bare CR in a header", RefusedAtLast(400), post_and("X: a\rb\r\n")),
        row("an escape sequence in a header", RefusedAtLast(400), post_and("X: \x1b[31m\x1b[0m.\r\n")),
        row("65 header lines", RefusedAtLast(431), post_and(&"X: y\r\n".repeat(63))),
        row("100,000 header lines", RefusedAtLast(431), post_and(&"X: y\r\n".repeat(100_000))),
        row("a header line of 20 KiB", RefusedAtLast(431), post_and(&format!("X: {}\r\n", "y".repeat(20 << 10)))),
    ]
}

/// Requests to post a message whose body is wrong.
pub(crate) fn bad_messages() -> Vec<Row> {
    use Gets::Refused;
    let message = |what, body: &[u8]| {
        let head = format!("POST /messages HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len());
        row(what, Refused(400), [head.as_bytes(), body].concat())
    };
    let text = |what, body: &[u8]| {
        let head = "POST /messages HTTP/1.1\r\nHost: node\r\nContent-Type: text/plain\r\n";
        row(what, Refused(400), [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat())
    };
    let too_long = format!("{{\"message\":\"{}\"}}", "x".repeat((1 << 20) + 1));
    vec![
        message("nothing", b""),
        message("not JSON", b"message=bad"),
        message("JSON that is cut off", br#"{"message":"bad""#),
        message("bytes behind the JSON", br#"{"message":"bad"} {"message":"bad"}"#),
        message("an empty list", b"[]"),
        message("a list that ends too early", br#"["bad""#),
        message("a list in a list", br#"[["bad"]]"#),
        message("a list of two, one of which is no message", br#"["bad",null]"#),
        message("a list and more", br#"["bad"],["bad"]"#),
        message("a string", br#""bad""#),
        message("a number", b"7"),
        message("a number beyond all numbers", b"1e999"),
        message("null", b"null"),
        message("a byte order mark", b"\xef\xbb\xbf{\"message\":\"bad\"}"),
        message("not UTF-8", b"{\"message\":\"bad \xff\"}"),
        message("UTF-16", b"{\0\"\0m\0\"\0}\0"),
        message("half of a pair of surrogates", br#"{"message":"bad \ud800"}"#),
        message("a line break within a string", b"{\"message\":\"bad\nbad\"}"),
        message("60,000 lists within each other", "[".repeat(60_000).as_bytes()),
        message("60,000 objects within each other", r#"{"message":"#.repeat(60_000).as_bytes()),
        message("200 lists where the text should be", format!("{{\"message\":{}", "[".repeat(200)).as_bytes()),
        message("neither message nor msg", b"{}"),
        message("both", br#"{"message":"bad","msg":"bad"}"#),
        message("the same field twice", br#"{"message":"bad","message":"bad"}"#),
        message("an unknown field", br#"{"message":"bad","colour":"red"}"#),
        message("more copies than there are nodes", br#"{"message":"bad","w":3}"#),
        message("copies that are no number", br#"{"message":"bad","w":{}}"#),
        message("copies in quotation marks", br#"{"message":"bad","w":"1"}"#),
        message("copies with a fraction", br#"{"message":"bad","w":1.0}"#),
        message("a timeout in quotation marks", br#"{"message":"bad","timeout":"1"}"#),
        message("a timeout that is no time", br#"{"message":"bad","timeout":-1}"#),
        message("null as text", br#"{"message":null}"#),
        message("null as the other text", br#"{"message":"bad","msg":null}"#),
        message("a number as text", br#"{"message":1}"#),
        message("a list as text", br#"{"message":["bad"]}"#),
        text("text that is not UTF-8", b"bad \xff\xfe"),
        row("a message a byte over the limit", Refused(413), post(&too_long)),
        row("a text a byte over the limit", Refused(413), {
            let text = "x".repeat((1 << 20) + 1);
            post_with(&format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", text.len()), &text)
        }),
    ]
}

/// Reads with wrong parameters, of any node.
pub(crate) fn bad_reads() -> Vec<Row> {
    use Gets::Refused;
    [
        ("a word as from", 400, "/messages?from=abc"),
        ("nothing as from", 400, "/messages?from="),
        ("from without a value", 400, "/messages?from"),
        ("a negative from", 400, "/messages?from=-1"),
        ("a from with a sign", 400, "/messages?from=+1"),
        ("a fraction as from", 400, "/messages?from=1.5"),
        ("a from of 2^64", 400, "/messages?from=18446744073709551616"),
        ("a from given twice", 400, "/messages?from=1&from=2"),
        ("a position of another log", 410, "/messages?from=1.0.00000000000000000000000000000001"),
        ("a position beyond the end", 410, "/messages?from=18446744073709551615"),
        ("half a position", 400, "/messages?from=1.1"),
        ("a word as limit", 400, "/messages?limit=all"),
        ("a negative limit", 400, "/messages?limit=-5"),
        ("a limit of 2^64", 400, "/messages?limit=18446744073709551616"),
        ("an unknown view", 400, "/messages?view=xml"),
        ("an unknown parameter", 400, "/messages?offset=3"),
        ("a parameter in capitals", 400, "/messages?FROM=3"),
        ("message 0", 404, "/messages/0"),
        ("a message to come", 404, "/messages/999999"),
        ("message 2^64", 404, "/messages/18446744073709551616"),
        ("a message with a sign", 404, "/messages/+1"),
        ("a negative message", 404, "/messages/-1"),
        ("a message by name", 404, "/messages/first"),
        ("below a message", 404, "/messages/1/text"),
    ]
    .into_iter()
    .map(|(what, status, target)| row(what, Refused(status), get(target)))
    .collect()
}

/// Registrations that a master refuses.
pub(crate) fn bad_registrations(master_port: u16) -> Vec<Row> {
    let registration = |what, status, body: &str| {
        let head = format!("POST /secondaries HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len());
        row(what, Gets::Refused(status), head + body)
    };
    let address = |what, url: &str| registration(what, 400, &serde_json::json!({ "url": url }).to_string());
    vec![
        registration("no address", 400, "{}"),
        registration("null as address", 400, r#"{"url":null}"#),
        registration("a list", 400, r#"["http://127.0.0.1:5001"]"#),
        registration("an unknown field", 400, r#"{"url":"http://127.0.0.1:5001","admin":true}"#),
        registration("a name that is a path", 400, r#"{"url":"http://127.0.0.1:5001","server_id":"../x"}"#),
        registration("a name that breaks the line", 400, r#"{"url":"http://127.0.0.1:5001","server_id":"a\nb"}"#),
        registration("a name in use", 409, r#"{"url":"http://127.0.0.1:1","server_id":"secondary-1"}"#),
        address("a file", "file:///etc/passwd"),
        address("another scheme", "ftp://127.0.0.1:5001"),
        address("TLS, which is not spoken", "https://127.0.0.1:5001"),
        address("no scheme", "127.0.0.1:5001"),
        address("credentials", "http://user:secret@127.0.0.1:5001"),
        address("a path", "http://127.0.0.1:5001/admin"),
        address("a query", "http://127.0.0.1:5001?x=y"),
        address("a fragment", "http://127.0.0.1:5001#x"),
        address("port 0", "http://127.0.0.1:0"),
        address("port 65536", "http://127.0.0.1:65536"),
        address("a header behind the port", "http://127.0.0.1:5001\r\nX: y"),
        address("no address at all", "http://0.0.0.0:5001"),
        address("the broadcast address", "http://255.255.255.255:5001"),
        address("where clouds keep their secrets", "http://169.254.169.254:80"),
        address("the same in disguise", "http://[::ffff:169.254.169.254]:80"),
        address("a number instead of a host", "http://2130706433:5001"),
        address("the master itself", &format!("http://127.0.0.1:{master_port}")),
        address("the master itself by name", &format!("http://localhost:{master_port}")),
        row(
            "the removal of an unknown secondary",
            Gets::Refused(404),
            head("DELETE /secondaries/unknown HTTP/1.1", "Host: node\r\n"),
        ),
    ]
}

/// What is not met, in one place: the HTTP library decides it before this program sees the request. All of it is
/// harmless: nothing is stored, and others are served.
pub(crate) struct NotMet {
    pub(crate) what: &'static str,
    /// What a stricter server would do.
    pub(crate) wanted: &'static str,
    pub(crate) gets: Gets,
    pub(crate) sent: &'static [u8],
}

pub(crate) const NOT_MET: &[NotMet] = &[
    NotMet {
        what: "a request line with HTTP/2.0 locks up the thread of its connection, with two descriptors, for good",
        wanted: "505",
        gets: Gets::Silence,
        sent: b"GET /messages HTTP/2.0\r\nHost: node\r\n\r\n",
    },
    NotMet {
        what: "so does one with HTTP/3.0",
        wanted: "505",
        gets: Gets::Silence,
        sent: b"GET /messages HTTP/3.0\r\nHost: node\r\n\r\n",
    },
    NotMet {
        what: "so does the beginning of an HTTP/2 connection",
        wanted: "505",
        gets: Gets::Silence,
        sent: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    },
    NotMet {
        what: "a head that stops half-way ends without an answer, by its silence",
        wanted: "408",
        gets: Gets::Closed,
        sent: b"GET /messages HTTP/1.1\r\nHost: no",
    },
    NotMet {
        what: "a head that drips is waited for as long as it drips, in a thread of its own",
        wanted: "408 after a total time",
        gets: Gets::KeptByDrops,
        sent: b"GET /messages HTTP/1.1\r\nHost:",
    },
    NotMet {
        what: "a body of at most 1,024 bytes that stops half-way ends without an answer, by its silence",
        wanted: "408",
        gets: Gets::Closed,
        sent: b"POST /messages HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{\"message\":\"bad\"}",
    },
    NotMet {
        what: "lines that end in LF alone are taken for half a line, and end by their silence",
        wanted: "400",
        gets: Gets::Closed,
        sent: b"GET /messages HTTP/1.1\nHost: node\n\n",
    },
    NotMet {
        what: "a TLS greeting is taken for half a line, and ends by its silence",
        wanted: "400",
        gets: Gets::Closed,
        sent: b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    },
    NotMet {
        what: "a byte that is not ASCII, in a header, ends the connection without an answer",
        wanted: "400",
        gets: Gets::Closed,
        sent: b"GET /messages HTTP/1.1\r\nHost: node\r\nX: \xff\r\n\r\n",
    },
    NotMet {
        what: "so does one in the path",
        wanted: "400",
        gets: Gets::Closed,
        sent: b"GET /messages/\xc3\xa4 HTTP/1.1\r\nHost: node\r\n\r\n",
    },
    NotMet {
        what: "an empty line before the request is an error",
        wanted: "the request is served",
        gets: Gets::Curt(400),
        sent: b"\r\nGET /messages HTTP/1.1\r\nHost: node\r\n\r\n",
    },
    NotMet {
        what: "words behind the version are not seen",
        wanted: "400",
        gets: Gets::Served(200),
        sent: b"GET /messages HTTP/1.1 and more\r\nHost: node\r\n\r\n",
    },
    NotMet {
        what: "a blank before the name of a header is not seen",
        wanted: "400",
        gets: Gets::Served(200),
        sent: b"GET /messages HTTP/1.1\r\nHost: node\r\n X: y\r\n\r\n",
    },
    NotMet {
        what: "a CR at the end of a value is not seen",
        wanted: "400",
        gets: Gets::Served(200),
        sent: b"GET /messages HTTP/1.1\r\nHost: node\r\nX: y\r\r\n\r\n",
    },
    NotMet {
        what: "a head is judged when all of it has been read, so one of gigabytes takes that much memory",
        wanted: "431 or 414 as soon as the limit is passed",
        gets: Gets::Untried,
        sent: b"",
    },
    NotMet {
        what: "the size of a chunk is read in the same way, and neither its length nor its time is bounded",
        wanted: "400, or 408",
        gets: Gets::Untried,
        sent: b"",
    },
    NotMet {
        what: "connections are bounded by descriptors and threads alone, not per address",
        wanted: "503 beyond so many",
        gets: Gets::Untried,
        sent: b"",
    },
    NotMet {
        what: "a reader that takes a little of a long reply just before each timeout keeps a thread",
        wanted: "the end after a total time",
        gets: Gets::Untried,
        sent: b"",
    },
    NotMet {
        what: "the answers of the library itself have no sentence",
        wanted: "JSON with an error",
        gets: Gets::Curt(400),
        sent: b"GET\r\n\r\n",
    },
];
