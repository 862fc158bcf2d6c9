//! Nodes behind proxies: that of `deploy/nginx`, which ends TLS, and others as people configure them. Where a program is
//! missing, its test prints a line and does nothing.

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

/// Starts a proxy of this name, if it is installed, and waits until it answers.
fn begin(program: &str, arguments: &[&str], port: u16) -> Option<Proxy> {
    let started = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = started else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let proxy = Proxy(child);
    wait_until("the proxy answers", || ask(&[&format!("http://127.0.0.1:{port}/livez")]).ends_with("\n200"));
    Some(proxy)
}

#[test]
fn nginx_as_people_configure_it_passes_everything_on() {
    let cluster = Cluster::start(&["0"]);
    let (directory, ports) = (tempfile::tempdir().unwrap(), free_ports(2));
    let place = directory.path().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};"))
        .concat();
    let [master, secondary] = [cluster.master.port, cluster.secondaries[0].port];
    // By default nginx speaks HTTP/1.0, and the recipe for WebSockets offers an upgrade with every request.
    let sockets =
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";";
    let conf = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log; events {{}}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://127.0.0.1:{master}; }} }}\n\
         server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://127.0.0.1:{secondary}; {sockets} }} }} }}\n",
        ports[0], ports[1]
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, conf).unwrap();
    let Some(_proxy) = begin("nginx", &["-c", file.to_str().unwrap()], ports[0]) else { return };
    let long = format!("{{\"message\":\"{}\"}}", "x".repeat(20_000));
    for port in ports {
        let url = format!("http://127.0.0.1:{port}/messages");
        for body in [r#"{"message":"short"}"#, &long] {
            let posted = ask(&["-X", "POST", "-d", body, &url]);
            assert!(posted.ends_with("\n201"), "{posted}");
            assert!(ask(&[&url]).ends_with("\n200"));
        }
    }
    assert_eq!(cluster.assert_same_everywhere().len(), 4);
}

#[test]
fn the_bare_check_of_haproxy_finds_nodes_alive() {
    let cluster = Cluster::start(&["0"]);
    let (directory, port) = (tempfile::tempdir().unwrap(), free_ports(1)[0]);
    let file = directory.path().join("haproxy.cfg");
    let conf = format!(
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend nodes\n\
         backend nodes\n  option httpchk\n  server master 127.0.0.1:{} check inter 200ms\n  server secondary 127.0.0.1:{} check \
         inter 200ms\n",
        cluster.master.port, cluster.secondaries[0].port
    );
    fs::write(&file, conf).unwrap();
    let Some(_proxy) = begin("haproxy", &["-f", file.to_str().unwrap()], port) else { return };
    // Checks go on meanwhile; haproxy answers 503 once it takes the nodes for dead.
    for number in 1..=20 {
        let posted = ask(&[
            "-X",
            "POST",
            "-d",
            &format!("{{\"message\":\"{number}\"}}"),
            &format!("http://127.0.0.1:{port}/messages"),
        ]);
        assert!(posted.ends_with("\n201"), "{posted}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn varnish_keeps_nothing() {
    let cluster = Cluster::start(&["0"]);
    let (directory, port) = (tempfile::tempdir().unwrap(), free_ports(1)[0]);
    let (place, address) = (directory.path().join("v"), format!("127.0.0.1:{port}"));
    let node = format!("127.0.0.1:{}", cluster.master.port);
    let arguments = ["-F", "-n", place.to_str().unwrap(), "-a", &address, "-b", &node, "-s", "malloc,16m"];
    let Some(_proxy) = begin("varnishd", &arguments, port) else { return };
    let url = |path: &str| format!("http://{address}{path}");
    assert!(ask(&[&url("/writes/k")]).ends_with("\n404"));
    for number in 1..=3 {
        let posted =
            ask(&["-H", &format!("Idempotency-Key: k{number}"), "-d", r#"{"message":"m"}"#, &url("/messages")]);
        assert!(posted.ends_with("\n201"), "{posted}");
        for read in ["/messages", "/messages?consistency=strong"] {
            let read = ask(&[&url(read)]);
            assert!(read.contains(&format!("\"total\":{number},")), "{read}");
        }
    }
    assert!(ask(&[&url("/writes/k1")]).ends_with("\n200"));
}

#[test]
fn ab_keeps_its_connections() {
    let cluster = Cluster::start(&["0"]);
    let url = cluster.master.url("/health");
    let arguments = ["-q", "-k", "-n", "200", "-c", "4", "-s", "20", &url.replace("localhost", "127.0.0.1")];
    match Command::new("ab").args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let kept = said.lines().find_map(|line| line.strip_prefix("Keep-Alive requests:")).map(str::trim);
            assert_eq!(kept, Some("200"), "{said}");
        }
        Err(_) => println!("skipped: ab is not installed"),
    }
}
