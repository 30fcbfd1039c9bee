//! What each command does.

mod config;

use std::collections::BTreeMap;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::config::Sources;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;

/// Runs one command to its end.
pub fn run(cli: Cli, sources: &Sources) -> Exit {
    let no_color = is_set(&sources.env, "NO_COLOR");
    let out = Output::new(cli.global.json, cli.global.color, no_color);
    match dispatch(cli, sources, out) {
        Ok(exit) => exit,
        Err(Failure(error)) => {
            out.error(&error);
            Exit::of(&error)
        }
    }
}

fn is_set(env: &BTreeMap<String, String>, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.is_empty())
}

fn dispatch(cli: Cli, sources: &Sources, out: Output) -> Outcome {
    match cli.command {
        Command::Config(command) => config::run(&command, sources, out),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "longshore", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    }
}
