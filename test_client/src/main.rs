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
mod output;
mod random;
mod scenario;
mod torture;
mod wait;

use api::{Client, Credentials};
use args::{Args, Command};
use clap::{CommandFactory, Parser};
use commands::{demo, export, get, health, post, status, tail, trace, write};
use exit::Exit;
use output::Screen;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    args.color.write_global();
    match run(&args) {
        Ok(exit) => exit.into(),
        // Whoever closed our output (`| head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success.into(),
        Err(error) => {
            eprintln!("test_client: cannot write the output: {error}");
            Exit::Unknown.into()
        }
    }
}

fn run(args: &Args) -> io::Result<Exit> {
    let client = Client::new(args.master(), args.timeout(), args.token.clone().filter(Credentials::is_given));
    let mut screen = Screen::new(args.json);
    match &args.command {
        Command::Demo { no_failure } => demo::run(&client, &mut screen, !no_failure),
        Command::Acceptance { down, up } => {
            let commands = down.clone().zip(up.clone());
            acceptance::run(args.master.is_some().then_some(client), args.timeout(), &mut screen, commands)
        }
        Command::Check(options) => check::run(&mut screen, options),
        Command::Torture(options) => torture::run(&client, args.master.is_some(), &mut screen, options),
        Command::Bench(options) => bench::run(&client, &mut screen, args.json, options),
        Command::Post { text: Some(text), lines: false, wishes } => post::run(&client, &mut screen, text, wishes),
        Command::Post { text, wishes, .. } => post::run_lines(&client, &mut screen, text.as_deref(), wishes),
        Command::Write { key } => write::run(&client, &mut screen, key),
        Command::Get { url } => get::run(&client, &mut screen, url.as_ref()),
        Command::Tail(options) => tail::run(&client, &mut screen, options),
        Command::Export(options) => export::export(&client, &mut screen, options),
        Command::Import(options) => export::import(&client, &mut screen, options),
        Command::Trace { id } => trace::run(&client, &mut screen, *id),
        Command::Secondaries => status::run_secondaries(&client, &mut screen),
        Command::Health => health::run(&client, &mut screen),
        Command::Status { every } => status::run(&client, &mut screen, args.json, *every),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "test_client", &mut io::stdout());
            Ok(Exit::Success)
        }
    }
}
