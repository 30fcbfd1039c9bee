use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use domain::TaskStatus;
use store::{Cursor, State};

/// Put a task into the table, or many
///
/// With --dashboard-url (or DASHBOARD_URL) it goes to that API, else straight into the database.
#[derive(Debug, Args)]
#[command(mut_arg("task_type", |arg| arg.required(false).required_unless_present("from")))]
pub struct CreateTask {
    #[command(flatten)]
    pub task: Option<TaskFlags>,
    /// Make many tasks: a file with one a line, as JSON like that of POST /api/tasks; `-` reads standard input
    ///
    /// They go in by the thousands, each batch whole or not at all; what is wrong is told with its line, and which lines are in.
    #[arg(long, value_name = "FILE|-", conflicts_with = "TaskFlags")]
    pub from: Option<PathBuf>,
    /// Base address of a longshore API to send the task to [env: DASHBOARD_URL]
    #[arg(long, value_name = "URL")]
    pub dashboard_url: Option<String>,
}

/// What a new task is to be.
#[derive(Debug, Args)]
pub struct TaskFlags {
    /// Agent that is to do it; without it, any that serves the type
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What kind of task: fix_build, deploy, rollback, manage_pipeline, infrastructure…
    #[arg(long, value_name = "TYPE")]
    pub task_type: String,
    /// 1 to 10; 10 is taken first [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i64>,
    /// Repository that it is about
    #[arg(long, value_name = "ID")]
    pub repo_id: Option<String>,
    /// Task that it belongs to
    #[arg(long, value_name = "ID")]
    pub parent_task_id: Option<String>,
    /// What to do, in words; becomes `payload.instruction`
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// The payload as a JSON object; `-` reads it from standard input
    #[arg(long, value_name = "JSON|-")]
    pub payload_json: Option<String>,
    /// Who asks
    #[arg(long, value_name = "NAME")]
    pub created_by: Option<String>,
    /// Makes no second task while one with this key is unfinished; the answer is then that one
    #[arg(long, value_name = "KEY")]
    pub dedupe_key: Option<String>,
    /// Begin it then at the earliest: 2026-01-29, or 2026-01-29T16:28:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub run_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// List tasks, newest first
    List(ListTasks),
    /// Show one task: its state, steps, history and result
    Show {
        #[arg(value_name = "TASK")]
        id: String,
    },
    /// Follow a task's history until it ends; the exit code tells how
    Watch(WatchTask),
    /// Cancel tasks; a running one is told, undoes what it did and ends as `cancelled`
    ///
    /// Names tasks, or says by filter which; by filter what is pending, in progress or waiting unless --status says otherwise.
    Cancel(Which),
    /// Approve what a task asks; it goes on
    Approve(Decide),
    /// Reject what a task asks; its handler decides what follows
    Reject(Decide),
    /// Stop a deployment before more users get the new version, a rolling update also in the middle; it stands still until it is resumed
    Pause {
        #[arg(value_name = "TASK")]
        id: String,
        /// Why; shown on its ticket
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a paused deployment go on
    Resume {
        #[arg(value_name = "TASK")]
        id: String,
    },
    /// Run failed, cancelled or held tasks again
    ///
    /// Names tasks, or says by filter which; by filter what failed or is held unless --status says otherwise.
    Retry(Which),
    /// What failed or is held and so needs somebody, by type and error
    Dead(ListDead),
}

/// Which tasks: named, or by filter.
#[derive(Debug, Args)]
pub struct Which {
    #[arg(value_name = "TASK", conflicts_with_all = ["status", "task_type", "agent", "repo_id", "created_before", "created_after", "error", "all", "dry_run", "yes"])]
    pub ids: Vec<String>,
    /// Only these states, `held` among them; may be given more than once
    #[arg(long, value_name = "STATE", alias = "state", value_delimiter = ',', value_parser = state(), help_heading = "By filter")]
    pub status: Vec<State>,
    /// Only this type
    #[arg(long, value_name = "TYPE", alias = "type", help_heading = "By filter")]
    pub task_type: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "NAME", help_heading = "By filter")]
    pub agent: Option<String>,
    /// Only this repository's: its id, project, slug or name
    #[arg(long, value_name = "REPO", alias = "repo", help_heading = "By filter")]
    pub repo_id: Option<String>,
    /// Only what was created before: 2026-01-29, or 2026-01-29T16:28:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment, help_heading = "By filter")]
    pub created_before: Option<DateTime<Utc>>,
    /// Only what was created then or later
    #[arg(long, value_name = "MOMENT", value_parser = moment, help_heading = "By filter")]
    pub created_after: Option<DateTime<Utc>>,
    /// Only what stopped with this error, as `tasks dead` or the task shows it; ids and numbers may differ
    #[arg(long, value_name = "TEXT", help_heading = "By filter")]
    pub error: Option<String>,
    /// Say that all are meant, where nothing else is said
    #[arg(long, help_heading = "By filter")]
    pub all: bool,
    /// Show what would be done, and do nothing
    #[arg(long, help_heading = "By filter")]
    pub dry_run: bool,
    /// Do it although it is more than one task
    #[arg(long, help_heading = "By filter")]
    pub yes: bool,
}

/// States by name, so that help and completions offer them.
fn state() -> impl TypedValueParser<Value = State> {
    let words = TaskStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .chain(["held"]);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<State>())
}

/// A moment as people write it: a day, which begins at midnight UTC, or RFC 3339.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let day = text
        .parse::<NaiveDate>()
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0));
    match day {
        Some(midnight) => Ok(midnight.and_utc()),
        None => DateTime::parse_from_rfc3339(text)
            .map(|at| at.to_utc())
            .map_err(|error| format!("{error}; write it like 2026-01-29 or 2026-01-29T16:28:00Z")),
    }
}

#[derive(Debug, Args)]
pub struct ListDead {
    /// Only this type
    #[arg(long, value_name = "TYPE", alias = "type")]
    pub task_type: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only this repository's: its id, project, slug or name
    #[arg(long, value_name = "REPO", alias = "repo")]
    pub repo_id: Option<String>,
    /// Only what was created then or later: 2026-01-29, or 2026-01-29T16:28:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub created_after: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
pub struct ListTasks {
    /// Only these states, `held` among them; may be given more than once
    #[arg(long, value_name = "STATE", alias = "state", value_delimiter = ',', value_parser = state())]
    pub status: Vec<State>,
    /// Only this type
    #[arg(long, value_name = "TYPE", alias = "type")]
    pub task_type: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only this repository's: its id, project, slug or name
    #[arg(long, value_name = "REPO", alias = "repo")]
    pub repo_id: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Go on where an earlier list ended: what it named as the next place
    #[arg(long, value_name = "PLACE")]
    pub before: Option<Cursor>,
}

#[derive(Debug, Args)]
pub struct Decide {
    #[arg(value_name = "TASK")]
    pub id: String,
    /// Why; the task's handler is told, and its history
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// What is meant, where the task asks for more than one approval
    #[arg(long, value_name = "NAME")]
    pub what: Option<String>,
    /// Who decides [default: the user at the command line]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

#[derive(Debug, Args)]
pub struct WatchTask {
    #[arg(value_name = "TASK")]
    pub id: String,
    /// Give up after so many seconds with exit code 3
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}
