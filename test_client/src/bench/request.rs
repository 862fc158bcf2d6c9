//! The requests, built once. The next one only overwrites what differs.

use super::options::{COUNTER_DIGITS, Options};
use crate::api::{Address, Credentials};
use crate::random::Random;
use std::io::Write;

/// The filler of a text. None of it needs an escape in JSON.
const FILLER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A post of one message, or of a batch.
#[derive(Clone, Debug)]
pub(super) struct Post {
    bytes: Vec<u8>,
    /// The positions of the counters in the texts.
    counters: Vec<usize>,
}

impl Post {
    /// A post as the options say. The tag distinguishes the messages of this run.
    pub(super) fn new(master: &Address, options: &Options, tag: &str, token: Option<&Credentials>) -> Post {
        let text = text(options.size as usize, tag);
        let asked = options.write_options();
        let (body, query) = match options.batch {
            1 => (asked.body(&text).to_string(), String::new()),
            batch => (serde_json::json!(vec![&text; batch as usize]).to_string(), asked.query()),
        };
        let head = format!(
            "POST /messages{query} HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            headers(master, token),
            body.len()
        );
        let counters = body.match_indices(&text).map(|(position, _)| head.len() + position).collect();
        Post { bytes: [head, body].concat().into_bytes(), counters }
    }

    /// Numbers the messages, from this number on.
    pub(super) fn number(&mut self, first: u64) {
        for (number, &position) in (first..).zip(&self.counters) {
            let counter = &mut self.bytes[position..position + COUNTER_DIGITS];
            write!(&mut counter[..], "{number:0COUNTER_DIGITS$}").expect("a counter has room for its digits");
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The header lines of every request.
fn headers(node: &Address, token: Option<&Credentials>) -> String {
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: {}\r\n", token.header()));
    format!("Host: {}\r\n{authorization}", node.authority())
}

/// A text of so many bytes, whose counter is zero.
fn text(size: usize, tag: &str) -> String {
    let beginning = format!("{} {tag} ", "0".repeat(COUNTER_DIGITS));
    let filler = FILLER.iter().cycle().map(|&byte| char::from(byte));
    beginning.chars().chain(filler).take(size).collect()
}

/// A read of one page.
#[derive(Clone, Debug)]
pub(super) struct Page {
    bytes: Vec<u8>,
    messages: u64,
    headers: String,
    random: Random,
}

impl Page {
    /// Requests for pages of so many messages of a node. Readers with other seeds read other pages.
    pub(super) fn new(node: &Address, messages: u64, seed: u64, token: Option<&Credentials>) -> Page {
        Page { bytes: Vec::new(), messages, headers: headers(node, token), random: Random::new(seed) }
    }

    /// Chooses a page at random, each with the same probability, from a log whose newest id is known.
    pub(super) fn choose(&mut self, newest: u64) {
        let Page { bytes, messages, headers, random } = self;
        let from = 1 + random.below(newest.saturating_sub(*messages) + 1);
        bytes.clear();
        write!(bytes, "GET /messages?view=objects&limit={messages}&from={from} HTTP/1.1\r\n{headers}\r\n")
            .expect("memory takes everything");
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn master() -> Address {
        "http://[::1]:5000".parse().unwrap()
    }

    fn body(bytes: &[u8]) -> Value {
        let text = str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(head.contains("Host: [::1]:5000"), "{head}");
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn texts_are_as_long_as_asked_and_differ() {
        for size in [COUNTER_DIGITS, 20, 100, 5000] {
            let mut post = Post::new(&master(), &Options::of(&["--size", &size.to_string(), "--w", "2"]), "tag", None);
            post.number(4711);
            let body = body(post.bytes());
            let text = body["message"].as_str().unwrap();
            assert!(text.len() == size && text.starts_with("000000004711"), "{text}");
            assert_eq!(body["w"], json!(2));
        }
    }

    #[test]
    fn a_batch_is_a_list() {
        let options = Options::of(&["--batch", "3", "--size", "12", "--w", "all", "--wait", "1.5"]);
        let mut post = Post::new(&master(), &options, "tag", None);
        post.number(7);
        post.number(98);
        assert!(post.bytes().starts_with(b"POST /messages?w=all&timeout=1.5 HTTP/1.1\r\n"));
        assert_eq!(body(post.bytes()), json!(["000000000098", "000000000099", "000000000100"]));
    }

    #[test]
    fn pages_are_within_the_log() {
        let mut page = Page::new(&master(), 10, 1, None);
        for newest in [0, 1, 10, 11, 1000] {
            for _ in 0..100 {
                page.choose(newest);
                let line = str::from_utf8(page.bytes()).unwrap().lines().next().unwrap();
                let from = line.strip_prefix("GET /messages?view=objects&limit=10&from=").unwrap();
                let from: u64 = from.strip_suffix(" HTTP/1.1").unwrap().parse().unwrap();
                assert!(from >= 1 && (from == 1 || from + 9 <= newest), "{from} of {newest}");
            }
        }
    }
}
