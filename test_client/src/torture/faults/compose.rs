//! Faults of the containers of a docker compose project.
//!
//! Services are called what their nodes are called (`SERVER_ID`). Everything is done by the programs that users have,
//! `docker compose` or `docker-compose`, and `docker` for networks, so it can be undone by hand with the same.

use super::fault::{ActiveFault, Class, FaultSource, Sources, between};
use crate::random::Random;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A project.
pub(crate) struct Compose {
    /// The words that every command begins with.
    words: Vec<String>,
    /// The services, the master first.
    names: Vec<String>,
}

/// One class of what can be done to it.
struct Containers {
    class: Class,
    compose: Arc<Compose>,
}

impl Compose {
    /// Finds the program and the project, and that each node is a service of it.
    pub(crate) fn find(file: Option<&Path>, project: Option<&str>, names: &[String]) -> Result<Compose, String> {
        let programs = [vec!["docker", "compose"], vec!["docker-compose"]];
        let is_there = |words: &&Vec<&str>| run(words.iter().chain(&["version"])).is_ok();
        let Some(words) = programs.iter().find(is_there) else {
            return Err("there is neither `docker compose` nor `docker-compose`".to_owned());
        };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if let Some(file) = file {
            words.extend(["-f".to_owned(), file.display().to_string()]);
        }
        if let Some(project) = project {
            words.extend(["-p".to_owned(), project.to_owned()]);
        }
        let compose = Compose { words, names: names.to_vec() };
        let services = compose.run(&["config", "--services"])?;
        match names.iter().find(|name| !services.lines().any(|service| service == **name)) {
            Some(name) => Err(format!("{name} is no service of this project; name the right one with --compose-file")),
            None => Ok(compose),
        }
    }

    /// What can be done.
    pub(crate) fn sources(self) -> Sources {
        let compose = Arc::new(self);
        let classes = [Class::Kill, Class::Pause, Class::Network, Class::Restart];
        let of = |class| Box::new(Containers { class, compose: Arc::clone(&compose) }) as Box<dyn FaultSource>;
        classes.into_iter().map(|class| (class, of(class))).collect()
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        run(self.words.iter().map(String::as_str).chain(arguments.iter().copied()))
    }

    /// The container of a service, and the network that it is in.
    fn container_of(&self, service: &str) -> Result<(String, String), String> {
        let container = self.run(&["ps", "-q", service])?.trim().to_owned();
        let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        let networks = run(["docker", "inspect", "-f", format, &container])?;
        match networks.split_whitespace().next() {
            Some(network) => Ok((container, network.to_owned())),
            None => Err(format!("{service} is in no network")),
        }
    }
}

impl FaultSource for Containers {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let node = random.one_of(idle);
        let compose = Arc::clone(&self.compose);
        let service = compose.names[node].clone();
        let nodes = vec![node];
        match self.class {
            Class::Pause => {
                compose.run(&["pause", &service])?;
                let what = format!("{service} paused");
                let undo = Box::new(move || compose.run(&["unpause", &service]).map(|_| None));
                Ok(ActiveFault { what, nodes, lasts: between(random, 300, 6000), undo })
            }
            Class::Network => {
                let (container, network) = compose.container_of(&service)?;
                run(["docker", "network", "disconnect", &network, &container])?;
                let what = format!("{service} taken from its network");
                let undo = Box::new(move || {
                    run(["docker", "network", "connect", "--alias", &service, &network, &container]).map(|_| None)
                });
                Ok(ActiveFault { what, nodes, lasts: between(random, 300, 6000), undo })
            }
            Class::Restart => {
                compose.run(&["restart", &service])?;
                let what = format!("{service} restarted");
                Ok(ActiveFault { what, nodes, lasts: between(random, 0, 500), undo: Box::new(|| Ok(None)) })
            }
            _ => {
                compose.run(&["kill", "-s", "KILL", &service])?;
                let what = format!("{service} killed");
                let undo = Box::new(move || compose.run(&["start", &service]).map(|_| None));
                Ok(ActiveFault { what, nodes, lasts: between(random, 0, 2000), undo })
            }
        }
    }
}

/// Runs a command to its end. Gives what it printed.
fn run<'a>(words: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Result<String, String> {
    let words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    let line = words.join(" ");
    // Ctrl-C is for this process, which then undoes what it did.
    let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).process_group(0).output();
    let output = output.map_err(|error| format!("`{line}` could not be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{line}` failed ({}): {}", output.status, said.lines().last().unwrap_or("it said nothing")))
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn a_command_gives_what_it_printed_or_says_how_it_failed() {
        assert_eq!(run(["echo", "web"]), Ok("web\n".to_owned()));
        let failed = run(["sh", "-c", "echo no such service >&2; exit 3"]).unwrap_err();
        assert!(failed.contains("exit status: 3") && failed.ends_with("no such service"), "{failed}");
        assert!(run(["no-such-program"]).unwrap_err().contains("could not be run"));
    }
}
