//! The questions of orchestrators: is a node ready, can the cluster be written to, may a node be stopped?

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Node, get, wait_until};
use serde_json::json;

/// The status and the lines of `/readyz?verbose`.
fn checks(node: &Node) -> (u16, Vec<String>) {
    let (head, body) = node.get_text("/readyz?verbose");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.lines().map(str::to_owned).collect())
}

#[test]
fn a_node_is_ready_when_it_can_serve_and_says_what_is_missing() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(
        checks(&cluster.master),
        (
            200,
            ["[+]serving ok", "[+]threads ok", "[+]store ok", "[+]may write ok", "ready"].map(str::to_owned).to_vec()
        )
    );
    let (status, lines) = checks(&cluster.secondaries[0]);
    assert_eq!((status, lines.last().map(String::as_str)), (200, Some("ready")), "{lines:?}");
    assert_eq!(get(&cluster.secondaries[0].url("/readyz")).body, json!({ "status": "ready" }));
    let mut lonely = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "lonely", &[]);
    lonely.start();
    let (status, lines) = checks(&lonely);
    assert_eq!((status, lines.last().map(String::as_str)), (503, Some("not ready")));
    assert!(lines.iter().any(|line| line.starts_with("[-]caught up failed: ")), "{lines:?}");
    assert_eq!(get(&lonely.url("/readyz")).status, 503);
    assert_eq!(get(&lonely.url("/livez")).status, 200);
    let unknown = get(&lonely.url("/safe-to-stop"));
    assert_eq!((unknown.status, &unknown.body["safe"]), (503, &json!(false)), "it is unknown");
}

#[test]
fn whether_it_can_be_written_to_depends_on_the_copies() {
    let mut cluster = Cluster::start(&["0", "0"]);
    let writable = |cluster: &Cluster, query: &str| get(&cluster.master.url(&format!("/writable{query}")));
    for (query, w) in [("", 3), ("?w=all", 3), ("?w=1", 1), ("?w=majority", 2)] {
        let reply = writable(&cluster, query);
        assert_eq!((reply.status, &reply.body), (200, &json!({ "writable": true, "w": w })), "{query}");
    }
    for query in ["?w=4", "?w=0", "?w=most", "?v=1"] {
        assert_eq!(writable(&cluster, query).status, 400, "{query}");
    }
    cluster.secondaries[1].kill();
    wait_until("the master has noticed", || writable(&cluster, "").status == 503);
    let reason = writable(&cluster, "?w=3").body["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "2 of 3 nodes can take part, 3 are needed");
    assert_eq!(writable(&cluster, "?w=2").status, 200);
    let redirected = get(&cluster.secondaries[0].url("/writable?w=2"));
    assert_eq!(redirected.status, 307);
    assert!(redirected.location.unwrap().ends_with("/writable?w=2"));
    cluster.secondaries[0].kill();
    wait_until("it is read-only", || {
        let reply = writable(&cluster, "?w=1");
        reply.status == 503 && reply.body["reason"].as_str().unwrap().contains("read-only")
    });
}

#[test]
fn a_node_may_be_stopped_while_the_others_are_well() {
    let mut cluster = Cluster::start(&["0", "0"]);
    assert_eq!(cluster.post("kept").status, 201);
    for node in cluster.nodes() {
        let reply = get(&node.url("/safe-to-stop"));
        assert_eq!((reply.status, &reply.body["safe"]), (200, &json!(true)), "{}: {reply:?}", node.name);
        assert!(reply.body["meanwhile"].as_str().unwrap().contains("until"), "{reply:?}");
    }
    assert_eq!(get(&cluster.master.url("/safe-to-stop?node=nobody")).status, 404);
    assert_eq!(get(&cluster.master.url("/safe-to-stop?nod=secondary-1")).status, 400);
    assert_eq!(
        get(&cluster.secondaries[0].url("/safe-to-stop?node=secondary-2")).status,
        307,
        "it knows of itself only"
    );
    cluster.secondaries[1].kill();
    wait_until("the master has noticed", || get(&cluster.master.url("/safe-to-stop")).status == 503);
    for node in [&cluster.master, &cluster.secondaries[0]] {
        let reply = get(&node.url("/safe-to-stop"));
        assert_eq!((reply.status, &reply.body["safe"]), (503, &json!(false)), "{}", node.name);
        assert!(reply.body["reason"].as_str().unwrap().starts_with("secondary-2 is not well: "), "{reply:?}");
    }
    let dead = get(&cluster.master.url("/safe-to-stop?node=secondary-2"));
    assert_eq!(dead.status, 200, "it is stopped already: {dead:?}");
    cluster.secondaries[1].start();
    wait_until("all is well again", || get(&cluster.master.url("/safe-to-stop")).status == 200);
    cluster.master.kill();
    let reply = get(&cluster.secondaries[0].url("/safe-to-stop"));
    assert!(reply.status == 503 && reply.body["reason"].as_str().unwrap().contains("only the master at"), "{reply:?}");
}
