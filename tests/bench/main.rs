//! What `scripts/bench` runs: how fast the queue is, and what it stands. See docs/benchmarks.md.

#![allow(dead_code, reason = "the figures that use the rest come next")]

mod crew;
mod drain;
mod figure;
mod queue;
mod raw;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "scripts/bench", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Speed and memory, each figure judged by its limit.
    ///
    /// Exit code 0: every figure reached its limit; 1: one did not; 2: one could not be measured.
    Queue(queue::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return ExitCode::from(2);
        }
    };
    let judged = runtime.block_on(async {
        match cli.what {
            What::Queue(options) => queue::run(&options).await,
        }
    });
    match judged {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What is going on, for whoever waits; the figures alone go to standard output.
fn progress(text: &str) {
    eprintln!("  {text}");
}
