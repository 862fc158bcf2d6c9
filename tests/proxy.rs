//! Nodes behind the reverse proxy of `deploy/nginx`, which ends TLS. The tests need `nginx`, `openssl` and `curl`.
//! Where they are missing, the tests print a line and do nothing.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, free_ports, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts nginx with its configuration, but with other ports and another path of the certificate.
fn start(directory: &Path, port: u16, node: u16) -> Option<Proxy> {
    let place = directory.display().to_string();
    let conf = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx/replicated-log.conf")).unwrap();
    let conf = conf
        .replace("listen 8443", &format!("listen 127.0.0.1:{port}"))
        .replace("http://127.0.0.1:5000", &format!("http://127.0.0.1:{node}"))
        .replace("/etc/ssl/replicated-log", &place);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-keyout", &format!("{place}/key.pem"), "-out", &format!("{place}/cert.pem")])
        .stderr(Stdio::null())
        .status();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .concat();
    let main = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
         events {{}}\nhttp {{ access_log off;\n{temporary}{conf}}}\n"
    );
    fs::write(directory.join("nginx.conf"), main).unwrap();
    let nginx = Command::new("nginx").args(["-c", &format!("{place}/nginx.conf")]).stderr(Stdio::null()).spawn();
    let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    match (made, nginx, curl) {
        (Ok(made), Ok(nginx), Ok(_)) if made.success() => Some(Proxy(nginx)),
        _ => {
            println!("skipped: nginx, openssl or curl is not installed");
            None
        }
    }
}

fn curl(arguments: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--insecure", "--no-buffer", "--max-time", "30", "--write-out", "\n%{http_code}"]);
    curl.args(arguments).stdin(Stdio::null());
    curl
}

/// The output of curl: the body, and the status in the last line.
fn ask(arguments: &[&str]) -> String {
    String::from_utf8(curl(arguments).output().unwrap().stdout).unwrap()
}

#[test]
fn tls_ends_at_the_proxy_and_everything_works_behind_it() {
    const TOKEN: &str = "Authorization: Bearer the-token-of-clients";
    let mut cluster = Cluster::prepare(&["0.3"]);
    for node in cluster.nodes_mut() {
        node.set("CLUSTER_TOKEN", "the-token-of-the-cluster");
        node.set("CLIENT_TOKEN", "the-token-of-clients");
        node.start();
    }
    let (directory, port) = (tempfile::tempdir().unwrap(), free_ports(1)[0]);
    let Some(_proxy) = start(directory.path(), port, cluster.master.port) else { return };
    let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
    wait_until("it takes messages", || ask(&["-H", TOKEN, &url("/writable")]).ends_with("\n200"));
    let mut follower = curl(&["-H", TOKEN, &url("/messages?follow=true")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let posted = ask(&["-H", TOKEN, &url("/messages"), "-d", r#"{"message":"through the proxy"}"#]);
    assert!(posted.contains("\"message_id\":1") && posted.ends_with("\n201"), "{posted}");
    assert!(lines.any(|line| line.contains("through the proxy")), "a follower gets it as it comes");
    let _ = follower.kill();
    let _ = follower.wait();
    assert!(ask(&[&url("/messages")]).ends_with("\n401"), "tokens are still wanted");
    assert!(ask(&["-H", TOKEN, &url("/replicate/state")]).ends_with("\n403"), "no client acts as a node");
    let same = [
        "-H",
        TOKEN,
        "-H",
        &format!("Origin: https://127.0.0.1:{port}"),
        &url("/messages"),
        "-d",
        "{\"message\":\"page\"}",
    ];
    assert!(ask(&same).ends_with("\n201"), "the page may post through the proxy");
    let huge = "x".repeat(9 << 20);
    let file = directory.path().join("huge");
    fs::write(&file, huge).unwrap();
    let refused = ask(&["-H", TOKEN, &url("/messages"), "--data-binary", &format!("@{}", file.display())]);
    assert!(refused.ends_with("\n413"), "{}", refused.chars().rev().take(20).collect::<String>());
}
