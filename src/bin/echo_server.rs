//! `echo_server`: sends every line back to the client that sent it.

use clap::Parser;
use replicated_log::echo::{self, CLIENTS_MAX, LINE_BYTES_MAX};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;

/// Sends every line back to the client that sent it, over TCP, to many clients at once.
#[derive(Parser)]
#[command(version, after_help = after_help())]
struct Args {
    /// Port to listen on; 0 takes any free one, which the first line of output names
    #[arg(default_value_t = 9009)]
    port: u16,

    /// Address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
}

fn after_help() -> String {
    format!(
        "\
Try it:
  echo_server 9009                          in one shell
  echo_client 127.0.0.1 9009 \"hello world\"  in another

Limits: {CLIENTS_MAX} clients at once, {LINE_BYTES_MAX} bytes in a line. A client beyond a limit gets an explanation and is disconnected.
Ctrl-C and SIGTERM stop it.

Exit codes: 0 stopped as asked, 1 the port cannot be used, 2 wrong usage."
    )
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Before the port is printed: a program that reads it may send a signal at once.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let listener = echo::listen(SocketAddr::new(args.bind, args.port))?;
    writeln!(io::stdout(), "echo_server listens on {}", listener.local_addr()?)?;
    thread::Builder::new().spawn(move || echo::serve(&listener))?;
    signals.forever().next();
    Ok(())
}
