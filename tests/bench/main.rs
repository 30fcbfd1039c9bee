//! What `scripts/bench` runs: how fast the queue is, and what it stands. See docs/benchmarks.md.

mod binary;
mod chaos;
mod crew;
mod drain;
mod enqueue;
mod figure;
mod idle;
mod pickup;
mod queue;
mod raw;
mod server;
mod steps;
mod takeover;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Queue(Box<queue::Options>),
    /// What the queue stands: faults and pressure under a steady load, each judged.
    ///
    /// Exit code 0: every cell passed; 1: one did not; 2: one could not be run.
    Chaos(chaos::Options),
    /// A worker of `chaos`.
    #[command(hide = true)]
    Work(chaos::Work),
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
            What::Queue(options) => queue::run(*options).await,
            What::Chaos(options) => chaos::run(options).await,
            What::Work(options) => chaos::work(options).await.map(|()| true),
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
