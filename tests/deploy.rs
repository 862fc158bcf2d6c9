//! The files in `deploy`: the tools that read them accept them, and the programs know every setting in them.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs other programs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MASTER: &str = env!("CARGO_BIN_EXE_master");
const SECONDARY: &str = env!("CARGO_BIN_EXE_secondary");

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// Runs a tool. Prints a line where it is not installed.
fn tool(name: &str, arguments: &[&Path]) -> Option<Output> {
    let output = Command::new(name).args(arguments).output();
    if output.is_err() {
        println!("skipped: {name} is not installed");
    }
    output.ok()
}

#[test]
fn kubernetes_knows_every_field() {
    if let Some(output) = tool("kubernetes-validate", &[&file("kubernetes/replicated-log.yaml")]) {
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn systemd_has_nothing_to_complain_about() {
    let directory = tempfile::tempdir().unwrap();
    for (role, program) in [("master", MASTER), ("secondary", SECONDARY)] {
        let name = format!("replicated-log-{role}.service");
        let unit = fs::read_to_string(file(&format!("systemd/{name}"))).unwrap();
        let copy = directory.path().join(&name);
        fs::write(&copy, unit.replace(&format!("/usr/local/bin/{role}"), program)).unwrap();
        let Some(output) = tool("systemd-analyze", &[Path::new("verify"), &copy]) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains(&name), "{said}");
    }
}

#[test]
fn every_setting_is_one_that_the_program_knows() {
    let help = |program: &str| {
        let output = Command::new(program).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let kubernetes = fs::read_to_string(file("kubernetes/replicated-log.yaml")).unwrap();
    let (_, of_secondary) =
        kubernetes.split_once("name: replicated-log-secondary\n").expect("the secondary comes last");
    let of_master = kubernetes.strip_suffix(of_secondary).unwrap();
    for (role, program, stateful_set) in [("master", MASTER, of_master), ("secondary", SECONDARY, of_secondary)] {
        let unit = fs::read_to_string(file(&format!("systemd/replicated-log-{role}.service"))).unwrap();
        let in_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment=")).flat_map(str::split_whitespace);
        let in_unit = in_unit.filter_map(|pair| Some(pair.split_once('=')?.0));
        let names = stateful_set.split("name: ").skip(1).filter_map(|rest| rest.split([',', '\n', '}']).next());
        let is_variable = |name: &&str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let settings: Vec<&str> = in_unit.chain(names.filter(is_variable)).collect();
        assert!(settings.len() >= 7, "{role}: {settings:?}");
        let help = help(program);
        for setting in settings {
            assert!(help.contains(setting), "{role} does not know {setting}");
        }
    }
}
