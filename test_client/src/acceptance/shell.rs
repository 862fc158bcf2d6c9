//! Commands that take a node away and bring it back.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a command may take. Stopping a container can take ten seconds.
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a command and waits for it to succeed. Its output goes to stderr, because stdout may be for a script.
pub(super) fn run(command: &str) -> Result<(), String> {
    match status(command) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("`{command}` failed ({status})")),
        Ok(None) => Err(format!("`{command}` had not ended after {} s", COMMAND_WAIT_MAX.as_secs())),
        Err(error) => Err(format!("`{command}` could not be run: {error}")),
    }
}

/// How the command ended, or `None` if it had to be killed.
fn status(command: &str) -> io::Result<Option<ExitStatus>> {
    let mut shell = Command::new("sh");
    let mut child = shell.args(["-c", command]).stdin(Stdio::null()).stdout(io::stderr()).spawn()?;
    let begun = Instant::now();
    while begun.elapsed() < COMMAND_WAIT_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK_EVERY);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_succeeds_or_says_how_it_failed() {
        assert_eq!(run("true"), Ok(()));
        assert_eq!(run("sleep 5 &"), Ok(()), "what goes on in the background is not waited for");
        assert_eq!(run("exit 3"), Err("`exit 3` failed (exit status: 3)".to_owned()));
    }
}
