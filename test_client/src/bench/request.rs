//! The requests, built once: for the next one, only what differs is written over.

use super::options::Options;
use crate::api::Address;
use crate::api::Credentials;
use std::io::Write;

/// Digits that every text begins with, so that no two messages of a run are the same.
pub(super) const COUNTER_DIGITS: usize = 12;

/// What fills a text up. None of it needs an escape in JSON.
const FILLER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A post of one message, or of a batch.
#[derive(Clone, Debug)]
pub(super) struct Post {
    bytes: Vec<u8>,
    /// Where the counters of the texts stand.
    counters: Vec<usize>,
}

impl Post {
    /// The post that was asked for. Runs are told apart by their tag.
    pub(super) fn new(master: &Address, options: &Options, tag: &str, token: Option<&Credentials>) -> Post {
        let text = text(options.size, tag);
        let write_options = options.write_options();
        let (body, query) = if options.batch == 1 {
            (write_options.body(&text).to_string(), String::new())
        } else {
            (serde_json::json!(vec![&text; options.batch]).to_string(), write_options.query())
        };
        let head = format!(
            "POST /messages{query} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            master.authority(),
            authorization(token),
            body.len()
        );
        let counters = body.match_indices(&text).map(|(position, _)| head.len() + position).collect();
        Post { bytes: [head, body].concat().into_bytes(), counters }
    }

    /// Numbers the messages, from this number on.
    pub(super) fn number(&mut self, first: u64) {
        for (number, &position) in (first..).zip(&self.counters) {
            let mut rest = number;
            for digit in self.bytes[position..position + COUNTER_DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
                rest /= 10;
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The header line for nodes that are guarded.
fn authorization(token: Option<&Credentials>) -> String {
    token.map_or_else(String::new, |token| format!("Authorization: {}\r\n", token.header()))
}

/// A text of so many bytes, whose counter is zero.
fn text(size: usize, tag: &str) -> String {
    let counter = "0".repeat(COUNTER_DIGITS);
    let beginning = format!("{counter} {tag} ");
    let filler = FILLER.iter().cycle().map(|&byte| char::from(byte));
    beginning.chars().chain(filler).take(size).collect()
}

/// A read of one page.
#[derive(Clone, Debug)]
pub(super) struct Page {
    bytes: Vec<u8>,
    /// The line up to the id, and everything behind it.
    around: (Vec<u8>, Vec<u8>),
    messages: u64,
    random: Random,
}

impl Page {
    /// Pages of so many messages of a node. Readers with other seeds read other pages.
    pub(super) fn new(node: &Address, messages: u64, seed: u64, token: Option<&Credentials>) -> Page {
        let before = format!("GET /messages?view=objects&limit={messages}&from=");
        let after = format!(" HTTP/1.1\r\nHost: {}\r\n{}\r\n", node.authority(), authorization(token));
        Page { bytes: Vec::new(), around: (before.into(), after.into()), messages, random: Random(seed) }
    }

    /// Chooses a page, all of them being equally likely, of a log that goes as far as this.
    pub(super) fn choose(&mut self, newest: u64) {
        let last_page = newest.saturating_sub(self.messages) + 1;
        let from = 1 + self.random.below(last_page);
        self.bytes.clear();
        self.bytes.extend_from_slice(&self.around.0);
        write!(self.bytes, "{from}").expect("memory takes it");
        self.bytes.extend_from_slice(&self.around.1);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// SplitMix64: numbers that look random, the same ones in every run.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    /// A number from 0 that is less than the bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
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
