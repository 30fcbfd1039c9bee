use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

/// Which project; exactly one way of naming it.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Project {
    /// Id of a repository in the table
    #[arg(long, value_name = "ID")]
    pub repo_id: Option<String>,
    /// Slug of a repository in the table
    #[arg(long, value_name = "SLUG")]
    pub repo_slug: Option<String>,
    /// GitLab's own number or path, such as 42 or group/name
    #[arg(long, value_name = "PROJECT", value_parser = NonEmptyStringValueParser::new())]
    pub project_id: Option<String>,
}

/// One issue of a project.
#[derive(Debug, Args)]
pub struct Issue {
    #[command(flatten)]
    pub project: Project,
    /// The issue's number in the project
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub iid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateEvent {
    Close,
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateFilter {
    Opened,
    Closed,
    All,
}

#[derive(Debug, Subcommand)]
pub enum GitlabCommand {
    /// Write a comment on an issue
    IssueComment {
        #[command(flatten)]
        issue: Issue,
        /// The comment, in Markdown; `-` reads it from standard input
        #[arg(long, value_name = "TEXT|-")]
        body: String,
        /// Show what would be sent and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Change an issue: labels, state, title, description
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["add_labels", "remove_labels", "state", "title", "description"]))]
    IssueUpdate {
        #[command(flatten)]
        issue: Issue,
        #[arg(long, value_name = "A,B", value_delimiter = ',')]
        add_labels: Vec<String>,
        #[arg(long, value_name = "A,B", value_delimiter = ',')]
        remove_labels: Vec<String>,
        #[arg(long)]
        state: Option<StateEvent>,
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Show what would be sent and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make an issue
    IssueCreate {
        #[command(flatten)]
        project: Project,
        #[arg(long, value_name = "TEXT")]
        title: String,
        #[arg(long, value_name = "TEXT")]
        description: String,
        #[arg(long, value_name = "A,B", value_delimiter = ',')]
        labels: Vec<String>,
        /// Show what would be sent and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show an issue
    IssueGet {
        #[command(flatten)]
        issue: Issue,
    },
    /// List issues
    IssueList {
        #[command(flatten)]
        project: Project,
        #[arg(long)]
        state: Option<StateFilter>,
        #[arg(long, value_name = "A,B", value_delimiter = ',')]
        labels: Vec<String>,
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        page: u32,
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        per_page: u32,
    },
    /// Make sure that the project's webhook calls this longshore
    WebhookEnsure {
        #[command(flatten)]
        project: Project,
        /// Address that GitLab is to call, up to and including /webhook/gitlab
        #[arg(long, value_name = "URL")]
        url: String,
        /// Show what would be sent and send nothing
        #[arg(long)]
        dry_run: bool,
    },
}
