//! From the configuration to what each crate wants to be told.

mod flags;
mod outside;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use adapter_forge::{HostConfig, Provider};
use deploy::{Deploy, Rollback};
use domain::{Error, Redactor};
use durable::Handler;
use secrecy::{ExposeSecret, SecretString};
use store::{Listen, Store};

use crate::config::{Settings, WebUrl};
use crate::exit::Failure;

pub use outside::{Reach, keeper, metrics, registries, runtime_dir};

/// How often the token of somebody who follows tasks is looked at again: as often as a silent stream shows that it lives.
const LIVE_CHECK: Duration = Duration::from_secs(15);

/// Attempts in a row of deployments and rollbacks, were their pauses as long as others': up to two hours of an outage.
const PATIENT_ATTEMPTS: u32 = 30;

/// Their longest pause, so that they go on soon after an outage: what is bad may serve meanwhile.
const SHORT_PAUSE: Duration = Duration::from_secs(20);

/// What our connections are called in `pg_stat_activity`; statements of the worker do not wake the workers.
#[derive(Clone, Copy, Debug)]
pub enum As {
    Worker,
    Api,
    Command,
}

impl As {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "longshore-worker",
            Self::Api => "longshore-api",
            Self::Command => "longshore",
        }
    }
}

/// How to reach the database, or what to set when nothing says.
pub fn store_config(settings: &Settings, who: As) -> Result<store::Config, Failure> {
    let database = &settings.database;
    let Some(url) = &database.url else {
        return Err(Failure(Error::invalid("no database is configured").next(
            "Set DATABASE_URL or `database.url` to postgres://user:<password>@host:5432/name, or try `longshore dev`, which brings its own",
        )));
    };
    let mut config = store::Config::new(url.secret().expose_secret());
    config.pooler = database.pooler;
    config.listen = match (&database.direct_url, database.listen) {
        (_, false) => Listen::Off,
        (Some(direct), true) => Listen::Direct(direct.secret().expose_secret().to_owned()),
        (None, true) => Listen::Same,
    };
    config.pool_size = database.connections;
    config.acquire_timeout = database.acquire_timeout.0;
    config.statement_timeout = database.statement_timeout.0;
    // A paused worker's open transaction must not keep others from its task for longer than its lease does.
    config.idle_in_transaction = config.idle_in_transaction.min(settings.worker.lease.0);
    config.connect_timeout = match who {
        // A person waits for the answer; a service is started before its database often enough.
        As::Command => database.connect_timeout.0.min(std::time::Duration::from_secs(5)),
        As::Worker | As::Api => database.connect_timeout.0,
    };
    config.application_name = who.name().to_owned();
    config.agents.clone_from(&settings.worker.agents);
    Ok(config)
}

pub async fn store(settings: &Settings, who: As) -> Result<Store, Failure> {
    Ok(Box::pin(Store::connect(store_config(settings, who)?)).await?)
}

pub fn api_config(settings: &Settings, bind: SocketAddr) -> api::Config {
    let hosts = settings.api.hosts.clone();
    let any = hosts.is_empty() && (settings.api.open || !bind.ip().is_loopback());
    let hosts = (!any).then_some(hosts);
    // Whoever names tokens wants them to be sent; the database's are demanded wherever others can reach us.
    let demanded = settings.api.require_token || !settings.api.tokens.is_empty();
    api::Config {
        open: !demanded && (settings.api.open || bind.ip().is_loopback()),
        tokens: settings.api.tokens.iter().map(|token| token.secret()).collect(),
        hosts,
        gitlab_webhook_secret: settings
            .gitlab
            .webhook_secret
            .as_ref()
            .map(|secret| secret.secret()),
        github_webhook_secret: settings
            .github
            .webhook_secret
            .as_ref()
            .map(|secret| secret.secret()),
        request_timeout: settings.api.request_timeout.0,
        live_check: LIVE_CHECK,
        agent: settings
            .worker
            .agents
            .first()
            .cloned()
            .unwrap_or_else(|| "devops".to_owned()),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn built_in_of_deploy() -> impl Iterator<Item = &'static str> {
    let types = [Deploy::TASK_TYPES, Rollback::TASK_TYPES];
    types.into_iter().flatten().copied()
}

/// From here on no configured secret reaches a log, a note or a result.
pub fn install_redaction(settings: &Settings) {
    let mut secrets: Vec<SecretString> = settings.api.tokens.iter().map(|token| token.secret()).collect();
    let single = [
        &settings.gitlab.token,
        &settings.gitlab.webhook_secret,
        &settings.github.token,
        &settings.github.webhook_secret,
        &settings.client.token,
    ];
    secrets.extend(single.into_iter().flatten().map(|secret| secret.secret()));
    for store in settings.metrics.values() {
        let own = [&store.bearer_token, &store.password].into_iter().flatten();
        secrets.extend(own.chain(store.headers.values()).map(|secret| secret.secret()));
        secrets.extend(store.proxy.as_ref().and_then(WebUrl::password));
    }
    let passwords = settings
        .registries
        .values()
        .filter_map(|registry| registry.password.as_ref());
    secrets.extend(passwords.map(|password| password.secret()));
    for command in settings.checks.commands.values() {
        secrets.extend(command.env.values().map(|secret| secret.secret()));
    }
    for url in [&settings.database.url, &settings.database.direct_url]
        .into_iter()
        .flatten()
    {
        let password = url::Url::parse(url.secret().expose_secret())
            .ok()
            .and_then(|url| url.password().map(SecretString::from));
        secrets.extend(password);
    }
    Redactor::with_literals(secrets.iter().map(|secret| secret.expose_secret())).install();
}

/// `listens`: whether the store wakes this worker, so that polling is only the net behind it.
pub fn worker_config(settings: &Settings, host: String) -> worker::Config {
    let worker = &settings.worker;
    let general = worker::TypeLimits {
        run: worker.run_limit.0,
        deadline: worker.deadline.map(|span| span.0),
        max_attempts: worker.max_attempts,
        retry_max: None,
    };
    let mut limits: BTreeMap<String, worker::TypeLimits> = BTreeMap::new();
    let mut of = |task_type: &String, set: &dyn Fn(&mut worker::TypeLimits)| {
        set(limits.entry(task_type.clone()).or_insert_with(|| general.clone()));
    };
    // What is half out must not be taken back, or left so, because a forge or a store of measurements is away for some minutes.
    // With shorter pauses it takes more attempts to be as patient.
    let shorter = worker
        .retry_longest
        .0
        .as_millis()
        .div_ceil(SHORT_PAUSE.as_millis());
    let shorter = u32::try_from(shorter.max(1)).unwrap_or(u32::MAX);
    for task_type in built_in_of_deploy() {
        of(&task_type.to_owned(), &|limits| {
            let attempts = limits.max_attempts.max(PATIENT_ATTEMPTS);
            limits.max_attempts = attempts.saturating_mul(shorter);
            limits.retry_max = Some(SHORT_PAUSE);
        });
    }
    for (task_type, limit) in &worker.run_limits {
        of(task_type, &|limits| limits.run = limit.0);
    }
    for (task_type, deadline) in &worker.deadlines {
        of(task_type, &|limits| limits.deadline = Some(deadline.0));
    }
    for (task_type, attempts) in &worker.attempts {
        of(task_type, &|limits| limits.max_attempts = *attempts);
    }
    worker::Config {
        agents: worker.agents.clone(),
        slots: worker.slots,
        lease: worker.lease.0,
        poll: worker.poll.0,
        listens: settings.database.listen,
        grace: worker.grace.0,
        cancel_grace: worker.cancel_grace.0,
        retry_base: worker.retry_first.0,
        retry_max: worker.retry_longest.0,
        max_crashes: worker.max_crashes,
        max_payload_depth: api::PAYLOAD_DEPTH,
        retention: Some(worker.retention.0).filter(|keep| !keep.is_zero()),
        default_limits: general,
        limits,
        host,
        pid: std::process::id(),
        ..worker::Config::default()
    }
}

/// How notes are delivered.
pub fn tickets_config(settings: &Settings) -> tickets::Config {
    let tickets = &settings.tickets;
    tickets::Config {
        labels: tickets.labels.clone().into_iter().collect(),
        per_minute: tickets.notes_per_minute,
        lease: settings.worker.lease.0,
        ..tickets::Config::default()
    }
}

/// The instances that have a token or are named.
pub fn forge_config(settings: &Settings) -> adapter_forge::Config {
    let mut hosts = Vec::new();
    for (provider, url, token, timeout, settle, rate) in [
        (
            Provider::Gitlab,
            &settings.gitlab.url,
            &settings.gitlab.token,
            settings.gitlab.timeout,
            settings.gitlab.settle,
            settings.gitlab.requests_per_minute,
        ),
        (
            Provider::Github,
            &settings.github.url,
            &settings.github.token,
            settings.github.timeout,
            settings.github.settle,
            settings.github.requests_per_minute,
        ),
    ] {
        let mut host = HostConfig::new(provider);
        host.url = url.clone();
        host.token = token.as_ref().map(|token| token.secret());
        host.timeout = timeout.0;
        host.settle = settle.0;
        host.requests_per_minute = rate;
        hosts.push(host);
    }
    adapter_forge::Config { hosts, local: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_tried_again_soon_and_for_no_shorter_time_than_with_the_usual_pauses() {
        // The limits of the pauses between so many attempts, in seconds.
        let patience = |attempts: u32, first: u64, longest: u64| -> u64 {
            let pauses = (1..attempts).map(|n| first.saturating_mul(1 << (n - 1).min(40)).min(longest));
            pauses.sum()
        };
        for (first, longest) in [(2, 300), (2, 20), (1, 7), (60, 3600)] {
            let mut settings = Settings::default();
            settings.worker.retry_first = domain::Span::seconds(first);
            settings.worker.retry_longest = domain::Span::seconds(longest);
            let config = worker_config(&settings, "here".to_owned());
            let usual = patience(PATIENT_ATTEMPTS, first, longest);
            for task_type in ["deploy", "rollback"] {
                let limits = &config.limits[task_type];
                let pause = limits.retry_max.map(|pause| pause.as_secs());
                assert_eq!(pause, Some(20), "{task_type}");
                let theirs = patience(limits.max_attempts, first.min(20), longest.min(20));
                assert!(
                    (usual..=2 * usual).contains(&theirs),
                    "{task_type}, {longest} s: {theirs} s, not {usual} s"
                );
            }
            assert_eq!(config.default_limits.retry_max, None);
        }
        let mut settings = Settings::default();
        settings.worker.attempts.insert("deploy".to_owned(), 3);
        let config = worker_config(&settings, "here".to_owned());
        assert_eq!(config.limits["deploy"].max_attempts, 3);
    }

    #[test]
    fn a_token_is_needed_off_loopback_or_where_some_are_named_or_it_is_demanded() {
        let open = |bind: &str, set: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            set(&mut settings);
            api_config(&settings, bind.parse().unwrap()).open
        };
        let (here, everywhere) = ("127.0.0.1:8844", "0.0.0.0:8844");
        assert!(open(here, &|_| ()));
        assert!(!open(everywhere, &|_| ()));
        assert!(open(everywhere, &|settings| settings.api.open = true));
        assert!(!open(here, &|settings| settings.api.require_token = true));
        let named = |settings: &mut Settings| {
            settings.api.open = true;
            settings.api.tokens = serde_json::from_value(serde_json::json!(["0123456789abcdef"])).unwrap();
        };
        assert!(!open(here, &named) && !open(everywhere, &named));
    }
}
