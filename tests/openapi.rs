//! `/openapi.json` describes the server: it serves every path, and every reply is as documented.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, get, post, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// A server that works sends only these statuses: 409, 412 and 422 depend on the content of the log, and a 502 answers
/// a write whose time was over.
const SETTINGS: &str = r#"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "410", "412", "422", "502"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "410", "412", "413", "415", "422"]
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "502"]
"#;

fn document(cluster: &Cluster) -> Value {
    let reply = get(&cluster.master.url("/openapi.json"));
    assert_eq!(reply.status, 200);
    reply.body
}

/// Leaves out what the document cannot express: the bound on waits in this test, the three nodes of this cluster, the
/// single place to ask for copies, the reply of the first post to a repeated key, and streams without an end.
fn without_what_depends(mut document: Value) -> Value {
    let parameters = |document: &mut Value, path: &str, method: &str, dropped: &[&str]| {
        let list = document["paths"][path][method]["parameters"].as_array_mut().expect("parameters");
        list.retain(|parameter| !dropped.iter().any(|name| parameter["name"] == *name));
    };
    parameters(&mut document, "/messages", "get", &["wait", "follow", "Last-Event-ID", "lastEventId"]);
    parameters(&mut document, "/messages", "post", &["w", "timeout", "raw", "Idempotency-Key"]);
    document["paths"].as_object_mut().unwrap().remove("/live");
    let text = document.to_string();
    assert!(text.contains(r#""maximum":65"#), "the most copies");
    serde_json::from_str(&text.replace(r#""maximum":65"#, r#""maximum":3"#)).unwrap()
}

#[test]
fn schemathesis_finds_nothing() {
    const CLIENT: &str = "the-token-of-clients";
    if Command::new("schemathesis").arg("--version").output().is_err() {
        println!("skipped: schemathesis is not installed (pip install schemathesis)");
        return;
    }
    let document = without_what_depends(document(&Cluster::start(&[])));
    let mut cluster = Cluster::prepare(&["0", "0"]);
    for node in cluster.nodes_mut() {
        node.set("CLUSTER_TOKEN", "the-token-of-the-cluster");
        node.set("CLIENT_TOKEN", CLIENT);
        node.start();
    }
    wait_until("all are ready", || cluster.nodes().all(|node| get(&node.url("/readyz")).status == 200));
    let directory = tempfile::tempdir().unwrap();
    let (schema, settings) = (directory.path().join("openapi.json"), directory.path().join("schemathesis.toml"));
    fs::write(&schema, document.to_string()).unwrap();
    fs::write(&settings, SETTINGS).unwrap();
    let only_master = [
        "/verify",
        "/writes/{key}",
        "/secondaries",
        "/secondaries/{name}",
        "/secondaries/{name}/faults",
        "/writable",
        "/messages/{id}/trace",
        "/safe-to-stop",
        "/leader",
    ];
    for node in cluster.nodes() {
        if node.name != "master" {
            let mut document = document.clone();
            let paths = document["paths"].as_object_mut().unwrap();
            only_master.iter().for_each(|path| drop(paths.remove(*path)));
            fs::write(&schema, document.to_string()).unwrap();
        }
        let output = Command::new("schemathesis")
            .arg("--config-file")
            .arg(&settings)
            .arg("run")
            .arg(&schema)
            .args(["--url", &node.url(""), "--header", &format!("Authorization: Bearer {CLIENT}")])
            .args(["--max-examples", "20", "--seed", "1", "--request-timeout", "30", "--no-color"])
            .args(["--suppress-health-check", "all", "--generation-database", "none"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{} does not keep what it says:\n{said}", node.name);
    }
}

#[test]
fn every_path_is_there_and_every_path_of_the_server_is_named() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("one").status, 201);
    let document = document(&cluster);
    let paths = document["paths"].as_object().unwrap();
    for node in cluster.nodes() {
        let refusal = get(&node.url("/nowhere")).body["error"].as_str().unwrap().to_owned();
        let (_, known) = refusal.split_once("this node has ").expect("a list of paths");
        let mut known: Vec<&str> = known.split(", ").collect();
        for (path, methods) in paths {
            let target = path.replace("{id}", "1").replace("{key}", "key").replace("{name}", "secondary-1");
            let is_json = !matches!(&**path, "/live" | "/metrics" | "/" | "/backup");
            let reply = is_json.then(|| get(&node.url(&target)));
            let is_here = reply.as_ref().is_none_or(|reply| !reply.body.to_string().contains(" is not here; "));
            assert_eq!(known.contains(&&**path), is_here, "{path} of {}: {refusal}", node.name);
            known.retain(|known| known != path);
            if let (Some(reply), Some(get)) = (reply, methods.get("get")) {
                let is_named = get["responses"].get(reply.status.to_string()).is_some();
                assert!(is_named, "{path} of {}: {reply:?}", node.name);
            }
        }
        assert!(known.is_empty(), "{known:?} of {} are not in the document", node.name);
    }
    let reply = post(&cluster.master.url("/messages"), &json!({ "message": "two" }));
    let committed = &document["components"]["schemas"]["Committed"]["properties"];
    for field in reply.body.as_object().unwrap().keys() {
        assert!(committed.get(field).is_some(), "{field} of the reply is not in the document");
    }
}
