use std::sync::Arc;

use async_trait::async_trait;
use domain::{Error, Idem, LabelChange, RepoRef, Result, TicketRef};
use ports::{
    Commit, Environments, Forge, Job, JobRef, LogStream, NewPipeline, NewRecord, NewRevert, Note, NoteId,
    Pipeline, RecordRef, RecordStatus, Revert, Ticket, TicketLimits, Tickets,
};
use url::Url;

use crate::config::{Config, Provider};
use crate::github::Github;
use crate::gitlab::Gitlab;
use crate::gitlab_helper::GitlabHelper;
use crate::host::{Host, name_of};
use crate::local::LocalTickets;

/// All forges that are configured, as one: each call goes to the instance that a repository's provider and web
/// address name.
#[derive(Clone, Default)]
pub struct Forges {
    hosts: Vec<Entry>,
    local: Option<Arc<LocalTickets>>,
}

#[derive(Clone)]
struct Entry {
    provider: Provider,
    name: String,
    state: State,
}

#[derive(Clone)]
enum State {
    Gitlab(Arc<Gitlab>),
    Github(Arc<Github>),
    /// It is configured and cannot be used; whoever needs it is told why.
    Unusable(Error),
}

impl Forges {
    /// Fails for a configuration that can never work. A missing token only fails the calls that need it.
    pub fn new(config: &Config) -> Result<Self> {
        let mut hosts = Vec::new();
        for host in &config.hosts {
            let provider = host.provider;
            let (name, state) = match Host::new(host.clone()) {
                Ok(opened) => {
                    let name = opened.name.clone();
                    let state = match provider {
                        Provider::Gitlab => State::Gitlab(Arc::new(Gitlab::new(opened))),
                        Provider::Github => State::Github(Arc::new(Github::new(opened))),
                    };
                    (name, state)
                }
                Err(error) if error.kind == domain::ErrorKind::Denied => {
                    let url = host.url.as_ref().map(name_of);
                    let name = url.unwrap_or_else(|| format!("{}.com", provider.word()));
                    (name, State::Unusable(error))
                }
                Err(error) => return Err(error),
            };
            hosts.push(Entry {
                provider,
                name,
                state,
            });
        }
        Ok(Self {
            hosts,
            local: config
                .local
                .clone()
                .map(|local| Arc::new(LocalTickets::new(local))),
        })
    }

    /// The folder of tickets, when there is one.
    pub fn local(&self) -> Option<&LocalTickets> {
        self.local.as_deref()
    }

    /// The calls behind `longshore gitlab …` for a project.
    pub fn gitlab(&self, repo: &RepoRef) -> Result<GitlabHelper> {
        match &self.entry(repo)?.state {
            State::Gitlab(gitlab) => Ok(GitlabHelper::new(Arc::clone(gitlab), repo.clone())),
            State::Github(_) => Err(Error::invalid(format!(
                "{} is not a GitLab project",
                repo.project
            ))),
            State::Unusable(error) => Err(error.clone()),
        }
    }

    /// Whether there is an instance for the repository that can be used, as far as that can be told without asking it.
    pub fn check(&self, repo: &RepoRef) -> Result<()> {
        self.tickets(repo).map(|_| ())
    }

    fn forge(&self, repo: &RepoRef) -> Result<&dyn Forge> {
        if repo.provider == "local" {
            return Err(Error::not_found(format!(
                "the local ticket folder has no builds of {}",
                repo.project
            ))
            .next("Give the log itself in the payload's `log`, or name a repository of a forge"));
        }
        match &self.entry(repo)?.state {
            State::Gitlab(gitlab) => Ok(gitlab.as_ref()),
            State::Github(github) => Ok(github.as_ref()),
            State::Unusable(error) => Err(error.clone()),
        }
    }

    fn environments(&self, repo: &RepoRef) -> Result<&dyn Environments> {
        if repo.provider == "local" {
            let what = format!("the local ticket folder has no environments of {}", repo.project);
            return Err(Error::not_found(what).next("Name a repository of a forge"));
        }
        match &self.entry(repo)?.state {
            State::Gitlab(gitlab) => Ok(gitlab.as_ref()),
            State::Github(github) => Ok(github.as_ref()),
            State::Unusable(error) => Err(error.clone()),
        }
    }

    pub(crate) fn flags(&self, repo: &RepoRef) -> Result<&Gitlab> {
        match &self.entry(repo)?.state {
            State::Gitlab(gitlab) => Ok(gitlab),
            State::Github(_) => {
                let what = format!("{} is at GitHub, which has no feature flags", repo.project);
                Err(Error::invalid(what).next("Name a GitLab project as the store of flags"))
            }
            State::Unusable(error) => Err(error.clone()),
        }
    }

    fn tickets(&self, repo: &RepoRef) -> Result<&dyn Tickets> {
        if repo.provider == "local" {
            let local = self.local.as_deref().ok_or_else(|| {
                Error::invalid(format!(
                    "{} has the provider `local` and no ticket folder is configured",
                    repo.project
                ))
                .next("Start with `longshore dev`, or set the repository's provider to `gitlab` or `github`")
            })?;
            return Ok(local);
        }
        match &self.entry(repo)?.state {
            State::Gitlab(gitlab) => Ok(gitlab.as_ref()),
            State::Github(github) => Ok(github.as_ref()),
            State::Unusable(error) => Err(error.clone()),
        }
    }

    fn entry(&self, repo: &RepoRef) -> Result<&Entry> {
        let provider = match repo.provider.as_str() {
            "gitlab" | "" => Provider::Gitlab,
            "github" => Provider::Github,
            other => {
                return Err(Error::invalid(format!(
                    "{} has the provider `{other}`, which is unknown",
                    repo.project
                ))
                .next("Set the repository's provider to `gitlab`, `github` or `local`"));
            }
        };
        let mut candidates = self.hosts.iter().filter(|entry| entry.provider == provider);
        if repo.url.is_empty() {
            return candidates.next().ok_or_else(|| {
                let word = provider.word();
                Error::denied(format!(
                    "no {word} instance is configured, and {} needs one",
                    repo.project
                ))
                .next(format!("Set the {word} address and token in the configuration"))
            });
        }
        // Credentials may stand in the address; only its host goes into messages.
        let url = Url::parse(&repo.url).map_err(|_| {
            Error::invalid(format!("the address of {} is no web address", repo.project))
                .next("Write it like https://gitlab.example.com/group/app")
        })?;
        let host = name_of(&url);
        let same = |entry: &&Entry| entry.name.eq_ignore_ascii_case(&host);
        candidates.find(same).ok_or_else(|| {
            Error::denied(format!("there is no token for {host}, where {} is", repo.project)).next(format!(
                "Add {host} with its token to the {} instances in the configuration",
                provider.word()
            ))
        })
    }
}

#[async_trait]
impl Forge for Forges {
    async fn pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<Pipeline> {
        self.forge(repo)?.pipeline(repo, pipeline).await
    }
    async fn latest_pipeline(&self, repo: &RepoRef, git_ref: &str) -> Result<Option<Pipeline>> {
        self.forge(repo)?.latest_pipeline(repo, git_ref).await
    }
    async fn pipelines_of(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        self.forge(repo)?.pipelines_of(repo, sha).await
    }
    async fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.forge(repo)?.jobs(repo, pipeline).await
    }
    async fn start_pipeline(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        self.forge(repo)?.start_pipeline(repo, wanted, idem).await
    }
    async fn started(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Option<Pipeline>> {
        self.forge(repo)?.started(repo, wanted, idem).await
    }
    async fn revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        self.forge(repo)?.revert(repo, wanted).await
    }
    async fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.forge(repo)?.failed_jobs(repo, pipeline).await
    }
    async fn job(&self, job: &JobRef) -> Result<Job> {
        self.forge(&job.repo)?.job(job).await
    }
    async fn log(&self, job: &JobRef) -> Result<LogStream> {
        self.forge(&job.repo)?.log(job).await
    }
    fn log_link(&self, job: &Job, line: u64) -> String {
        match self.forge(&job.at.repo) {
            Ok(forge) => forge.log_link(job, line),
            Err(_) => job.url.clone(),
        }
    }
    async fn retry_job(&self, job: &JobRef, beside: &[JobRef], idem: &Idem) -> Result<Job> {
        self.forge(&job.repo)?.retry_job(job, beside, idem).await
    }
    async fn retry_of(&self, job: &Job) -> Result<Option<Job>> {
        self.forge(&job.at.repo)?.retry_of(job).await
    }
}

#[async_trait]
impl Environments for Forges {
    async fn commit(&self, repo: &RepoRef, name: &str) -> Result<Option<Commit>> {
        self.environments(repo)?.commit(repo, name).await
    }
    async fn create(&self, repo: &RepoRef, record: &NewRecord, idem: &Idem) -> Result<RecordRef> {
        self.environments(repo)?.create(repo, record, idem).await
    }
    async fn find(&self, repo: &RepoRef, record: &NewRecord, idem: &Idem) -> Result<Option<RecordRef>> {
        self.environments(repo)?.find(repo, record, idem).await
    }
    async fn update(&self, repo: &RepoRef, record: &RecordRef, status: RecordStatus) -> Result<()> {
        self.environments(repo)?.update(repo, record, status).await
    }
    fn comparison(&self, repo: &RepoRef, from: &str, to: &str) -> Option<String> {
        self.environments(repo).ok()?.comparison(repo, from, to)
    }
}

#[async_trait]
impl Tickets for Forges {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.tickets(&at.repo)?.ticket(at).await
    }
    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        self.tickets(&at.repo)?.own_notes(at).await
    }
    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        self.tickets(&at.repo)?.create_note(at, body).await
    }
    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        self.tickets(&at.repo)?.edit_note(at, note, body).await
    }
    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        self.tickets(&at.repo)?.delete_note(at, note).await
    }
    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        self.tickets(&at.repo)?.change_labels(at, change).await
    }
    fn limits(&self, at: &TicketRef) -> TicketLimits {
        match self.tickets(&at.repo) {
            Ok(tickets) => tickets.limits(at),
            // Nothing will be sent there; the tightest of the real limits keeps callers honest.
            Err(_) => TicketLimits {
                note_chars: 65_536,
                request_timeout: std::time::Duration::from_secs(90),
            },
        }
    }
}
