use std::time::Duration;

use secrecy::SecretString;

/// What the API is told by the binary.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tokens that callers may send as `Authorization: Bearer TOKEN`. None: everybody who can connect may
    /// call, which the binary allows on loopback or when told so.
    pub tokens: Vec<SecretString>,
    /// Whether the address is loopback: then a call must be made under a loopback name too.
    pub loopback_only: bool,
    /// What GitLab sends as `X-Gitlab-Token`; without it webhooks from GitLab are refused.
    pub gitlab_webhook_secret: Option<SecretString>,
    /// A request that takes longer is answered with 503.
    pub request_timeout: Duration,
    /// The agent that tasks made from webhooks are assigned to.
    pub agent: String,
    /// Shown by `/health` and on the page.
    pub version: &'static str,
}
