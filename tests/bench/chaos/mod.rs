//! What the queue stands: two workers under a steady load while something is done to them or to Postgres. The load is a
//! share of what the same two carry undisturbed, found first.

mod capacity;
mod cell;
mod disturb;
mod load;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::server::Server;
use crate::{Result, progress};

pub use cell::{Cell, HEADINGS};
pub use worker::{Work, work};

/// For 300 idle ones besides our own; Postgres's default is 100.
const CONNECTIONS: u32 = 400;

#[derive(Args, Debug)]
pub struct Options {
    /// One JSON object a line, one for each cell.
    #[arg(long)]
    json: bool,
    /// Only these cells, separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = PossibleValuesParser::new(cell::NAMES))]
    only: Vec<String>,
    /// Windows of a few seconds, for a quick look.
    #[arg(long)]
    quick: bool,
    /// What two workers carry here, instead of finding it.
    #[arg(long, value_name = "TASKS A SECOND")]
    capacity: Option<f64>,
    /// Each window: before the disturbance, during it, after it.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    window: f64,
    /// How long the burst lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    burst: f64,
    /// Where the private Postgres keeps its data; it should be a real disk.
    #[arg(long, value_name = "FOLDER", default_value = "/tmp")]
    dir: PathBuf,
}

/// Prints the table; answers whether every cell passed.
pub async fn run(mut options: Options) -> Result<bool> {
    if options.quick {
        options.window = 5.0;
        options.burst = 10.0;
    }
    let mut server = Server::start(&options.dir).await?;
    server.set("max_connections", &CONNECTIONS.to_string()).await?;
    let capacity = match options.capacity {
        Some(given) => given,
        None => {
            progress("finding what two workers carry undisturbed");
            let found = capacity::find(&server, Duration::from_secs_f64(options.window)).await?;
            match options.json {
                true => println!("{}", capacity::json(found)),
                false => println!("two workers carry {found:.1} tasks/s"),
            }
            found
        }
    };
    if !options.json {
        println!("{HEADINGS}");
    }
    let mut all_pass = true;
    for cell in Cell::all() {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == cell.name) {
            continue;
        }
        let during = match cell.name {
            "burst" => options.burst,
            _ => options.window,
        };
        progress(&format!(
            "{}: windows of {} s and {during} s",
            cell.name, options.window
        ));
        let windows = cell::Windows {
            around: Duration::from_secs_f64(options.window),
            during: Duration::from_secs_f64(during),
        };
        let came = cell.run(&mut server, capacity * cell.share(), windows).await?;
        let verdict = cell.judge(&came);
        all_pass &= verdict.pass;
        match options.json {
            true => println!("{}", verdict.json()),
            false => println!("{}", verdict.line()),
        }
    }
    Ok(all_pass)
}
