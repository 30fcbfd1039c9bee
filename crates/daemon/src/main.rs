//! The binary `longshore`: configuration, wiring and subcommands. Nothing else in the house reads files,
//! the environment or the wall clock.

mod cli;
mod cmd;
mod config;
mod exit;
mod logging;
mod output;
mod shutdown;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let sources = config::Sources {
        file: cli.global.config.clone(),
        env: std::env::vars().collect(),
        flags: cli.global.flags(),
    };
    cmd::run(cli, &sources).into()
}
