//! `test_client`: demonstrates and uses a replicated log from the outside, over HTTP alone.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a client lives at the edge: it measures waiting, and waits"
)]

mod acceptance;
mod address;
mod api;
mod args;
mod bench;
mod checks;
mod cluster;
mod demo;
mod exit;
mod get;
mod health;
mod patience;
mod post;
mod report;
mod screen;
mod story;
mod wishes;
mod write;

use api::Client;
use args::{Args, Command};
use clap::Parser;
use exit::Exit;
use screen::Screen;
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
    let client = Client::new(args.master(), args.timeout());
    let mut screen = Screen::new(args.json);
    match &args.command {
        Command::Demo { no_failure } => demo::run(&client, &mut screen, !no_failure),
        Command::Acceptance { down, up } => {
            let commands = down.clone().zip(up.clone());
            acceptance::run(args.master.is_some().then_some(client), args.timeout(), &mut screen, commands)
        }
        Command::Bench(options) => bench::run(&client, &mut screen, args.json, options),
        Command::Post { text: Some(text), lines: false, wishes } => post::run(&client, &mut screen, text, wishes),
        Command::Post { text, wishes, .. } => post::run_lines(&client, &mut screen, text.as_deref(), wishes),
        Command::Write { key } => write::run(&client, &mut screen, key),
        Command::Get { url } => get::run(&client, &mut screen, url.as_ref()),
        Command::Health => health::run(&client, &mut screen),
    }
}
