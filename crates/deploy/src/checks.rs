//! What is looked at from outside, as an environment's settings say it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Error, Span};
use ports::{Commit, NewPipeline, Side};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::plan::Place;
use crate::settings::Environment;

/// One thing that must be well: one of `url`, `tcp`, `command` and, among the smoke tests, `job`. In `url`, `tcp` and
/// `contains`, `${version}`, `${environment}`, `${workload}` and `${sha}` stand for the deployment's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSettings {
    /// What people call it; its address or name when absent.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
    /// `host:port` that takes connections.
    #[serde(default)]
    pub tcp: Option<String>,
    /// A command, by the name that it has in the worker's configuration.
    #[serde(default)]
    pub command: Option<String>,
    /// A pipeline that is run for this version and must pass.
    #[serde(default)]
    pub job: Option<JobSettings>,
    /// The lowest and the highest status that is well.
    #[serde(default = "well")]
    pub status: (u16, u16),
    /// What the body must hold.
    #[serde(default)]
    pub contains: Option<String>,
    /// How long it may take: 10 s, a command's own limit (and never more), 30 minutes for a job.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// A pipeline at the repository's forge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// Branch or tag that it is run on; what the version was made from when absent, if that has a name.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// The workflow's file, at forges that have several: `smoke.yml`.
    pub workflow: Option<String>,
    /// In their values `${version}`, `${environment}`, `${workload}` and `${sha}` stand for the deployment's own.
    pub variables: BTreeMap<String, String>,
}

fn well() -> (u16, u16) {
    (200, 399)
}

/// What a check is about.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) place: &'a Place,
    pub(crate) version: &'a str,
    pub(crate) commit: Option<&'a Commit>,
    pub(crate) side: Side,
}

impl Environment {
    /// What is wrong with its checks.
    pub(crate) fn check_problem(&self) -> Option<String> {
        for (list, checks) in [("health", &self.health), ("smoke", &self.smoke)] {
            for (place, check) in checks.iter().enumerate() {
                if let Some(problem) = check.problem(list == "smoke") {
                    return Some(format!("{list}[{place}]{problem}"));
                }
            }
        }
        None
    }
}

impl CheckSettings {
    fn problem(&self, is_smoke: bool) -> Option<&'static str> {
        let kinds = [
            self.url.is_some(),
            self.tcp.is_some(),
            self.command.is_some(),
            self.job.is_some(),
        ];
        let ranged = self.contains.is_some() || self.status != well();
        if kinds.iter().filter(|is| **is).count() != 1 {
            return Some(" needs one of `url`, `tcp`, `command` and `job`");
        }
        if self.job.is_some() && !is_smoke {
            return Some(".job belongs to `smoke`: what is checked after each change must answer at once");
        }
        if self.status.0 > self.status.1 {
            return Some(".status goes down");
        }
        if ranged && self.url.is_none() {
            return Some(" has `status` or `contains`, which only a `url` answers with");
        }
        if self.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            return Some(".timeout is nothing");
        }
        None
    }

    pub(crate) fn name(&self) -> &str {
        let address = self.url.as_deref().or(self.tcp.as_deref());
        let name = self.name.as_deref().or(address).or(self.command.as_deref());
        name.unwrap_or("smoke job")
    }

    /// None for a job, which is not looked at but run.
    pub(crate) fn check(&self, about: About) -> Option<ports::Check> {
        let timeout = self.timeout.map_or(Duration::from_secs(10), |span| span.0);
        if let Some(name) = &self.command {
            return Some(ports::Check::Command {
                name: name.clone(),
                values: about.values(),
                timeout: self.timeout.map(|span| span.0),
            });
        }
        match (&self.url, &self.tcp) {
            (Some(url), _) => Some(ports::Check::Http {
                url: about.filled(url),
                status: self.status,
                contains: self.contains.as_deref().map(|text| about.filled(text)),
                timeout,
            }),
            (None, Some(address)) => Some(ports::Check::Tcp {
                address: about.filled(address),
                timeout,
            }),
            (None, None) => None,
        }
    }

    /// How long a job may take.
    pub(crate) fn patience(&self) -> Span {
        self.timeout.unwrap_or(Span::seconds(30 * 60))
    }
}

impl About<'_> {
    /// What a command is told.
    fn values(&self) -> BTreeMap<String, String> {
        let told = [
            ("REPO", Some(self.place.repo_name.as_str())),
            ("ENVIRONMENT", Some(self.place.name.as_str())),
            ("WORKLOAD", Some(self.place.workload.name.as_str())),
            ("VERSION", Some(self.version)),
            ("SIDE", Some(self.side.as_str())),
            ("SHA", self.commit.map(|commit| commit.sha.as_str())),
        ];
        let own = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
        own.map(|(name, value)| (format!("LONGSHORE_{name}"), value.to_owned()))
            .collect()
    }

    fn filled(&self, text: &str) -> String {
        text.replace("${version}", self.version)
            .replace("${environment}", &self.place.name)
            .replace("${workload}", &self.place.workload.name)
            .replace("${sha}", self.commit.map_or("", |commit| commit.sha.as_str()))
    }

    pub(crate) fn pipeline(&self, job: &JobSettings) -> Result<NewPipeline, Error> {
        let named = self.commit.filter(|commit| commit.git_ref != commit.sha);
        let git_ref = job.git_ref.clone().or(named.map(|commit| commit.git_ref.clone()));
        let git_ref = git_ref.ok_or_else(|| {
            Error::invalid(format!(
                "the smoke test of {} is a job, and nothing says which branch or tag {} was made from",
                self.place.name, self.version
            ))
            .next("Set `ref` of the job in the environment's settings: a commit alone runs no pipeline")
        })?;
        let variables = job.variables.iter();
        Ok(NewPipeline {
            git_ref,
            workflow: job.workflow.clone(),
            variables: variables
                .map(|(key, text)| (key.clone(), self.filled(text)))
                .collect(),
        })
    }
}

/// Whether the smoke tests of a plan can be asked for at all: told before anything is touched.
pub(crate) fn can_run(
    acts: &[Act],
    place: &Place,
    version: &str,
    commit: Option<&Commit>,
) -> Result<(), Error> {
    if !acts.contains(&Act::Smoke) {
        return Ok(());
    }
    let side = Side::Candidate;
    let about = About {
        place,
        version,
        commit,
        side,
    };
    let mut jobs = place
        .environment
        .smoke
        .iter()
        .filter_map(|check| check.job.as_ref());
    jobs.try_for_each(|job| about.pipeline(job).map(drop))
}
