//! The command line, as clap reads it. What a command does stands in `cmd`.

mod dora;
mod gitlab;
mod pipeline;
mod queue;
mod read;
mod repos;
mod schedules;
mod tasks;
mod tokens;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Flag;

pub use dora::Dora;
pub use gitlab::{GitlabCommand, Project, StateEvent, StateFilter};
pub use pipeline::{Convert, Generate, Lint, PipelineCommand, System};
pub use queue::{QueueCommand, What};
pub use read::{Form, read};
pub use repos::{RepoAdd, ReposCommand};
pub use schedules::{MissedArg, OverlapArg, SchedulesCommand, SetSchedule};
pub use tasks::{CreateTask, Decide, ListDead, ListTasks, TaskFlags, TasksCommand, WatchTask, Which};
pub use tokens::{NewToken, TokenCommand};

pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    done or refused, and the answer is no: the watched task failed, there is no such task, a check found faults
  2    the command, its input or the configuration is wrong
  3    the database or a remote system could not be reached, did not let longshore in, or did not answer in time; try again
  70   a bug in longshore
  130  stopped by Ctrl-C before it was done
  143  stopped by SIGTERM before it was done

Long answers are in docs/cli.md, the configuration in config/longshore.toml.";

/// A DevOps worker: takes tasks from a Postgres table, does them, and reports on the ticket.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: ./longshore.toml, ./config/longshore.toml, /etc/longshore/longshore.toml] [env: LONGSHORE_CONFIG]
    // The environment is read elsewhere, as an empty variable is none.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database to work on, over `database.url` and DATABASE_URL
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// Colour the answer; `auto` means on a terminal where NO_COLOR is not set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: Color,
}

impl Global {
    /// The flags that set configuration keys.
    pub fn flags(&self) -> Vec<Flag> {
        let flag = |name, key, value: &Option<String>| value.clone().map(|value| Flag { name, key, value });
        [
            flag("--database-url", "database.url", &self.database_url),
            flag("--log-level", "log.level", &self.log_level),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: a private Postgres, worker, API, page and local tickets
    Dev(Dev),
    /// Claim tasks and do them, until SIGTERM
    Worker(Worker),
    /// Serve the API, webhooks and the page, until SIGTERM
    Serve(Serve),
    /// Bring the database to this version's tables
    Migrate,
    /// Put a task into the table
    CreateTask(CreateTask),
    /// Look at tasks, follow, cancel and retry them, approve what they ask
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Tasks that are made at set times
    #[command(subcommand)]
    Schedules(SchedulesCommand),
    /// Limit how many tasks run at once; pause and resume them
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Say why a build failed, from its log
    Diagnose(Diagnose),
    /// Write, check and convert pipelines of CI systems, from files alone
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Comment on GitLab issues, change, make and list them
    #[command(subcommand)]
    Gitlab(GitlabCommand),
    /// Repositories that tasks are about
    #[command(subcommand)]
    Repos(ReposCommand),
    /// Tokens for callers of the API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check, show or describe the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// How well deployments go: the five figures of DORA
    Dora(Dora),
    /// Look whether everything that longshore needs is there, and say what to fix
    Doctor,
    /// Print a completion script for a shell
    ///
    /// bash: `longshore completions bash > /etc/bash_completion.d/longshore`; zsh: into a folder of $fpath, as `_longshore`;
    /// fish: `longshore completions fish > ~/.config/fish/completions/longshore.fish`.
    Completions { shell: clap_complete::Shell },
    /// Keep the processes of one workload on this host; the worker starts it
    #[command(hide = true)]
    KeepHost {
        /// Who begins it; the worker knows the words
        #[arg(long)]
        begun_by: Option<String>,
        /// The workload's folder
        folder: PathBuf,
    },
    /// A small server of HTTP, which `dev --demo` deploys
    #[command(hide = true)]
    DemoShop { port: u16 },
}

#[derive(Debug, Args)]
pub struct Dev {
    /// Folder for the private Postgres; made when missing
    #[arg(long, value_name = "FOLDER", default_value = ".longshore")]
    pub data: PathBuf,
    /// Port of the API and the page on 127.0.0.1; 0 takes a free one [default: `api.bind`'s, 8844]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Enqueue real tasks, show them being done and print their comments
    #[arg(long)]
    pub demo: bool,
    /// End when the demo is done, instead of serving until Ctrl-C
    #[arg(long, requires = "demo")]
    pub exit: bool,
}

#[derive(Debug, Args)]
pub struct Worker {
    /// Tasks worked on at once, over `worker.slots`
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
    /// Serve the API and the page from this process too
    #[arg(long)]
    pub with_api: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port, over `api.bind`; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bind: Option<String>,
}

#[derive(Debug, Args)]
pub struct Diagnose {
    /// The log; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and say what is wrong with it
    Check,
    /// Show the effective configuration, secrets masked, and where each value comes from
    Print,
    /// Print the JSON schema of the configuration file, for editors and programs
    Schema {
        /// That of a repository's environments, `settings.environments`, in its place
        #[arg(long)]
        environments: bool,
    },
}
