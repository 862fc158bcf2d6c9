//! The layers of the source: which layer uses which, and that no files use each other in a circle.

#[path = "layers/source.rs"]
mod source;

use source::{File, Kind, Link, Module, Source, leads, paths};
use std::collections::BTreeSet;

/// The layers of `src`, in their order: each uses only itself and layers before it.
const ROOMS: [&str; 13] = [
    "protocol",
    "wire",
    "process",
    "store",
    "http",
    "peer",
    "node",
    "master",
    "secondary",
    "succession",
    "cli",
    "echo",
    "bin",
];
/// Layers that do not use each other, whatever their order.
const APART: [&str; 2] = ["master", "secondary"];
/// The only places in `src` that may name a library.
const EDGES: [(&str, &str); 4] = [
    ("prometheus", "src/node/metrics.rs"),
    ("rusqlite", "src/store/sqlite/"),
    ("tiny_http", "src/http/"),
    ("ureq", "src/peer/"),
];
/// The sources in which no files use each other in a circle.
const SOURCES: [&str; 2] = ["src", "test_client/src"];

#[test]
fn each_room_uses_only_rooms_before_it() {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let are_apart = |user: &str, used: &str| user != used && APART.contains(&user) && APART.contains(&used);
    let mut wrong = BTreeSet::new();
    for link in Source::read("src").links() {
        let [user, used] = [&link.from, &link.to].map(Module::room);
        let problem = match (place(user), place(used)) {
            _ if are_apart(user, used) => format!("{user} and {used} do not use each other"),
            (Some(after), Some(before)) if before <= after => continue,
            (Some(_), Some(_)) => format!("{used} comes after {user}"),
            _ => format!("ROOMS lacks {user} or {used}"),
        };
        wrong.insert(format!("{link}, but {problem}"));
    }
    fail_for(wrong);
}

#[test]
fn a_library_is_named_only_at_its_edge() {
    let mut wrong = BTreeSet::new();
    for File { path, code, .. } in Source::read("src").0.values() {
        for (library, edge) in EDGES.iter().filter(|(_, edge)| !path.starts_with(edge)) {
            let lines = code.lines().zip(1..).filter(|(line, _)| !paths(line, library).is_empty());
            wrong.extend(lines.map(|(_, number)| format!("{path}:{number} names {library}, which only {edge} does")));
        }
    }
    fail_for(wrong);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut wrong = BTreeSet::new();
    for root in SOURCES {
        let links: Vec<Link> =
            Source::read(root).links().into_iter().filter(|link| link.kind != Kind::PassesOn).collect();
        let in_circles = links.iter().filter(|link| leads(&links, &link.to, &link.from));
        wrong.extend(in_circles.map(|link| format!("{link}, which uses it, directly or through others")));
    }
    fail_for(wrong);
}

fn fail_for(wrong: BTreeSet<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}
