//! The figures of the queue, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::enqueue::Enqueue;
use crate::figure::{Figure, HEADINGS, Round, Rule, percentile};
use crate::server::{Database, Server};
use crate::{Result, binary, drain, enqueue, idle, pickup, progress, raw, steps, takeover};

const NAMES: [&str; 12] = [
    "drain_100k",
    "drain_1m",
    "drain_held_xid",
    "pickup_p50",
    "pickup_p99",
    "enqueue_bulk",
    "enqueue_sql",
    "idle_xact",
    "idle_rss",
    "idle_cpu",
    "steps",
    "takeover",
];
/// Holds the finished rows that drain_1m's rounds begin with.
const OLD: &str = "drain_1m_old";

#[derive(Args, Debug)]
pub struct Options {
    /// One JSON object a line, one for each figure.
    #[arg(long)]
    json: bool,
    /// Only these figures, separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = PossibleValuesParser::new(NAMES))]
    only: Vec<String>,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Tiny sizes, to see that all of it works; its figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Tasks that the drained worker runs at the same time.
    #[arg(long, default_value_t = 4000)]
    slots: u32,
    /// Pending tasks of drain_100k and drain_held_xid.
    #[arg(long, value_name = "TASKS", default_value_t = 100_000)]
    pending: u64,
    /// Pending tasks of drain_1m.
    #[arg(long, value_name = "TASKS", default_value_t = 1_000_000)]
    pending_large: u64,
    /// Finished rows that stand beside them.
    #[arg(long, value_name = "ROWS", default_value_t = 5_000_000)]
    finished: u64,
    /// Rows of the raw limit's table.
    #[arg(long, value_name = "ROWS", default_value_t = 400_000)]
    raw_rows: u64,
    /// Single tasks of a round of pickup_p50 and pickup_p99.
    #[arg(long, value_name = "TASKS", default_value_t = 300)]
    pickups: u32,
    /// Tasks of a round of enqueue_bulk and of enqueue_sql.
    #[arg(long, value_name = "TASKS", default_value_t = 100_000)]
    enqueued: u64,
    /// Steps of each of the 64 tasks of a round of steps.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Length of a round of idleness.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle: u64,
    /// The `longshore` that is idle or killed [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the private Postgres keeps its data; it should be a real disk.
    #[arg(long, value_name = "FOLDER", default_value = "/tmp")]
    dir: PathBuf,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    fn sized(mut self) -> Self {
        if self.quick {
            self.rounds = 1;
            self.pending = 200;
            self.pending_large = 300;
            self.finished = 500;
            self.raw_rows = 2000;
            self.pickups = 5;
            self.enqueued = 1500;
            self.steps = 3;
            self.idle = 1;
        }
        self
    }

    fn binary(&self) -> Result<PathBuf> {
        self.binary.clone().map_or_else(binary::beside_us, Ok)
    }
}

/// Prints the figures; answers whether every one reached its limit.
pub async fn run(options: Options) -> Result<bool> {
    let options = &options.sized();
    let server = &Server::start(&options.dir).await?;
    if !options.json {
        println!("{HEADINGS}");
    }
    let mut told = Told {
        json: options.json,
        all_pass: true,
    };
    // The drained share that drain_1m is held against: that of this very run where it was measured.
    let mut share = 0.70;
    if options.wants("drain_100k") {
        let figure = drained(server, options, Drain::fresh("drain_100k", false), 0.70).await?;
        share = figure.ratio.max(share);
        told.tell(&figure);
    }
    if options.wants("drain_1m") {
        told.tell(&drained(server, options, Drain::OLD, 0.9 * share).await?);
    }
    if options.wants("drain_held_xid") {
        told.tell(&drained(server, options, Drain::fresh("drain_held_xid", true), 0.55).await?);
    }
    if options.wants("pickup_p50") || options.wants("pickup_p99") {
        for figure in picked_up(server, options).await? {
            told.tell_wanted(options, &figure);
        }
    }
    for way in [Enqueue::Calls, Enqueue::Statements] {
        if options.wants(way.name()) {
            told.tell(&enqueued(server, options, way).await?);
        }
    }
    if ["idle_xact", "idle_rss", "idle_cpu"]
        .iter()
        .any(|name| options.wants(name))
    {
        for figure in idled(server, options).await? {
            told.tell_wanted(options, &figure);
        }
    }
    if options.wants("steps") {
        told.tell(&stepped(server, options).await?);
    }
    if options.wants("takeover") {
        told.tell(&taken_over(server, options).await?);
    }
    Ok(told.all_pass)
}

struct Told {
    json: bool,
    all_pass: bool,
}

impl Told {
    fn tell(&mut self, figure: &Figure) {
        self.all_pass &= figure.pass;
        match self.json {
            true => println!("{}", figure.json()),
            false => println!("{}", figure.line()),
        }
    }

    /// Of figures that are measured together only those are told that were asked for.
    fn tell_wanted(&mut self, options: &Options, figure: &Figure) {
        if options.wants(figure.name) {
            self.tell(figure);
        }
    }
}

/// What kind of drain.
#[derive(Clone, Copy)]
struct Drain {
    name: &'static str,
    large: bool,
    held: bool,
}

impl Drain {
    const OLD: Self = Self {
        name: "drain_1m",
        large: true,
        held: false,
    };

    fn fresh(name: &'static str, held: bool) -> Self {
        Self {
            name,
            large: false,
            held,
        }
    }
}

/// Each round has its raw limit beside it, by turns before and after, so that what disturbs the machine disturbs both.
async fn drained(server: &Server, options: &Options, drain: Drain, share: f64) -> Result<Figure> {
    let Drain { name, large, held } = drain;
    let pending = if large {
        options.pending_large
    } else {
        options.pending
    };
    if large {
        let old = server.database(OLD).await?;
        drain::fill_finished(&old, options.finished).await?;
        drain::fill(&old, pending).await?;
        drain::vacuum(&old).await?;
    }
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        progress(&format!("{name}: round {} of {}", round + 1, options.rounds));
        let first = match round % 2 {
            0 => Some(raw::measure(server, options.raw_rows).await?),
            _ => None,
        };
        let database = match large {
            true => server.copy(OLD, name).await?,
            false => {
                let database = server.database(name).await?;
                drain::fill(&database, pending).await?;
                drain::vacuum(&database).await?;
                database
            }
        };
        let value = drain_once(server, &database, pending, held, options.slots).await?;
        server.forget(name).await?;
        let beside = match first {
            Some(beside) => beside,
            None => raw::measure(server, options.raw_rows).await?,
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
    if large {
        server.forget(OLD).await?;
    }
    let old = match large {
        true => format!(" beside {} finished", options.finished),
        false => String::new(),
    };
    let setting = format!(
        "{pending} pending{old}, {} slots; raw limit over {} rows",
        options.slots, options.raw_rows
    );
    Ok(Figure::judge(
        name,
        "tasks/s",
        Rule::Share(share),
        &rounds,
        setting,
    ))
}

async fn drain_once(
    server: &Server,
    database: &Database,
    pending: u64,
    held: bool,
    slots: u32,
) -> Result<f64> {
    server.settle().await?;
    let session = match held {
        true => Some(drain::hold_xid(database).await?),
        false => None,
    };
    let value = drain::measure(database, pending, slots).await;
    drop(session);
    value
}

async fn picked_up(server: &Server, options: &Options) -> Result<[Figure; 2]> {
    let slots = worker::Config::default().slots;
    let (mut p50, mut p99): (Vec<Round>, Vec<Round>) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        progress(&format!("pickup: round {} of {}", round + 1, options.rounds));
        let first = match round % 2 {
            0 => Some(pickup::bare(server, options.pickups).await?),
            _ => None,
        };
        let database = server.database("pickup").await?;
        let waits = pickup::measure(&database, options.pickups, slots).await?;
        server.forget("pickup").await?;
        let bare = match first {
            Some(bare) => bare,
            None => pickup::bare(server, options.pickups).await?,
        };
        for (figure, share) in [(&mut p50, 0.5), (&mut p99, 0.99)] {
            figure.push(Round {
                value: percentile(&waits, share),
                beside: Some(percentile(&bare, share)),
            });
        }
    }
    let setting = format!(
        "{} single tasks a round, {slots} slots, beside plain SQL",
        options.pickups
    );
    Ok([
        Figure::judge("pickup_p50", "ms", Rule::AtMost(0.8), &p50, setting.clone()),
        Figure::judge("pickup_p99", "ms", Rule::AtMost(2.0), &p99, setting),
    ])
}

/// By turns before and after COPY.
async fn enqueued(server: &Server, options: &Options, way: Enqueue) -> Result<Figure> {
    let (name, tasks) = (way.name(), options.enqueued);
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        progress(&format!("{name}: round {} of {}", round + 1, options.rounds));
        let first = match round % 2 {
            0 => Some(enqueue::copy(server, tasks).await?),
            _ => None,
        };
        let value = way.measure(server, tasks).await?;
        let beside = match first {
            Some(beside) => beside,
            None => enqueue::copy(server, tasks).await?,
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
    let rule = Rule::ShareAndAtLeast(0.5, 70_000.0);
    Ok(Figure::judge(name, "tasks/s", rule, &rounds, way.setting(tasks)))
}

async fn idled(server: &Server, options: &Options) -> Result<[Figure; 3]> {
    progress(&format!("idle: {} rounds of {} s", options.rounds, options.idle));
    let window = Duration::from_secs(options.idle);
    let windows = idle::measure(server, &options.binary()?, options.rounds, window).await?;
    let setting = format!("`longshore worker` alone, {} s a round", options.idle);
    let figure = |name, unit, most, of: fn(&idle::Idle) -> f64| {
        let rounds: Vec<Round> = windows.iter().map(|window| of(window).into()).collect();
        Figure::judge(name, unit, Rule::AtMost(most), &rounds, setting.clone())
    };
    Ok([
        figure("idle_xact", "transactions/s", 0.5, |idle| idle.transactions),
        figure("idle_rss", "MB", 30.0, |idle| idle.resident_mb),
        figure("idle_cpu", "% of a core", 0.3, |idle| idle.core),
    ])
}

async fn stepped(server: &Server, options: &Options) -> Result<Figure> {
    const TASKS: u32 = 64;
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        progress(&format!("steps: round {} of {}", round + 1, options.rounds));
        let database = server.database("steps").await?;
        drain::fill(&database, u64::from(TASKS)).await?;
        server.settle().await?;
        rounds.push(steps::measure(&database, TASKS, options.steps).await?.into());
        server.forget("steps").await?;
    }
    let setting = format!("{TASKS} tasks at once, {} steps each", options.steps);
    Ok(Figure::judge(
        "steps",
        "steps/s",
        Rule::AtLeast(4000.0),
        &rounds,
        setting,
    ))
}

async fn taken_over(server: &Server, options: &Options) -> Result<Figure> {
    let binary = options.binary()?;
    let defaults = worker::Config::default();
    let mut rounds: Vec<Round> = Vec::new();
    for round in 0..options.rounds {
        progress(&format!("takeover: round {} of {}", round + 1, options.rounds));
        rounds.push(takeover::measure(server, &binary).await?.into());
    }
    let (lease, poll) = (defaults.lease.as_secs_f64(), defaults.poll.as_secs_f64());
    let worst = rounds.iter().map(|round| round.value).fold(f64::NAN, f64::max);
    let setting = format!("SIGKILL of one of two; lease {lease} s, poll {poll} s; the slowest {worst:.2} s");
    Ok(Figure::judge(
        "takeover",
        "s",
        Rule::AtMost(lease + poll),
        &rounds,
        setting,
    ))
}
