//! What the first step settles; nothing later reads settings.

use domain::{Autonomy, Error, Repo, RepoRef};
use durable::TaskCx;
use ports::{Commit, FlagRef, RouteRef, Side, WorkloadRef};
use serde::{Deserialize, Serialize};

use crate::act::{self, Act, Line, Standing};
use crate::course::Kind;
use crate::look::Look;
use crate::outside::Outside;
use crate::params::DeployParams;
use crate::settings::{self, Environment};
use crate::strategy::StrategyName;

/// Where a deployment or a rollback takes place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) repo_id: String,
    pub(crate) repo_name: String,
    pub(crate) repo: RepoRef,
    pub(crate) name: String,
    pub(crate) environment: Environment,
    pub(crate) guided: bool,
    /// Where there is a flag alone, its target has no name, and nothing is asked of it.
    pub(crate) workload: WorkloadRef,
    pub(crate) route: Option<RouteRef>,
    pub(crate) flag: Option<FlagRef>,
    /// Only the flag is looked at and changed.
    pub(crate) only_flag: bool,
    /// What a group calls what runs there.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// Of its repository, which need not be the task's.
    #[serde(default)]
    pub(crate) default_branch: Option<String>,
}

/// What is to be done there, settled anew whenever something moved before it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) version: String,
    pub(crate) how: String,
    pub(crate) kind: Kind,
    pub(crate) acts: Vec<Act>,
    /// What stood when it was made.
    pub(crate) standing: Standing,
    pub(crate) hash: String,
}

impl Plan {
    /// What serves before it.
    pub(crate) fn from(&self) -> Option<&str> {
        let served = self
            .standing
            .stable
            .as_ref()
            .filter(|(_, replicas)| *replicas > 0);
        served.map(|(version, _)| version.as_str())
    }

    pub(crate) fn lines(&self, environment: &Environment) -> Vec<Line> {
        act::outline(&self.acts, &self.standing, environment)
    }
}

impl Place {
    pub(crate) fn of(repo: &Repo, outside: &Outside, name: &str) -> Result<Self, Error> {
        let environment = settings::environment(&repo.settings, &repo.name, name)?;
        let target = environment.target.clone().unwrap_or_default();
        let workload = WorkloadRef {
            target: target.clone(),
            name: environment.subject().to_owned(),
            container: environment.container.clone(),
        };
        if !environment.is_flag_alone() {
            outside.target(&target)?;
        }
        let route = match &environment.router {
            Some(name) => {
                outside.router(&target)?;
                Some(RouteRef {
                    target,
                    name: name.clone(),
                })
            }
            None => None,
        };
        let flag = environment.flag.as_ref().map(|flag| FlagRef {
            store: flag.store.clone(),
            key: flag.key.clone(),
            scope: flag.scope.clone(),
        });
        Ok(Self {
            repo_id: repo.id.clone(),
            repo_name: repo.name.clone(),
            repo: repo.at.clone(),
            name: name.to_owned(),
            guided: repo.autonomy_mode == Autonomy::Guided,
            environment,
            workload,
            route,
            flag,
            only_flag: false,
            service: None,
            default_branch: Some(repo.default_branch.clone()),
        })
    }

    /// What people are asked about: services of several repositories may go to environments of one name.
    pub(crate) fn label(&self) -> String {
        match &self.service {
            Some(service) if *service != self.name => format!("{service} in {}", self.name),
            _ => self.name.clone(),
        }
    }

    /// One deployment at a time holds it.
    pub(crate) fn lock(&self) -> String {
        format!("deploy:{}/{}", self.repo_id, self.name)
    }

    /// Refuses to bring a version where there is nothing but a flag; `what` asks for it.
    pub(crate) fn must_run_something(&self, what: &str, instead: &str) -> Result<(), Error> {
        if !self.environment.is_flag_alone() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} needs something that runs, but {} of {} has only the flag {}",
            self.name,
            self.repo_name,
            self.environment.subject()
        ))
        .next(format!(
            "{instead}, or give the environment a `target` and a `workload` in the repository's settings"
        )))
    }

    pub(crate) fn needs_approval(&self) -> bool {
        self.environment.approval.required.unwrap_or(self.guided)
    }

    pub(crate) async fn look(&self, outside: &Outside) -> Result<Look, Error> {
        let mut look = Look::default();
        if self.only_flag {
            if let Some(flag) = &self.flag {
                look.flag = Some(outside.flags.read(flag).await?);
            }
            return Ok(look);
        }
        let fleet = outside.fleet(&self.workload)?;
        look.stable = fleet.observe(&self.workload, Side::Stable).await?;
        look.candidate = fleet.observe(&self.workload, Side::Candidate).await?;
        look.revisions = fleet.revisions(&self.workload).await?;
        if let Some(route) = &self.route {
            let router = outside.router(&route.target)?;
            look.granularity = Some(router.granularity(route).await?);
            look.traffic = Some(router.read(route).await?);
        }
        Ok(look)
    }

    pub(crate) fn plan(&self, version: &str, how: &str, kind: Kind, acts: Vec<Act>, look: &Look) -> Plan {
        let standing = look.standing();
        Plan {
            version: version.to_owned(),
            how: how.to_owned(),
            kind,
            hash: act::hash(&acts, &standing, &self.environment),
            standing,
            acts,
        }
    }
}

/// The commit behind a version that is deployed, by the names that the task has for it. A tag that it was asked for by must
/// be one, and of that commit: not every forge tells a branch of that name from it in its events.
pub(crate) async fn made_from(
    outside: &Outside,
    repo: &RepoRef,
    params: &DeployParams,
    version: &str,
) -> Result<Option<Commit>, Error> {
    if let Some(tag) = &params.tag {
        let found = outside.environments.commit(repo, tag).await?;
        let found = found.filter(|found| found.is_tag);
        let same = |found: &Commit| params.commit.as_ref().is_none_or(|sha| *sha == found.sha);
        return match found {
            Some(found) if same(&found) => Ok(Some(found)),
            Some(found) => Err(Error::conflict(format!(
                "the tag {tag} of {} is of commit {} now, and {} was to be deployed",
                repo.project,
                found.sha,
                params.commit.as_deref().unwrap_or_default()
            ))
            .next("Nothing was touched; deploy what the tag is of now, if that is meant")),
            None => Err(Error::not_found(format!("{tag} is no tag of {}", repo.project))
                .next("Nothing was touched; only tags are deployed here by themselves")),
        };
    }
    let found = commit(outside, repo, params.commit.as_deref(), version).await?;
    Ok(found.map(|found| match &params.git_ref {
        Some(git_ref) => Commit {
            git_ref: git_ref.clone(),
            ..found
        },
        None => found,
    }))
}

/// The commit behind a version, where the forge knows one.
pub(crate) async fn commit(
    outside: &Outside,
    repo: &RepoRef,
    named: Option<&str>,
    version: &str,
) -> Result<Option<Commit>, Error> {
    if let Some(name) = named {
        let found = outside.environments.commit(repo, name).await?;
        return found.map(Some).ok_or_else(|| {
            Error::not_found(format!(
                "there is no commit, tag or branch {name:?} in {}",
                repo.project
            ))
            .next("Name what the version was made from in payload.commit, or leave it out")
        });
    }
    // An image's tag is often the commit's own.
    let tag = version.rsplit_once('/').map_or(version, |(_, image)| image);
    let tag = tag.split('@').next().unwrap_or(tag);
    let tag = tag.rsplit_once(':').map_or(tag, |(_, tag)| tag);
    match outside.environments.commit(repo, tag).await {
        Ok(found) => Ok(found),
        Err(error) if error.is_transient() => Err(error),
        // Nobody asked for it by name.
        Err(_) => Ok(None),
    }
}

pub(crate) fn strategy_words(name: StrategyName) -> &'static str {
    match name {
        StrategyName::Rolling => "rolling",
        StrategyName::BlueGreen => "blue-green",
        StrategyName::Canary => "canary",
        StrategyName::FeatureFlag => "feature flag",
    }
}

pub(crate) fn repo(cx: &TaskCx) -> Result<&Repo, Error> {
    cx.task().repo.as_ref().ok_or_else(|| {
        Error::invalid("the task names no repository, so nothing says what its environments are")
            .next("Set repo_id to one of `longshore repos list`")
    })
}
