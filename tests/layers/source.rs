//! The files of a crate, and which of them uses which.
//!
//! A file uses another one if a path in its code leads there: one of a `use` line, or one that begins with `crate::`,
//! `super::`, `self::` or a module of its own. Comments and unit tests do not count. A name that a `mod.rs` imports
//! belongs to the file that it comes from, and a `pub use` is no use by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};

/// A module that is a file, by its path from the root of its crate.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Module(Vec<String>);

impl Module {
    /// The first part of its path.
    pub(crate) fn room(&self) -> &str {
        self.0.first().map_or("the root", String::as_str)
    }

    fn child(&self, name: &str) -> Module {
        Module(self.0.iter().cloned().chain([name.to_owned()]).collect())
    }
}

/// One file uses another one.
pub(crate) struct Link {
    pub(crate) from: Module,
    pub(crate) to: Module,
    pub(crate) kind: Kind,
    /// The file and the line that use, and the file that is used.
    places: (String, usize, String),
}

impl Display for Link {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (user, line, used) = &self.places;
        write!(formatter, "{user}:{line} uses {used}")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A `pub use`.
    PassesOn,
    /// A `use`.
    Imports,
    /// A path elsewhere in the code.
    Names,
}

/// A path in a file, with its line.
struct Use {
    line: usize,
    kind: Kind,
    path: Vec<String>,
}

pub(crate) struct File {
    pub(crate) path: String,
    /// The text without comments and unit tests.
    pub(crate) code: String,
    uses: Vec<Use>,
}

/// The files of a crate.
pub(crate) struct Source(pub(crate) BTreeMap<Module, File>);

impl Source {
    pub(crate) fn read(root: &str) -> Source {
        let module = |file: &Path| {
            let path = file.strip_prefix(root).unwrap().with_extension("");
            let mut names: Vec<String> = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            names.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
            Module(names)
        };
        let read = |file: &Path| {
            let text = fs::read_to_string(file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
            File { path: file.to_str().unwrap().to_owned(), uses: uses(&code), code }
        };
        Source(files_below(Path::new(root)).iter().map(|file| (module(file), read(file))).collect())
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (from, file) in &self.0 {
            for Use { line, kind, path } in &file.uses {
                if let Some(to) = self.owner(from, path).filter(|to| to != from) {
                    let places = (file.path.clone(), *line, self.0[&to].path.clone());
                    links.push(Link { from: from.clone(), to, kind: *kind, places });
                }
            }
        }
        links
    }

    /// The file that a path leads to from a file; none if that is in another crate.
    fn owner(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (mut at, mut rest) = (from.clone(), path);
        match rest.first()?.as_str() {
            "crate" | "replicated_log" => (at, rest) = (Module(Vec::new()), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {}
            name => drop(self.0.get(&at.child(name))?),
        }
        while let [name, after @ ..] = rest {
            at = match name.as_str() {
                "super" => Module(at.0[..at.0.len() - 1].to_vec()),
                name if self.0.contains_key(&at.child(name)) => at.child(name),
                name => return self.imported(&at, name).or(Some(at)),
            };
            rest = after;
        }
        Some(at)
    }

    /// The file of a name that a module only imports.
    fn imported(&self, module: &Module, name: &str) -> Option<Module> {
        let mut imports = self.0.get(module)?.uses.iter().filter(|used| used.kind != Kind::Names);
        let import = imports.find(|used| used.path.last().is_some_and(|last| last == name))?;
        self.owner(module, &import.path)
    }
}

/// Whether one file uses another one, directly or through others.
pub(crate) fn leads(links: &[Link], from: &Module, to: &Module) -> bool {
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        if found.insert(module) {
            next.extend(links.iter().filter(|link| link.from == *module).map(|link| &link.to));
        }
    }
    found.contains(to)
}

/// The paths in a file.
fn uses(code: &str) -> Vec<Use> {
    let declared = code.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod "));
    let roots: Vec<&str> = declared.map(|(_, name)| name).chain(["crate", "super", "self", "replicated_log"]).collect();
    let mut uses = Vec::new();
    let mut lines = code.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        let Some((before, tree)) =
            text.split_once("use ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
        else {
            // Within a function or a module of the file, `super` may be the file itself.
            let is_import = text.trim_start().starts_with("use super::");
            let named = roots.iter().filter(|_| !is_import).flat_map(|root| paths(text, root));
            uses.extend(named.map(|path| Use { line, kind: Kind::Names, path }));
            continue;
        };
        let kind = if before.is_empty() { Kind::Imports } else { Kind::PassesOn };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap().0.trim());
        }
        let mut found = Vec::new();
        flatten(&[], tree.trim_end_matches(';'), &mut found);
        uses.extend(found.into_iter().map(|path| Use { line, kind, path }));
    }
    uses
}

/// The paths in a line that begin with a name.
pub(crate) fn paths(line: &str, root: &str) -> Vec<Vec<String>> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let root = format!("{root}::");
    let begins = line.match_indices(&root).map(|(at, _)| at);
    let begins = begins.filter(|&at| !line[..at].ends_with(|letter| is_part(letter) || letter == '"'));
    let path = |at: usize| line[at..].split(|letter| !is_part(letter)).next().unwrap().split("::");
    begins.map(|at| path(at).filter(|name| !name.is_empty()).map(str::to_owned).collect()).collect()
}

/// Collects the paths of a tree of imports.
fn flatten(before: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let (path, branches) = tree.split_once('{').unwrap_or((tree, ""));
    let names = path.split("::").map(|name| name.split(" as ").next().unwrap().trim());
    let names = names.filter(|name| !name.is_empty() && (*name != "self" || before.is_empty()));
    let path: Vec<String> = before.iter().cloned().chain(names.map(str::to_owned)).collect();
    if branches.is_empty() {
        return found.push(path);
    }
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in branches.char_indices() {
        if depth == 0 && (letter == ',' || letter == '}') {
            if !branches[begin..at].trim().is_empty() {
                flatten(&path, branches[begin..at].trim(), found);
            }
            begin = at + 1;
        }
        depth += i32::from(letter == '{') - i32::from(letter == '}');
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
