//! `echo_client`: sends lines to an echo server and prints what comes back.

use clap::Parser;
use replicated_log::echo::EchoClient;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

/// Sends lines to an echo server and prints what comes back.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  echo_client 127.0.0.1 9009 \"hello world\"    send one line
  echo_client localhost 9009                  send what you type, until Ctrl-D
  echo_client localhost 9009 < poem.txt       send a file, line by line

Exit codes: 0 every line came back as it was sent, 1 it did not or the connection failed, 2 wrong usage."
)]
struct Args {
    /// Name or address of the server
    host: String,

    /// Its port
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// What to send, joined by single spaces; without it, every line of the standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    text: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let mut client = EchoClient::connect(&args.host, args.port)?;
    if !args.text.is_empty() {
        // The line break makes an empty text a line, too.
        let mut text = args.text.join(" ".as_ref());
        text.push("\n");
        return client.echo_all(text.as_encoded_bytes(), io::stdout());
    }
    if io::stdin().is_terminal() {
        eprintln!("Connected. Every line you type comes back; Ctrl-D ends.");
    }
    client.echo_all(io::stdin().lock(), io::stdout())
}
