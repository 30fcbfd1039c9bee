use clap::Args;

#[derive(Debug, Args)]
pub struct Dora {
    /// Of one repository: its id, project, slug or name [default: all]
    #[arg(long, value_name = "REPO")]
    pub repo: Option<String>,
    /// From when on: a length of time before now, or a date
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    /// The environment that users are served by
    #[arg(long, value_name = "ENV", default_value = "production")]
    pub environment: String,
    /// List the deployments behind each figure
    #[arg(long)]
    pub ids: bool,
}
