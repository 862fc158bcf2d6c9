//! The page at `/` in a real headless browser: what a user sees who posts, watches, and loses a node.
//!
//! It needs `chromium` and `chromedriver`. Where they are missing, it prints a line and does nothing.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Node, TIMEOUT, free_ports, post, wait_until};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use ureq::Agent;

/// A browser, driven as the W3C says (WebDriver).
struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
}

impl Browser {
    /// Opens the page of a node, or returns `None` where there is no browser.
    fn open(node: &Node) -> Option<Browser> {
        Browser::open_at(&node.url("/"), &[])
    }

    fn open_at(url: &str, more_options: &[&str]) -> Option<Browser> {
        let port = free_ports(1)[0];
        let driver = Command::new("chromedriver")
            .args([&format!("--port={port}"), "--log-level=SEVERE"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(driver) = driver else {
            println!("skipped: chromedriver is not installed (Debian's packages chromium and chromium-driver have it)");
            return None;
        };
        let config = Agent::config_builder().proxy(None).http_status_as_error(false).timeout_global(Some(TIMEOUT * 2));
        let (agent, session) = (Agent::from(config.build()), format!("http://127.0.0.1:{port}/session"));
        let mut browser = Browser { driver, agent, session };
        let options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let options = json!({ "args": options.iter().chain(more_options).collect::<Vec<_>>() });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let mut opened = Value::Null;
        wait_until("the browser starts", || {
            let body = json!({ "capabilities": { "alwaysMatch": wanted } });
            opened = browser.try_call("", &body).unwrap_or_default();
            opened["sessionId"].is_string()
        });
        browser.session = format!("{}/{}", browser.session, opened["sessionId"].as_str().unwrap());
        browser.call("/url", &json!({ "url": url }));
        Some(browser)
    }

    fn try_call(&self, path: &str, body: &Value) -> Option<Value> {
        let request = self.agent.post(format!("{}{path}", self.session)).header("Content-Type", "application/json");
        let text = request.send(body.to_string()).ok()?.body_mut().read_to_string().ok()?;
        let mut answer: Value = serde_json::from_str(&text).ok()?;
        Some(answer["value"].take())
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let value = self.try_call(path, body).expect("the driver answers");
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    /// Runs a script in the page, and gives what it returns.
    fn run(&self, script: &str) -> Value {
        self.call("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the first element that a selector matches, empty if it is hidden or missing.
    fn text(&self, selector: &str) -> String {
        let script = format!(
            "const found = document.querySelector({selector:?}); return found && found.checkVisibility() ? found.innerText : ''"
        );
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn await_text(&self, selector: &str, text: &str) {
        wait_until(&format!("{selector} says \"{text}\""), || self.text(selector).contains(text));
    }

    fn click(&self, selector: &str) {
        self.run(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Types a message and posts it.
    fn post(&self, message: &str) {
        self.run(&format!("document.getElementById('text').value = {}", json!(message)));
        self.click("#form button");
    }

    /// The messages in the log, as the page shows them.
    fn log(&self) -> Vec<String> {
        let cells = "return [...document.querySelectorAll('#messages td:nth-child(3)')].map(cell => cell.textContent)";
        serde_json::from_value(self.run(cells)).unwrap()
    }

    /// The errors in the page, except broken connections.
    fn complaints(&self) -> Vec<String> {
        let lines = self.call("/se/log", &json!({ "type": "browser" }));
        let message = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        let lines: Vec<String> = lines.as_array().unwrap().iter().map(message).collect();
        lines
            .into_iter()
            .filter(|line| !line.contains("net::ERR_") && !line.contains("Failed to load resource"))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn a_message_is_posted_and_its_way_is_seen() {
    let cluster = Cluster::start(&["1.5", "0"]);
    let Some(browser) = Browser::open(&cluster.master) else { return };
    browser.await_text("#line", "takes messages");
    browser.post("<img src=x onerror=alert(1)> and <b>bold</b>");
    browser.await_text("#writes li", "under way");
    let label = browser.run("return document.querySelector('#writes li').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().contains("id 1, under way"), "{label}");
    assert!(browser.log().is_empty(), "no page shows a message before it is acknowledged");
    browser.await_text("#writes li", "committed");
    browser.await_text("#result", "201: id 1, on 3 nodes");
    wait_until("it is in the log, as text", || browser.log() == ["<img src=x onerror=alert(1)> and <b>bold</b>"]);
    let label = browser.run("return document.querySelector('#writes li').getAttribute('aria-label')");
    let label = label.as_str().unwrap();
    assert!(label.contains("secondary-1: sent after") && label.contains("artificial delay 1500 ms"), "{label}");
    let parts = "return [...document.querySelectorAll('#writes li i')].map(part => part.className)";
    let parts: Vec<String> = serde_json::from_value(browser.run(parts)).unwrap();
    for kind in ["way", "disk", "delay"] {
        assert!(parts.iter().any(|part| part == kind), "{kind} in {parts:?}");
    }
    browser.await_text("#latency", "p50");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_secondary_is_made_to_fail_from_the_page_and_the_refusal_is_seen() {
    let cluster = Cluster::start_with(&["0", "0"], &[("ENABLE_FAULTS", "1")]);
    let Some(browser) = Browser::open(&cluster.master) else { return };
    browser.await_text("#line", "takes messages");
    browser.click("button[aria-label='Fail: secondary-2']");
    browser.await_text("#result", "secondary-2: refuses appends, for a minute");
    browser.await_text("article[aria-label^='secondary-2']", "injected fault: appends are refused");
    browser.post("in vain");
    browser.await_text("#result", "502");
    browser.await_text("#writes li .why", "secondary-2");
    assert!(browser.run("return document.querySelectorAll('#writes li i.failed').length").as_u64() >= Some(1));
    browser.click("button[aria-label='Heal: secondary-2']");
    browser.await_text("#result", "has no fault any more");
    browser.await_text("#line", "takes messages");
    browser.post("after it was healed");
    wait_until("it is written", || browser.log() == ["after it was healed"]);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn without_faults_enabled_there_are_no_buttons_for_them() {
    let cluster = Cluster::start(&["0"]);
    let Some(browser) = Browser::open(&cluster.master) else { return };
    browser.await_text("#nodes", "secondary-1");
    assert_eq!(browser.run("return document.querySelectorAll('#nodes button').length"), 0);
    let reply = common::put(&cluster.master.url("/secondaries/secondary-1/faults"), &json!({ "fail": "before" }));
    assert_eq!(reply.status, 403);
}

#[test]
fn the_page_says_what_it_does_not_know_and_comes_back_by_itself() {
    let mut cluster = Cluster::start(&["0", "0"]);
    for number in 1..=3 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    let Some(browser) = Browser::open(&cluster.master) else { return };
    wait_until("history is there", || browser.log() == ["message 1", "message 2", "message 3"]);
    cluster.secondaries[0].kill();
    browser.await_text("article[aria-label^='secondary-1']", "unreachable");
    browser.await_text("#line", "takes no messages");
    cluster.master.kill();
    browser.await_text("#banner", "No connection to this node since");
    browser.await_text("#line", "no connection");
    cluster.secondaries[0].start();
    cluster.master.start();
    cluster.wait_writable();
    browser.await_text("#line", "takes messages");
    assert_eq!(browser.text("#banner"), "");
    let reply = post(&cluster.master.url("/messages"), &json!({ "message": "message 4" }));
    assert_eq!(reply.status, 201);
    wait_until("it goes on without a gap or a duplicate", || {
        browser.log() == ["message 1", "message 2", "message 3", "message 4"]
    });
    browser.await_text("article[aria-label^='master']", "2");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn three_windows_side_by_side_can_post() {
    let cluster = Cluster::start(&["0"]);
    let Some(browser) = Browser::open(&cluster.master) else { return };
    for window in 1..=3 {
        if window > 1 {
            let opened = browser.call("/window/new", &json!({ "type": "window" }));
            browser.call("/window", &json!({ "handle": opened["handle"] }));
            browser.call("/url", &json!({ "url": cluster.master.url("/") }));
        }
        browser.await_text("#line", "takes messages");
        let message = format!("of window {window}");
        browser.post(&message);
        wait_until("it is in the log", || browser.log().last() == Some(&message));
    }
    assert_eq!(cluster.master.health()["refused_requests"], json!({}), "no window was refused anything");
    assert_eq!(post(&cluster.master.url("/messages"), &json!({ "text": "not taken" })).status, 400);
    browser.await_text("#nodes", "1 × 400");
}

#[test]
fn a_secondary_has_a_page_too() {
    let cluster = Cluster::start(&["0.1"]);
    assert_eq!(cluster.post("seen on the secondary").status, 201);
    let Some(browser) = Browser::open(&cluster.secondaries[0]) else { return };
    browser.await_text("#line", "up to date");
    browser.await_text("#nodes", "its master");
    wait_until("it shows the log", || browser.log() == ["seen on the secondary"]);
    assert_eq!(browser.run("return document.getElementById('post').hidden"), true, "only the master takes messages");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_log_that_was_replaced_is_shown_anew() {
    let mut cluster = Cluster::start(&[]);
    assert_eq!(cluster.post("of the old log").status, 201);
    assert_eq!(cluster.post("of the old log, too").status, 201);
    let Some(browser) = Browser::open(&cluster.master) else { return };
    wait_until("history is there", || browser.log().len() == 2);
    cluster.master.kill();
    cluster.master.lose_disk();
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("of the new log").status, 201);
    wait_until("only the new one is shown", || browser.log() == ["of the new log"]);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A page that takes a node for its own site: it reads, writes, and tries to get the log at a node of its own.
const ATTACK: &str = "<!doctype html><title>attack</title><script>
const ask = (path, method, body) => fetch(path, { method, body }).then(reply => reply.status, error => String(error));
Promise.all([
    ask('/messages'),
    ask('/health'),
    ask('/backup'),
    ask('/messages', 'POST', '{\"message\": \"planted\"}'),
]).then(statuses =>
    ask('/secondaries', 'POST', '{\"url\": \"http://127.0.0.1:9\", \"server_id\": \"thief\"}').then(last => {
        window.statuses = [...statuses, last];
    })
);
</script>";

/// The other site. Its name leads to its own server first, which has the page, and then to the node. Here one server
/// does both: it passes on every connection that does not ask for the page.
fn other_site(node: &Node) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, node) = (listener.local_addr().unwrap().port(), node.port);
    thread::spawn(move || {
        for mut browser in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut begin = [0; 11];
                if browser.read_exact(&mut begin).is_err() {
                    return;
                }
                if &begin == b"GET /attack" {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length";
                    let _ = write!(browser, "{head}: {}\r\n\r\n{ATTACK}", ATTACK.len());
                    return;
                }
                let mut node = TcpStream::connect(("127.0.0.1", node)).unwrap();
                node.write_all(&begin).unwrap();
                let (mut from_node, mut to_browser) = (node.try_clone().unwrap(), browser.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from_node, &mut to_browser);
                    // The browser must see that the node has closed, and not send another request.
                    let _ = to_browser.shutdown(Shutdown::Both);
                });
                let _ = io::copy(&mut browser, &mut node);
            });
        }
    });
    port
}

#[test]
fn a_page_whose_name_leads_to_a_node_gets_nothing_from_it() {
    for (allowed, statuses) in
        [("", json!([403, 403, 403, 403, 403])), ("attacker.example", json!([200, 200, 200, 201, 200]))]
    {
        let cluster = Cluster::start_with(&[], &[("ALLOW_HOSTS", allowed)]);
        assert_eq!(cluster.post("secret").status, 201);
        let url = format!("http://attacker.example:{}/attack", other_site(&cluster.master));
        let rules = "--host-resolver-rules=MAP attacker.example 127.0.0.1";
        let Some(browser) = Browser::open_at(&url, &[rules]) else { return };
        wait_until("the page has tried everything", || browser.run("return window.statuses || null") != Value::Null);
        assert_eq!(browser.run("return window.statuses"), statuses, "ALLOW_HOSTS={allowed}");
        let was_harmed = !allowed.is_empty();
        assert_eq!(cluster.master.messages().len(), 1 + usize::from(was_harmed));
        let known = common::get(&cluster.master.url("/secondaries")).body["secondaries"].as_array().unwrap().len();
        assert_eq!(known, usize::from(was_harmed));
    }
}
