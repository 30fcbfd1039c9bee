//! The figures of the queue, one after the other.

use std::path::PathBuf;

use clap::Args;

use crate::figure::{Figure, HEADINGS, Round, Rule};
use crate::server::Server;
use crate::{Result, drain, progress, raw};

const NAMES: &[&str] = &["drain_100k", "drain_held_xid"];

#[derive(Args, Debug)]
pub struct Options {
    /// One JSON object a line, one for each figure.
    #[arg(long)]
    json: bool,
    /// Only these figures, separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    only: Vec<String>,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Tasks that the drained worker runs at the same time.
    #[arg(long, default_value_t = 1000)]
    slots: u32,
    /// Pending tasks of drain_100k and drain_held_xid.
    #[arg(long, value_name = "TASKS", default_value_t = 100_000)]
    pending: u64,
    /// Rows of the raw limit's table.
    #[arg(long, value_name = "ROWS", default_value_t = 400_000)]
    raw_rows: u64,
    /// Where the private Postgres keeps its data; it should be a real disk.
    #[arg(long, value_name = "FOLDER", default_value = "/tmp")]
    dir: PathBuf,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// Prints the figures; answers whether every one reached its limit.
pub async fn run(options: &Options) -> Result<bool> {
    let server = Server::start(&options.dir).await?;
    if !options.json {
        println!("{HEADINGS}");
    }
    let mut all = true;
    let mut tell = |figure: &Figure| {
        all &= figure.pass;
        match options.json {
            true => println!("{}", figure.json()),
            false => println!("{}", figure.line()),
        }
    };
    for (name, held, share) in [("drain_100k", false, 0.70), ("drain_held_xid", true, 0.55)] {
        if options.wants(name) {
            tell(&drained(&server, options, name, held, share).await?);
        }
    }
    Ok(all)
}

/// Each round has its raw limit beside it, by turns before and after, so that what disturbs the machine disturbs both.
async fn drained(
    server: &Server,
    options: &Options,
    name: &'static str,
    held: bool,
    share: f64,
) -> Result<Figure> {
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        progress(&format!("{name}: round {} of {}", round + 1, options.rounds));
        let first = match round % 2 {
            0 => Some(raw_limit(server, options).await?),
            _ => None,
        };
        let database = server.database(name).await?;
        drain::fill(&database, options.pending).await?;
        server.settle().await?;
        let session = match held {
            true => Some(drain::hold_xid(&database).await?),
            false => None,
        };
        let value = drain::measure(&database, options.pending, options.slots).await?;
        drop(session);
        server.forget(name).await?;
        let beside = match first {
            Some(beside) => beside,
            None => raw_limit(server, options).await?,
        };
        progress(&format!(
            "{value:.0} of {beside:.0} tasks/s: {:.3}",
            value / beside
        ));
        rounds.push(Round {
            value,
            beside: Some(beside),
        });
    }
    let setting = format!(
        "{} pending, {} slots, {} rounds beside the raw limit over {} rows",
        options.pending, options.slots, options.rounds, options.raw_rows
    );
    Ok(Figure::judge(
        name,
        "tasks/s",
        Rule::Share(share),
        &rounds,
        setting,
    ))
}

async fn raw_limit(server: &Server, options: &Options) -> Result<f64> {
    raw::measure(server, options.raw_rows).await
}
