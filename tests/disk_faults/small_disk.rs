//! A small disk for one node: a tmpfs that only the node and the test see.
//!
//! It is in a mount namespace of its own. A helper process keeps the namespace alive while the node is killed and
//! started again. Where the system does not permit this, the tests print `skipped` and why, and pass. With
//! `REQUIRE_FAULTS=1` they fail.

use super::common::{Cluster, Node, TIMEOUT};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// Several times the free space that a node needs before it takes messages again.
const SIZE: &str = "size=32m";
/// Mounts, prints that it has, and lasts until its input ends.
const KEEPER: &str = r#"mount -t tmpfs -o "$1" tmpfs "$0" && echo mounted && exec cat"#;

/// Whether small disks can be made here.
pub(crate) fn is_available() -> bool {
    super::is_available("REQUIRE_FAULTS", || {
        let directory = tempfile::tempdir().unwrap();
        SmallDisk::mount(directory.path()).map(|_| ())
    })
}

pub(crate) struct SmallDisk {
    holder: Child,
    mounted_at: PathBuf,
}

impl SmallDisk {
    /// Makes a cluster, not started yet, in which the data of one node lies on a small disk.
    pub(crate) fn prepare(delays: &[&str], choose: impl Fn(&mut Cluster) -> &mut Node) -> (Cluster, SmallDisk) {
        let mut cluster = Cluster::prepare(delays);
        let node = choose(&mut cluster);
        fs::create_dir_all(node.data()).unwrap();
        let disk = SmallDisk::mount(&node.data()).unwrap();
        let mut wrapper = vec!["nsenter".to_owned(), format!("--target={}", disk.holder.id()), "--mount".to_owned()];
        if !geteuid().is_root() {
            wrapper.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        node.run_through(wrapper);
        (cluster, disk)
    }

    fn mount(directory: &Path) -> Result<SmallDisk, String> {
        let as_root: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
        let mut holder = Command::new("unshare")
            .arg("--mount")
            .args(as_root)
            .args(["sh", "-c", KEEPER])
            .arg(directory)
            .arg(SIZE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare cannot be started: {error}"))?;
        let mut lines = BufReader::new(holder.stdout.take().expect("piped")).lines();
        let (said, says) = mpsc::channel();
        thread::spawn(move || said.send(lines.next()));
        match says.recv_timeout(TIMEOUT) {
            Ok(Some(Ok(line))) if line == "mounted" => Ok(SmallDisk { holder, mounted_at: directory.to_owned() }),
            _ => {
                let _ = holder.kill();
                let mut why = String::new();
                let _ = holder.stderr.take().expect("piped").read_to_string(&mut why);
                holder.wait().map_err(|error| error.to_string())?;
                Err(format!("a small disk cannot be made: {}", why.trim()))
            }
        }
    }

    /// The path of a file on this disk, as processes outside the namespace reach it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let inside = self.mounted_at.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(inside).join(name)
    }

    /// Takes all the free space.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.file("filler")).unwrap();
        let page = [1; 4096];
        while file.write(&page).is_ok_and(|written| written > 0) {}
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.file("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
