//! Tokens: without the right one no client reads or writes, no caller acts as a node, and no log contains a token.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Node, TIMEOUT, wait_until};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use ureq::Agent;
use ureq::http::Method;

const CLUSTER: &str = "the-token-of-the-cluster-0123456789";
const CLIENT: &str = "the-token-of-clients-0123456789";
/// The user `anybody` and the token of clients, for basic authentication.
const CLIENT_AS_PASSWORD: &str = "Basic YW55Ym9keTp0aGUtdG9rZW4tb2YtY2xpZW50cy0wMTIzNDU2Nzg5";

/// Sends a request with header lines, and returns status and body.
fn ask(method: &Method, url: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let config = Agent::config_builder().proxy(None).max_redirects(0).http_status_as_error(false);
    let agent: Agent = config.timeout_recv_response(Some(TIMEOUT)).allow_non_standard_methods(true).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut reply = agent.run(request.body(body.to_owned()).unwrap()).expect("the node answers");
    let status = reply.status().as_u16();
    let text = reply.body_mut().read_to_string().unwrap_or_default();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn status(node: &Node, method: &Method, path: &str, authorization: Option<&str>) -> u16 {
    let headers: Vec<_> = authorization.into_iter().map(|value| ("Authorization", value)).collect();
    ask(method, &node.url(path), &headers, r#"{"message":"x"}"#).0
}

/// A cluster with both tokens, which takes writes.
fn guarded() -> Cluster {
    let mut cluster = Cluster::prepare(&["0", "0"]);
    for node in cluster.nodes_mut() {
        node.set("CLUSTER_TOKEN", CLUSTER);
        node.set("CLIENT_TOKEN", CLIENT);
        node.start();
    }
    wait_until("the cluster takes writes", || {
        let (_, health) = ask(&Method::GET, &cluster.master.url("/health"), &[("Authorization", &bearer(CLIENT))], "");
        health["writable"] == true
    });
    cluster
}

#[test]
fn a_wrong_token_is_refused_everywhere() {
    let cluster = guarded();
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let for_clients =
        ["/", "/live", "/messages", "/messages/1", "/messages?follow=true", "/health", "/metrics", "/backup"];
    let on_master = ["/secondaries", "/writes/key", "/verify", "/messages/1/trace", "/writable", "/safe-to-stop"];
    let mut guarded: Vec<(&Node, &Method, &str)> = Vec::new();
    for node in cluster.nodes() {
        guarded.extend(for_clients.iter().map(|&path| (node, &get, path)));
        guarded.extend([(node, &put, "/faults"), (node, &delete, "/faults"), (node, &get, "/fingerprint")]);
        guarded.push((node, &post, "/messages"));
    }
    guarded.extend(on_master.iter().map(|&path| (&cluster.master, &get, path)));
    let changes = [
        (&cluster.master, &post, "/secondaries"),
        (&cluster.master, &delete, "/secondaries/secondary-1"),
        (&cluster.master, &put, "/secondaries/secondary-1/faults"),
        (&cluster.master, &get, "/replicate/decisions?after=0"),
        (&cluster.secondaries[0], &post, "/replicate"),
        (&cluster.secondaries[0], &get, "/replicate/state"),
        (&cluster.secondaries[0], &get, "/replicate/slots?after=0"),
        (&cluster.secondaries[0], &put, "/faults"),
    ];
    guarded.extend(changes);
    let almost = bearer(&CLUSTER[..CLUSTER.len() - 1]);
    for (node, method, path) in guarded {
        for wrong in
            [None, Some("Bearer wrong-wrong-wrong-wrong"), Some(almost.as_str()), Some(CLUSTER), Some("Bearer ")]
        {
            assert_eq!(status(node, method, path, wrong), 401, "{method} {path} of {} with {wrong:?}", node.name);
        }
    }
    for (node, method, path) in changes {
        let status = status(node, method, path, Some(&bearer(CLIENT)));
        assert_eq!(status, 403, "{method} {path} of {} is not for clients", node.name);
    }
    for node in cluster.nodes() {
        assert_eq!(status(node, &get, "/livez", None), 200);
        assert_eq!(status(node, &get, "/readyz", None), 200);
        for right in [&bearer(CLIENT), &bearer(CLUSTER), CLIENT_AS_PASSWORD] {
            assert_eq!(status(node, &get, "/messages", Some(right)), 200, "{right}");
        }
    }
    assert_eq!(
        status(&cluster.master, &post, "/messages", Some(&bearer(CLIENT))),
        201,
        "and the nodes know each other"
    );
    for node in cluster.nodes() {
        node.wait_for_log("showed a wrong token");
        let log = node.log();
        assert!(!log.contains(CLUSTER) && !log.contains(CLIENT) && !log.contains(&CLUSTER[..16]), "{log}");
    }
}

#[test]
fn a_node_with_another_token_takes_no_part() {
    let mut cluster = Cluster::prepare(&["0"]);
    cluster.master.set("CLUSTER_TOKEN", CLUSTER);
    cluster.secondaries[0].set("CLUSTER_TOKEN", "another-token-0123456789");
    cluster.nodes_mut().for_each(Node::start);
    wait_until("the master says why", || {
        let (_, listed) = ask(&Method::GET, &cluster.master.url("/secondaries"), &[], "");
        let detail = listed["secondaries"][0]["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains("answered 401: the token is wrong")
    });
    assert_eq!(cluster.post("in vain").status, 502);
}

#[test]
fn programs_show_their_token_when_they_fetch_a_log() {
    let cluster = guarded();
    assert_eq!(status(&cluster.master, &Method::POST, "/messages", Some(&bearer(CLIENT))), 201);
    let directory = tempfile::tempdir().unwrap();
    let run = |token: &str, arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_master"));
        program.args(arguments).env_clear().env("CLUSTER_TOKEN", token).current_dir(directory.path());
        program.stdin(Stdio::null()).output().unwrap()
    };
    let from = cluster.secondaries[0].url("");
    let refused = run("another-token-0123456789", &["restore", &from]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the token is wrong"), "{refused:?}");
    let restored = run(CLUSTER, &["restore", &from]);
    assert!(restored.status.success(), "{restored:?}");
    let saved = run(CLUSTER, &["backup", "saved", "--from", &from]);
    assert!(saved.status.success(), "{saved:?}");
}

#[test]
fn an_unguarded_node_does_not_listen_where_others_reach_it_unless_told() {
    let directory = tempfile::tempdir().unwrap();
    let start = |variables: &[(&str, &str)]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_master"));
        program.args(["--port", "0", "--bind", "0.0.0.0"]).env_clear().envs(variables.iter().copied());
        program.env("DATA_DIR", "memory").current_dir(directory.path()).env("STOP_WITH_PARENT", "1");
        program.stdin(Stdio::null()).output().unwrap()
    };
    for variables in
        [&[][..], &[("CLIENT_TOKEN", CLIENT)], &[("CLUSTER_TOKEN", "short")], &[("CLUSTER_TOKEN_FILE", "none")]]
    {
        let refused = start(variables);
        assert_eq!(refused.status.code(), Some(2), "{variables:?}: {refused:?}");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("CLUSTER_TOKEN") && !why.contains(CLIENT), "{variables:?}: {why}");
    }
    std::fs::write(directory.path().join("token"), format!("{CLUSTER}\n")).unwrap();
    for variables in [[("INSECURE", "1")], [("CLUSTER_TOKEN", CLUSTER)], [("CLUSTER_TOKEN_FILE", "token")]] {
        // Its standard input is at an end, so it stops as soon as it serves.
        let served = start(&variables);
        assert!(served.status.success(), "{variables:?}: {served:?}");
    }
}

#[test]
fn a_page_of_another_site_cannot_use_the_browser_of_somebody_here() {
    let cluster = Cluster::start(&["0"]);
    let url = cluster.master.url("/messages");
    let own = cluster.master.url("");
    let plain = ("Content-Type", "text/plain");
    for foreign in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
    ] {
        let (status, body) = ask(&Method::POST, &url, &[plain, foreign], "forged");
        assert_eq!((status, &body["outcome"]), (403, &json!("not_appended")), "{foreign:?}");
        let (status, _) = ask(
            &Method::POST,
            &cluster.master.url("/secondaries"),
            &[plain, foreign],
            r#"{"url":"http://10.0.0.1:80"}"#,
        );
        assert_eq!(status, 403, "{foreign:?}");
    }
    for (number, own) in [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none"), ("Origin", own.as_str())]
        .into_iter()
        .enumerate()
    {
        let (status, body) = ask(&Method::POST, &url, &[plain, own], "mine");
        assert_eq!((status, &body["message_id"]), (201, &json!(number + 1)), "{own:?}");
    }
}
