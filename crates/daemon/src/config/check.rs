//! What no single value shows: settings that contradict each other or cannot work.

use super::{Loaded, Problem, Span};

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
    if tracing_subscriber::EnvFilter::try_new(&loaded.settings.log.level).is_err() {
        found.add(
            "log.level",
            "is not a level (error, warn, info, debug, trace) or a filter such as \"info,worker=debug\"",
        );
    }
    found.problems
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
    found.positive("database.connections", database.connections);
    for (key, span) in [
        ("database.connect_timeout", database.connect_timeout),
        ("database.acquire_timeout", database.acquire_timeout),
        ("database.statement_timeout", database.statement_timeout),
    ] {
        found.lasting(key, span);
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
    // A lease is prolonged every third of it; below this, one slow answer of the database would cost it.
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
            found.lasting(&format!("worker.{table}.{task_type}"), *limit);
        }
    }
    for (task_type, attempts) in &worker.attempts {
        found.positive(&format!("worker.attempts.{task_type}"), *attempts);
    }
}

fn api(found: &mut Found<'_>) {
    let api = &found.loaded.settings.api;
    found.lasting("api.request_timeout", api.request_timeout);
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
    }
    for (key, rate) in [
        ("gitlab.requests_per_minute", settings.gitlab.requests_per_minute),
        ("github.requests_per_minute", settings.github.requests_per_minute),
    ] {
        found.positive(key, rate);
    }
}
