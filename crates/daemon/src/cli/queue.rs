use clap::{ArgGroup, Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Show what holds tasks back: limits, pauses, repositories that rest
    List,
    /// Let only so many tasks run at once, across all workers
    ///
    /// A task that is parked takes no place. What runs already goes on when the limit is smaller.
    Limit(Limit),
    /// Start no more tasks; what was begun goes on to its end
    Pause(Pause),
    /// Start tasks again
    Resume(What),
}

/// Which tasks.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct What {
    /// Those of a task type, such as deploy
    #[arg(long = "type", value_name = "TYPE", alias = "task-type", group = "what")]
    pub task_type: Option<String>,
    /// Those of a repository: its id, project, slug or name
    #[arg(long, value_name = "REPO", alias = "repo-id", group = "what")]
    pub repo: Option<String>,
    /// All
    #[arg(long, group = "what")]
    pub all: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("how many").required(true))]
pub struct Limit {
    #[command(flatten)]
    pub what: What,
    /// At most so many
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), group = "how many")]
    pub most: Option<u32>,
    /// Take the limit away
    #[arg(long, group = "how many")]
    pub none: bool,
}

#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    pub what: What,
    /// Why, for those who wonder
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}
