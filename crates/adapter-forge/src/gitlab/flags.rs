//! Feature flags over REST (<https://docs.gitlab.com/api/feature_flags/>). GitLab has no precondition for a change: the
//! flag is read and compared right before it.

use domain::{Error, RepoRef, Result};
use gitlab::api::endpoint_prelude::Cow;
use gitlab::api::{BodyError, Endpoint, common};
use http::Method;
use ports::{Flag, FlagRef, Mark};
use serde_json::{Value, json};

use super::rollout::{RawFlag, standing};
use super::{Gitlab, project};
use crate::failure::Need;

/// The crate has none for feature flags.
struct FeatureFlag {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

impl Endpoint for FeatureFlag {
    fn method(&self) -> Method {
        self.method.clone()
    }
    fn endpoint(&self) -> Cow<'static, str> {
        self.path.clone().into()
    }
    fn body(&self) -> Result<Option<(&'static str, Vec<u8>)>, BodyError> {
        Ok(self.body.clone().map(|body| ("application/json", body)))
    }
}

fn endpoint(repo: &RepoRef, key: &str, change: Option<&Value>) -> FeatureFlag {
    FeatureFlag {
        method: change.map_or(Method::GET, |_| Method::PUT),
        path: format!(
            "projects/{}/feature_flags/{}",
            project(repo),
            common::path_escaped(key)
        ),
        body: change.map(|change| change.to_string().into_bytes()),
    }
}

fn scope(at: &FlagRef) -> &str {
    at.scope.as_deref().unwrap_or("*")
}

fn name(repo: &RepoRef, at: &FlagRef) -> String {
    format!("feature flag {} of {}", at.key, repo.project)
}

/// `why` is in the words of [`standing`].
fn other_rules(repo: &RepoRef, at: &FlagRef, why: &str) -> Error {
    Error::conflict(format!(
        "{} is not a rollout by percentage: {why}",
        name(repo, at)
    ))
    .next("Give it one rule of the kind `Percent rollout` for this environment alone")
}

impl Gitlab {
    async fn raw_flag(&self, repo: &RepoRef, at: &FlagRef) -> Result<RawFlag> {
        let answer = self.client.query(endpoint(repo, &at.key, None)).await;
        answer.map_err(|error| error.explain(&format!("read {}", name(repo, at)), Need::Flags))
    }

    pub(crate) async fn flag(&self, repo: &RepoRef, at: &FlagRef) -> Result<Flag> {
        let raw = self.raw_flag(repo, at).await?;
        let now = standing(&raw, scope(at)).map_err(|why| other_rules(repo, at, &why))?;
        Ok(Flag {
            percent: now.percent,
            mark: now.mark,
        })
    }

    pub(crate) async fn set_flag(
        &self,
        repo: &RepoRef,
        at: &FlagRef,
        percent: u32,
        seen: &Mark,
    ) -> Result<Flag> {
        if percent > 100 {
            let what = format!("{} cannot be on for {percent} % of users", name(repo, at));
            return Err(Error::invalid(what).next("Name a share between 0 and 100"));
        }
        let raw = self.raw_flag(repo, at).await?;
        let now = standing(&raw, scope(at)).map_err(|why| other_rules(repo, at, &why))?;
        if now.percent == percent {
            return Ok(Flag {
                percent,
                mark: now.mark,
            });
        }
        if now.mark != *seen {
            let what = format!("{} was changed by somebody else", name(repo, at));
            return Err(Error::conflict(what).next("Look at it and start again"));
        }
        let mut change = json!({ "strategies": [now.at(percent, &at.key, scope(at))] });
        if !raw.active {
            // On is on for every rule that it has.
            if let Some(other) = raw.strategies.iter().find(|other| !now.is_rule(other)) {
                let what = format!("{} is off as a whole", name(repo, at));
                let next = format!(
                    "Switch it on by hand: that puts its rule {} into force too",
                    other.id
                );
                return Err(Error::conflict(what).next(next));
            }
            change["active"] = Value::Bool(true);
        }
        let answer = self.client.query(endpoint(repo, &at.key, Some(&change))).await;
        let changed: RawFlag = answer.map_err(|error| {
            let doing = format!("set {} to {percent} %", name(repo, at));
            error.explain(&doing, Need::Flags)
        })?;
        let now = standing(&changed, scope(at)).map_err(|why| other_rules(repo, at, &why))?;
        Ok(Flag {
            percent: now.percent,
            mark: now.mark,
        })
    }
}
