//! The `infinicache` command. What it does is in the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use infinicache::{command::Cli, exit};
use infinicache_daemon::files;

// A node and a proxy that it runs have the allocator that they have alone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
