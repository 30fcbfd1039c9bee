//! What no single value shows: settings that contradict each other or cannot work.

use std::collections::BTreeMap;

use adapter_host::HostConfig;
use pipelines::diagnose::Class;

use super::{FlagPlace, Loaded, Problem, Secret, Span};

/// Beyond these a number is a slip of the pen: Postgres takes far fewer connections, and a time limit of a statement only up
/// to 24 days.
const MOST_CONNECTIONS: u32 = 1000;
const LONGEST_WAIT: Span = Span::seconds(24 * 3600);
const MOST_JOBS: u64 = 1000;
/// A hundred years, which every clock and calendar here can still count.
const LONGEST: Span = Span::seconds(36_500 * 24 * 3600);

/// A token shorter than this can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Everything that contradicts something else. Empty means usable.
pub fn contradictions(loaded: &Loaded) -> Vec<Problem> {
    let mut found = Found {
        loaded,
        problems: Vec::new(),
    };
    database(&mut found);
    worker(&mut found);
    api(&mut found);
    forges(&mut found);
    fix_build(&mut found);
    outside(&mut found);
    log(&mut found);
    found.problems
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

fn log(found: &mut Found<'_>) {
    let level = &found.loaded.settings.log.level;
    // A word alone is a target to the filter, and switches everything else off.
    let stray = level
        .split(',')
        .map(str::trim)
        .find(|part| !part.contains('=') && !LEVELS.contains(&part.to_lowercase().as_str()));
    if let Some(stray) = stray {
        let near = super::nearest(stray, LEVELS).map_or_else(
            || "write error, warn, info, debug, trace, or a filter such as \"info,worker=debug\"".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        found.add("log.level", format!("holds {stray:?}, which is no level; {near}"));
    } else if tracing_subscriber::EnvFilter::try_new(level).is_err() {
        found.add(
            "log.level",
            "is not a level (error, warn, info, debug, trace) or a filter such as \"info,worker=debug\"",
        );
    }
}

fn fix_build(found: &mut Found<'_>) {
    let settings = &found.loaded.settings.fix_build;
    if !(0.0..=1.0).contains(&settings.sure_enough) {
        found.add(
            "fix_build.sure_enough",
            format!("is {}; it is a share, from 0 to 1", settings.sure_enough),
        );
    }
    found.between("fix_build.jobs", settings.jobs as u64, 1, MOST_JOBS);
    for (key, name, example) in [
        ("fix_build.builder", &settings.builder, "builder"),
        ("fix_build.builder_task", &settings.builder_task, "implement_fix"),
    ] {
        if name.trim().is_empty() {
            found.add(key, format!("is blank; write a name such as {example:?}"));
        }
    }
    let classes: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
    for class in settings.labels.keys() {
        if !classes.contains(&class.as_str()) {
            let near = super::nearest(class, classes.iter().copied()).map_or_else(
                || format!("there are {}", classes.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            found.add(
                &super::join("fix_build.labels", class),
                format!("is no class of failures; {near}"),
            );
        }
    }
}

fn outside(found: &mut Found<'_>) {
    let settings = &found.loaded.settings;
    for (name, host) in &settings.hosts {
        if let Err(error) = host.check() {
            found.add(&super::join("hosts", name), format!("cannot be used: {error}"));
        }
    }
    let together = settings.hosts.iter().map(|(name, host)| (name.as_str(), host));
    if let Err(error) = HostConfig::check_together(together) {
        found.add("hosts", format!("cannot be used: {error}"));
    }
    for (name, cluster) in &settings.clusters {
        let key = super::join("clusters", name);
        if let Err(error) = cluster.check() {
            found.add(&key, format!("cannot be used: {error}"));
        } else if settings.hosts.contains_key(name) {
            found.add(
                &key,
                format!("has the name of `hosts.{name}`; targets are told apart by their names"),
            );
        }
    }
    let mut hosts = BTreeMap::new();
    for (name, registry) in &settings.registries {
        let key = super::join("registries", name);
        if registry.host.is_empty() || registry.host.contains(['/', '@', ' ']) {
            found.add(
                &format!("{key}.host"),
                "is no name of a registry; write it like \"registry.example:5000\"",
            );
        } else if let Some(other) = hosts.insert(&registry.host, name) {
            found.add(
                &format!("{key}.host"),
                format!("is the same as of `registries.{other}`; one login is enough"),
            );
        }
        if registry.password.as_ref().is_some_and(Secret::is_blank) {
            found.add(&key, "holds a blank secret; leave it out where there is none");
        } else if registry.username.is_some() != registry.password.is_some() {
            found.add(&key, "has one of `username` and `password`; set both");
        }
        found.lasting(&format!("{key}.timeout"), registry.timeout);
        found.no_longer(&format!("{key}.timeout"), registry.timeout, LONGEST_WAIT);
    }
    for (name, command) in &settings.checks.commands {
        let key = super::join("checks.commands", name);
        if !command.program.is_absolute() {
            found.add(&key, "needs the whole path of its `program`");
        }
        found.lasting(&format!("{key}.timeout"), command.timeout);
        found.no_longer(&format!("{key}.timeout"), command.timeout, LONGEST_WAIT);
    }
    for (name, store) in &settings.metrics {
        let key = super::join("metrics", name);
        let secrets = [&store.bearer_token, &store.password].into_iter().flatten();
        if secrets.chain(store.headers.values()).any(Secret::is_blank) {
            found.add(&key, "holds a blank secret; leave it out where there is none");
        }
        if !store.url.username().is_empty() || store.url.password().is_some() {
            let part = format!("{key}.url");
            found.add(
                &part,
                "holds credentials; give `username` and `password`, or `bearer_token`, on their own",
            );
        } else if !matches!(store.url.scheme(), "http" | "https") {
            found.add(
                &format!("{key}.url"),
                "must be a web address such as \"http://prometheus:9090\"",
            );
        }
        if store.bearer_token.is_some() && (store.username.is_some() || store.password.is_some()) {
            found.add(
                &key,
                "has both a `bearer_token` and a `username` or `password`; set one of them",
            );
        } else if store.username.is_some() != store.password.is_some() {
            found.add(&key, "has one of `username` and `password`; set both");
        }
        for (part, span) in [("timeout", Some(store.timeout)), ("lookback", store.lookback)] {
            if let Some(span) = span {
                found.lasting(&format!("{key}.{part}"), span);
                found.no_longer(&format!("{key}.{part}"), span, LONGEST_WAIT);
            }
        }
    }
    for (name, source) in &settings.flags {
        let key = super::join("flags", name);
        match source.place() {
            Err(wrong) => found.add(&key, wrong),
            Ok(FlagPlace::ConfigMap { cluster, .. }) if !settings.clusters.contains_key(cluster) => {
                let known = settings.clusters.keys().map(String::as_str);
                let next = super::nearest(cluster, known).map_or_else(
                    || "describe it under `clusters`".to_owned(),
                    |near| format!("did you mean {near:?}?"),
                );
                found.add(
                    &key,
                    format!("names the cluster {cluster:?}, which is not configured; {next}"),
                );
            }
            Ok(_) => {}
        }
    }
}

struct Found<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, what: impl AsRef<str>) {
        self.problems.push(Problem {
            origin: self.loaded.origin(key),
            key: key.to_owned(),
            what: format!("`{key}` {}", what.as_ref()),
        });
    }

    /// `value` between `least` and `most`.
    fn between(&mut self, key: &str, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(key, format!("is {value}; it takes {least} to {most}"));
        }
    }

    fn no_longer(&mut self, key: &str, value: Span, most: Span) {
        if value > most {
            self.add(key, format!("is {value}; the longest is {most}"));
        }
    }

    fn positive(&mut self, key: &str, value: u32) {
        if value == 0 {
            self.add(key, "is 0, so nothing would ever be done; the least is 1");
        }
    }

    fn lasting(&mut self, key: &str, value: Span) {
        if value.0.is_zero() {
            self.add(key, "is 0s; write a length of time such as \"1s\"");
        }
    }
}

fn database(found: &mut Found<'_>) {
    let database = &found.loaded.settings.database;
    found.between(
        "database.connections",
        database.connections.into(),
        1,
        MOST_CONNECTIONS.into(),
    );
    for (key, span) in [
        ("database.connect_timeout", database.connect_timeout),
        ("database.acquire_timeout", database.acquire_timeout),
        ("database.statement_timeout", database.statement_timeout),
    ] {
        found.lasting(key, span);
        found.no_longer(key, span, LONGEST_WAIT);
    }
    if database.pooler && database.listen && database.direct_url.is_none() {
        found.add("database.pooler", "lets no LISTEN through: set `database.direct_url` to an address past the pooler, or `database.listen = false`");
    }
    if database.direct_url.is_some() && !database.listen {
        found.add(
            "database.direct_url",
            "is only used for LISTEN, which `database.listen = false` switches off",
        );
    }
}

fn worker(found: &mut Found<'_>) {
    let worker = &found.loaded.settings.worker;
    found.positive("worker.slots", worker.slots);
    found.positive("worker.max_attempts", worker.max_attempts);
    found.positive("worker.max_crashes", worker.max_crashes);
    for (key, span) in [
        ("worker.poll", worker.poll),
        ("worker.retry_first", worker.retry_first),
        ("worker.run_limit", worker.run_limit),
    ] {
        found.lasting(key, span);
    }
    for (key, span) in [
        ("worker.poll", Some(worker.poll)),
        ("worker.lease", Some(worker.lease)),
        ("worker.grace", Some(worker.grace)),
        ("worker.cancel_grace", Some(worker.cancel_grace)),
        ("worker.retry_first", Some(worker.retry_first)),
        ("worker.retry_longest", Some(worker.retry_longest)),
        ("worker.run_limit", Some(worker.run_limit)),
        ("worker.deadline", worker.deadline),
        ("worker.retention", Some(worker.retention)),
    ] {
        if let Some(span) = span {
            found.no_longer(key, span, LONGEST);
        }
    }
    // A lease is prolonged when a third of it has passed; below this, one slow answer of the database would cost it.
    if worker.lease < Span::seconds(1) {
        found.add(
            "worker.lease",
            format!(
                "is {}; less than 1s does not outlast one slow answer of the database",
                worker.lease
            ),
        );
    }
    if worker.agents.is_empty() || worker.agents.iter().any(|agent| agent.trim().is_empty()) {
        found.add(
            "worker.agents",
            "must name at least one agent, each with a name, such as [\"devops\"]",
        );
    }
    if worker.retry_first > worker.retry_longest {
        found.add(
            "worker.retry_first",
            format!(
                "({}) is longer than `worker.retry_longest` ({})",
                worker.retry_first, worker.retry_longest
            ),
        );
    }
    if let Some(deadline) = worker.deadline {
        found.lasting("worker.deadline", deadline);
    }
    for (table, limits) in [
        ("run_limits", &worker.run_limits),
        ("deadlines", &worker.deadlines),
    ] {
        for (task_type, limit) in limits {
            let key = super::join(&format!("worker.{table}"), task_type);
            found.lasting(&key, *limit);
            found.no_longer(&key, *limit, LONGEST);
        }
    }
    for (task_type, attempts) in &worker.attempts {
        found.positive(&super::join("worker.attempts", task_type), *attempts);
    }
}

fn api(found: &mut Found<'_>) {
    let api = &found.loaded.settings.api;
    found.lasting("api.request_timeout", api.request_timeout);
    found.no_longer("api.request_timeout", api.request_timeout, LONGEST_WAIT);
    for token in &api.tokens {
        if token.size() < SHORTEST_TOKEN {
            found.add(
                "api.tokens",
                format!("holds a token of {} characters; use at least {SHORTEST_TOKEN}, for example from `openssl rand -hex 24`", token.size()),
            );
        }
    }
    if api.open && api.require_token {
        found.add(
            "api.require_token",
            "demands a token of everybody and `api.open` of nobody; set one of them",
        );
    }
}

fn forges(found: &mut Found<'_>) {
    let settings = &found.loaded.settings;
    for (key, url) in [
        ("gitlab.url", &settings.gitlab.url),
        ("github.url", &settings.github.url),
    ] {
        if let Some(url) = url {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                found.add(
                    key,
                    "must be a web address such as \"https://gitlab.example.com\"",
                );
            } else if url.password().is_some() || !url.username().is_empty() {
                found.add(key, "holds credentials; give the token on its own instead");
            }
        }
    }
    for (key, secret) in [
        ("gitlab.token", &settings.gitlab.token),
        ("gitlab.webhook_secret", &settings.gitlab.webhook_secret),
        ("github.token", &settings.github.token),
        ("github.webhook_secret", &settings.github.webhook_secret),
        ("client.token", &settings.client.token),
    ] {
        if secret.as_ref().is_some_and(|secret| secret.is_blank()) {
            found.add(key, "is blank; leave it out where there is none");
        }
    }
    for (key, span) in [
        ("gitlab.timeout", settings.gitlab.timeout),
        ("github.timeout", settings.github.timeout),
    ] {
        found.lasting(key, span);
        found.no_longer(key, span, LONGEST_WAIT);
    }
    for (key, span) in [
        ("gitlab.settle", settings.gitlab.settle),
        ("github.settle", settings.github.settle),
    ] {
        found.no_longer(key, span, LONGEST_WAIT);
    }
    for (key, rate) in [
        ("gitlab.requests_per_minute", settings.gitlab.requests_per_minute),
        ("github.requests_per_minute", settings.github.requests_per_minute),
        ("tickets.notes_per_minute", settings.tickets.notes_per_minute),
    ] {
        found.positive(key, rate);
    }
}
