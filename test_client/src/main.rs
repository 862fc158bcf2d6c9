//! `test_client`: demonstrates and uses a replicated log from the outside, over HTTP alone.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a client lives at the edge: it measures waiting, and waits"
)]

mod acceptance;
mod api;
mod args;
mod bench;
mod check;
mod cluster;
mod commands;
mod exit;
mod history;
mod numbers;
mod output;
mod random;
mod scenario;
mod torture;
mod wait;

use api::{Client, Credentials, Promotion, TrimRequest};
use args::{Args, Command};
use clap::{CommandFactory, Parser};
use commands::{demo, export, get, health, leading, post, status, tail, trace, trim, write};
use exit::Exit;
use output::Terminal;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    args.color.write_global();
    match run(&args) {
        Ok(exit) => exit.into(),
        // The reader of our output closed it, as `| head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success.into(),
        Err(error) => {
            eprintln!("test_client: cannot write the output: {error}");
            Exit::Unknown.into()
        }
    }
}

fn run(args: &Args) -> io::Result<Exit> {
    let client = Client::new(args.master(), args.timeout(), args.token.clone().filter(Credentials::is_given));
    let mut terminal = Terminal::new(args.json);
    match &args.command {
        Command::Demo { no_failure } => demo::run(&client, &mut terminal, !no_failure),
        Command::Acceptance { down, up } => {
            let commands = down.clone().zip(up.clone());
            acceptance::run(args.master.is_some().then_some(client), args.timeout(), &mut terminal, commands)
        }
        Command::Check(options) => check::run(&mut terminal, options),
        Command::Torture(options) => torture::run(&client, args.master.is_some(), &mut terminal, options),
        Command::Bench(options) => bench::run(&client, &mut terminal, args.json, options),
        Command::Post { text: Some(text), lines: false, options } => post::run(&client, &mut terminal, text, options),
        Command::Post { text, options, .. } => post::run_lines(&client, &mut terminal, text.as_deref(), options),
        Command::Write { key } => write::run(&client, &mut terminal, key),
        Command::Get { url } => get::run(&client, &mut terminal, url.as_ref()),
        Command::Tail(options) => tail::run(&client, &mut terminal, options),
        Command::Export(options) => export::export(&client, &mut terminal, options),
        Command::Import(options) => export::import(&client, &mut terminal, options),
        Command::Trace { id } => trace::run(&client, &mut terminal, *id),
        Command::Secondaries => status::run_secondaries(&client, &mut terminal),
        Command::Health => health::run(&client, &mut terminal),
        Command::Status { every } => status::run(&client, &mut terminal, args.json, *every),
        Command::Nodes { urls } => leading::run_nodes(&client, &mut terminal, urls),
        Command::Promote { url, keep, force } => {
            leading::run_promote(&client, &mut terminal, url, Promotion { keep: *keep, force: *force })
        }
        Command::Rejoin { url, put_aside } => leading::run_rejoin(&client, &mut terminal, url, *put_aside),
        Command::Switchover { to } => leading::run_switchover(&client, &mut terminal, to.as_deref()),
        Command::Trim { before, dry_run, leave_behind } => {
            let request = TrimRequest { before: *before, dry_run: *dry_run, leave_behind: *leave_behind };
            trim::run(&client, &mut terminal, request)
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "test_client", &mut io::stdout());
            Ok(Exit::Success)
        }
    }
}
