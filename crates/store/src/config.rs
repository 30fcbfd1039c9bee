use std::fmt;
use std::time::Duration;

/// How to reach Postgres. The binary fills it in; nothing here reads the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    pub url: String,
    /// Where `LISTEN` gets its dedicated connection.
    pub listen: Listen,
    /// Set when `url` leads to a pooler in transaction mode: nothing is then prepared by name, and no
    /// session setting is relied upon.
    pub pooler: bool,
    /// The most connections that the pool opens.
    pub pool_size: u32,
    /// How long one operation waits for a connection before it fails as `Unavailable`.
    pub acquire_timeout: Duration,
    /// How long [`crate::Store::connect`] keeps trying to reach a server that does not answer.
    pub connect_timeout: Duration,
    /// The limit of one statement; Postgres cancels what takes longer. Not sent through a pooler.
    pub statement_timeout: Duration,
    /// How long a session may stand still inside a transaction before Postgres ends it: a worker that is frozen
    /// or cut off there must not keep others from its rows. No code but ours runs inside one. Not sent through a
    /// pooler, which has a setting of its own.
    pub idle_in_transaction: Duration,
    /// How long a listener hears nothing before it calls itself, to learn whether anybody is at the other end.
    pub listen_check: Duration,
    /// Shown in `pg_stat_activity`. Statements of `longshore-worker` do not notify the workers.
    pub application_name: String,
    /// The agents whose tasks are ours to cancel and retry, besides those of the workers that are registered.
    pub agents: Vec<String>,
}

/// Where `LISTEN` gets its dedicated connection.
#[derive(Clone, PartialEq, Eq)]
pub enum Listen {
    /// The same URL as everything else.
    Same,
    /// A direct URL past the pooler; migrations use it too.
    Direct(String),
    /// No `LISTEN` at all: new tasks are found by polling alone.
    Off,
}

impl Config {
    /// The defaults: 10 connections, 5 s for one of them, 30 s to reach the server, 30 s a statement,
    /// 5 s of silence in a transaction.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen: Listen::Same,
            pooler: false,
            pool_size: 10,
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction: Duration::from_secs(5),
            listen_check: Duration::from_secs(120),
            application_name: "longshore".to_owned(),
            agents: vec!["devops".to_owned()],
        }
    }
}

impl fmt::Debug for Config {
    /// URLs carry passwords: they are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("pooler", &self.pooler)
            .field("pool_size", &self.pool_size)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "Same",
            Self::Direct(_) => "Direct(…)",
            Self::Off => "Off",
        })
    }
}
