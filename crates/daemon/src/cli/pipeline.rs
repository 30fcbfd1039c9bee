//! `longshore pipeline …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Write a pipeline for a repository, from what is in its folder
    ///
    /// Prints it, and on standard error what was found and why; --write puts it into the folder.
    Generate(Generate),
    /// Say what is wrong with pipelines: each finding with its line and how to mend it
    ///
    /// Ends with 1 when there is an error among the findings, with --strict also when there is a warning.
    Lint(Lint),
    /// Carry a pipeline from one system to another, and say what could not be carried
    Convert(Convert),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    Gitlab,
    Github,
    Jenkins,
    CloudBuild,
    Azure,
}

impl From<System> for ci::Dialect {
    fn from(system: System) -> Self {
        match system {
            System::Gitlab => Self::Gitlab,
            System::Github => Self::Github,
            System::Jenkins => Self::Jenkins,
            System::CloudBuild => Self::CloudBuild,
            System::Azure => Self::Azure,
        }
    }
}

#[derive(Debug, Args)]
pub struct Generate {
    /// The repository's folder
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// The system to write for [default: the one whose file is there, else gitlab]
    #[arg(long = "for", value_name = "SYSTEM")]
    pub system: Option<System>,
    /// The pipeline's name
    #[arg(long, value_name = "NAME", default_value = "ci")]
    pub name: String,
    /// Let the tests fail below this coverage
    #[arg(long, value_name = "PER CENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub min_coverage: Option<u8>,
    /// A stage of your own, after `security` or, as NAME:AFTER=COMMAND, after another one; may be given again
    #[arg(long = "stage", value_name = "NAME[:AFTER]=COMMAND")]
    pub stages: Vec<String>,
    /// Leave out the jobs that deploy
    #[arg(long)]
    pub no_deploy: bool,
    /// Put the files into the folder
    #[arg(long)]
    pub write: bool,
    /// Replace files that are there
    #[arg(long, requires = "write")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Lint {
    /// A pipeline's file, or a repository's folder, whose pipelines are all looked at
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// The system of a file whose name does not tell
    #[arg(long, value_name = "SYSTEM")]
    pub system: Option<System>,
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct Convert {
    /// The pipeline's file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// The system to carry it to
    #[arg(long, value_name = "SYSTEM")]
    pub to: System,
    /// The system of a file whose name does not tell
    #[arg(long, value_name = "SYSTEM")]
    pub from: Option<System>,
    /// Put the files into this folder, which has none of their names
    #[arg(long, value_name = "FOLDER")]
    pub write: Option<PathBuf>,
}
