use clap::{Args, Subcommand, ValueEnum};

use super::tasks::TaskFlags;

#[derive(Debug, Subcommand)]
pub enum SchedulesCommand {
    /// List the schedules
    List,
    /// Show one schedule: its task, its runs
    Show {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Make a schedule, or change the one of that name
    Set(Box<SetSchedule>),
    /// Let schedules run, from now on
    Enable {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Stop schedules until they are enabled again
    Disable {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Forget schedules; the tasks that they made stay
    Delete {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Make a schedule's task now, besides its runs
    RunNow {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct SetSchedule {
    /// Letters, digits, dots, dashes and underscores
    #[arg(value_name = "NAME")]
    pub name: String,
    /// When: minute, hour, day of month, month, day of week; seconds may stand in front; or @hourly, @daily, …
    #[arg(long, value_name = "EXPRESSION")]
    pub cron: String,
    /// Whose clocks the expression is read on, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
    /// At a run while the task of an earlier one is unfinished: make none, or another one
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub overlap: OverlapArg,
    /// Runs that fell into an outage: make up for them once, or leave them out
    #[arg(long, value_name = "WHAT", default_value = "once")]
    pub missed: MissedArg,
    /// Set it and let it not run yet
    #[arg(long)]
    pub disabled: bool,
    #[command(flatten)]
    pub task: TaskFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverlapArg {
    Skip,
    Allow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissedArg {
    Once,
    Skip,
}
