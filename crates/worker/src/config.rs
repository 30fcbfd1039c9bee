use std::collections::BTreeMap;
use std::time::Duration;

/// How a worker works. The binary fills it in; nothing here reads the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Agent names that it claims for; unassigned tasks are taken in the first one's name.
    pub agents: Vec<String>,
    /// Tasks run at the same time.
    pub slots: u32,
    /// How long a silent worker keeps its tasks. It is prolonged every third of this, and later while nothing runs.
    pub lease: Duration,
    /// How often the table is looked at when nothing wakes the worker: without `LISTEN` always, with it only
    /// as a net behind it, ten times slower.
    pub poll: Duration,
    /// Whether notifications come, so that the table is polled slowly.
    pub listens: bool,
    /// After a first SIGTERM: how long running handlers may go on before their tasks are released.
    pub grace: Duration,
    /// After a cancel: how long a step may go on before it is dropped.
    pub cancel_grace: Duration,
    /// First delay after a transient error; it doubles from attempt to attempt, and the real delay is drawn
    /// evenly from zero to it (full jitter).
    pub retry_base: Duration,
    /// Where the doubling ends.
    pub retry_max: Duration,
    /// How many workers may die on a task before it is held for a person.
    pub max_crashes: u32,
    /// How deep a payload may be nested.
    pub max_payload_depth: usize,
    /// How long a started task may find no worker that serves its version before it is held.
    pub orphaned_after: Duration,
    /// How often housekeeping runs.
    pub housekeeping: Duration,
    /// How long our own tasks are kept after their end; none for ever.
    pub retention: Option<Duration>,
    /// Limits of types that have none of their own.
    pub default_limits: TypeLimits,
    /// By task type.
    pub limits: BTreeMap<String, TypeLimits>,
    /// Shown in the table of workers.
    pub host: String,
    pub pid: u32,
}

/// How long and how often a type's tasks may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeLimits {
    /// One run without a park; a longer one is stopped and counts as a failed attempt.
    pub run: Duration,
    /// From the first start to the end, waits included; none for no limit.
    pub deadline: Option<Duration>,
    /// Attempts that may end in a transient error before the task fails.
    pub max_attempts: u32,
    /// Where the doubling of the delays between them ends, if that is sooner than [`Config::retry_max`].
    pub retry_max: Option<Duration>,
}

impl Default for TypeLimits {
    fn default() -> Self {
        Self {
            run: Duration::from_secs(15 * 60),
            deadline: None,
            max_attempts: 5,
            retry_max: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agents: vec!["devops".to_owned()],
            slots: 16,
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            listens: true,
            grace: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(30),
            retry_base: Duration::from_secs(2),
            retry_max: Duration::from_secs(5 * 60),
            max_crashes: 10,
            max_payload_depth: 64,
            orphaned_after: Duration::from_secs(10 * 60),
            housekeeping: Duration::from_secs(60),
            retention: None,
            default_limits: TypeLimits::default(),
            limits: BTreeMap::new(),
            host: String::new(),
            pid: 0,
        }
    }
}

impl Config {
    pub(crate) fn limits_of(&self, task_type: &str) -> &TypeLimits {
        self.limits.get(task_type).unwrap_or(&self.default_limits)
    }
}
