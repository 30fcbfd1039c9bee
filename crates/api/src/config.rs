use std::time::Duration;

use secrecy::SecretString;

/// What the API is told by the binary.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tokens with the role `admin` that the configuration names, beside those of the database.
    pub tokens: Vec<SecretString>,
    /// Whether a call needs no token, which the binary allows on loopback or when told so.
    pub open: bool,
    /// Where no token is needed a call must be made under one of these names or a loopback one, so that no page can have a
    /// name of its own point at us. `None`: under any name.
    pub hosts: Option<Vec<String>>,
    /// What GitLab sends as `X-Gitlab-Token`; without it webhooks from GitLab are refused.
    pub gitlab_webhook_secret: Option<SecretString>,
    /// What GitHub signs its webhooks' bodies with; without it webhooks from GitHub are refused.
    pub github_webhook_secret: Option<SecretString>,
    /// A request that takes longer is answered with 504, or with 408 where its body had not arrived by then.
    pub request_timeout: Duration,
    /// How often the token of somebody who follows is looked at again.
    pub live_check: Duration,
    /// The agent that tasks made from webhooks are assigned to.
    pub agent: String,
    /// Shown by `/health` and on the page.
    pub version: &'static str,
}
