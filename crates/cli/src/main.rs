//! The `infinicache` command. What it does is told in the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use infinicache::{command::Cli, exit};
use infinicache_daemon::files;

// Most of the work of a node and a proxy is on short-lived buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Of a cluster, or of a load, most files are sockets.
    files::raise_limit();
    let outcome = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(told) => exit::usage(&told),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
