use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ReposCommand {
    /// Make a repository known
    Add(RepoAdd),
    /// List the repositories
    List,
    /// Show one, by id, slug or project path
    Show {
        #[arg(value_name = "REPO")]
        repo: String,
    },
}

#[derive(Debug, Args)]
pub struct RepoAdd {
    /// The forge's number or path of the project, such as 42 or group/name
    #[arg(long, value_name = "PROJECT")]
    pub project: String,
    /// A name for people [default: the project's last part]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A short name for commands [default: the project's last part]
    #[arg(long, value_name = "SLUG")]
    pub slug: Option<String>,
    /// Which forge keeps it
    #[arg(long, value_name = "FORGE", default_value = "gitlab")]
    pub provider: ProviderArg,
    /// The forge's or the project's web address [default: as configured]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub default_branch: String,
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Change systems without asking a person
    #[arg(long)]
    pub full_autonomy: bool,
    /// Environments, targets and policies, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub settings_json: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderArg {
    Gitlab,
    Github,
}

impl ProviderArg {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
        }
    }
}
