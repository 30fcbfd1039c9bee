//! One database, one GitLab, two tasks: a build that a flaky network broke, and one that a code fault broke.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::TicketRef;
use ports::JobStatus;
use ports::conformance::forge::{JobSeed, PipelineSeed};
use testkit::gitlab::{FakeGitlab, TOKEN};
use testkit::postgres::{Database, Row, Session};
use tokio::sync::Mutex;

use crate::worker::Process;

const PROJECT: &str = "group/app";

/// So that a busy machine does not take a live worker's lease.
pub const LONG: &str = "120s";

const NETWORK: &str = "$ npm ci
npm ERR! code ECONNRESET
npm ERR! network request to https://registry.npmjs.org/left-pad failed, reason: read ECONNRESET
npm ERR! network This is a problem related to network connectivity.
ERROR: Job failed: exit code 1
";

const COMPILE: &str = "$ cargo build --locked
   Compiling app v0.1.0 (/builds/group/app)
error[E0425]: cannot find value `totl` in this scope
 --> src/main.rs:12:20
error: could not compile `app` (bin \"app\") due to 1 previous error
ERROR: Job failed: exit code 101
";

const SESSIONS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'longshore-worker'";

pub struct Bench {
    pub database: Database,
    pub gitlab: Arc<FakeGitlab>,
    tickets: Vec<TicketRef>,
    /// For looks and changes by the test.
    control: Mutex<Session>,
    /// Keeps the gate shut.
    pub(crate) gate: Mutex<Session>,
}

/// What all this came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    pub retries: usize,
    /// How many notes each ticket has.
    pub notes: Vec<usize>,
    /// `TYPE STATUS VERDICT SUMMARY` of every task.
    pub tasks: Vec<String>,
    /// `PRIORITY SCOPE/KEY` of every done step.
    pub steps: Vec<String>,
    pub verdicts: String,
    pub spent: String,
}

impl Bench {
    pub async fn new() -> Self {
        let gitlab = Arc::new(FakeGitlab::start());
        let database = testkit::postgres::database().await;
        let repo = gitlab.repo(PROJECT);
        let mut control = database.session().await;
        control
            .sql(&format!(
                "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode)
                 VALUES ('app', 'app', '{}', '{PROJECT}', 'full')",
                repo.url
            ))
            .await;
        let gate = database.session().await;
        let mut bench = Self {
            database,
            gitlab,
            tickets: Vec::new(),
            control: Mutex::new(control),
            gate: Mutex::new(gate),
        };
        bench.add("unit", NETWORK, 9).await;
        bench.add("build", COMPILE, 8).await;
        bench
    }

    /// A failed pipeline, and a task to look at it with this priority.
    pub async fn add(&mut self, job: &str, log: &str, priority: u8) {
        let ticket = self.gitlab.open_issue(PROJECT, &[]);
        let job = JobSeed {
            name: job.to_owned(),
            status: JobStatus::Failed,
            allow_failure: false,
            log: log.as_bytes().to_vec(),
            earlier_runs: 0,
        };
        let pipeline = self
            .gitlab
            .add_pipeline(PROJECT, &PipelineSeed::failed(vec![job]))
            .pipeline;
        self.sql(&format!(
            "INSERT INTO tasks (task_type, repo_id, priority, assigned_to, payload) VALUES
                 ('fix_build', 'app', {priority}, 'devops', '{{\"pipeline\": {{\"id\": {pipeline}}}, \"issue\": {{\"iid\": {}}}}}')",
            ticket.iid
        ))
        .await;
        self.tickets.push(ticket);
    }

    /// A worker with its defaults but for one slot, short times for requests, and what `more` says.
    pub fn worker(&self, more: &[(&str, &str)]) -> Process {
        self.worker_of(crate::worker::binary(), more)
    }

    /// The same with another binary.
    pub fn worker_of(&self, binary: &Path, more: &[(&str, &str)]) -> Process {
        let url = self.gitlab.url();
        let mut env = vec![
            ("DATABASE_URL", self.database.url()),
            ("GITLAB_URL", &url),
            ("GITLAB_TOKEN", TOKEN),
            ("LONGSHORE_GITLAB_TIMEOUT", "1s"),
            ("LONGSHORE_GITLAB_SETTLE", "1s"),
            ("LONGSHORE_WORKER_SLOTS", "1"),
            ("LONGSHORE_WORKER_RETRY_FIRST", "100ms"),
        ];
        env.extend(more);
        Process::start_of(binary, &["worker"], &env)
    }

    /// A worker whose lease does not end by itself.
    pub fn steady_worker(&self) -> Process {
        self.worker(&[("LONGSHORE_WORKER_LEASE", LONG)])
    }

    pub async fn sql(&self, text: &str) -> Vec<Row> {
        self.control.lock().await.sql(text).await
    }

    /// The one value that a query gives, or nothing where it is NULL.
    pub async fn value(&self, text: &str) -> String {
        let mut rows = self.sql(text).await;
        assert_eq!(rows.len(), 1, "one row was expected of: {text}");
        rows.remove(0).into_iter().next().flatten().unwrap_or_default()
    }

    pub async fn holds(&self, condition: &str) -> bool {
        self.value(&format!("SELECT {condition}")).await == "t"
    }

    pub async fn until_holds(&self, what: &str, condition: &str) {
        self.until(what, async || self.holds(condition).await).await;
    }

    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let asked = Instant::now();
        while !so().await {
            assert!(
                asked.elapsed() < Duration::from_secs(120),
                "waited in vain until {what}; tasks: {:?}, notes: {:?}",
                self.sql("SELECT id, status, worker_id, attempt, wait, error, result->'ticket' FROM tasks")
                    .await,
                self.sql(
                    "SELECT task_id, moment, due_at, lease_until, error, failed FROM longshore.ticket_outbox"
                )
                .await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A worker asks for a build's log, which a fault or a hook keeps from it.
    pub async fn until_reading(&self) {
        self.until("a worker reads a log", async || {
            let asked = self.gitlab.requests();
            asked.iter().any(|request| request.path.ends_with("/trace"))
        })
        .await;
    }

    /// Ends all workers' leases, as time would.
    pub async fn end_leases(&self) {
        self.sql("UPDATE longshore.workers SET lease_until = clock_timestamp()")
            .await;
    }

    /// Which notes somebody holds now, for [`Bench::end_note_leases`].
    pub async fn note_leases(&self) -> String {
        self.value(
            "SELECT coalesce(array_agg(lease), '{}') FROM longshore.ticket_outbox WHERE lease IS NOT NULL",
        )
        .await
    }

    /// Notes are leased for longer than a test wants to wait. One that is locked is left alone: its holder is in
    /// the middle of a transaction.
    pub async fn end_note_leases(&self, of: &str) {
        self.sql(&format!(
            "UPDATE longshore.ticket_outbox o SET lease_until = clock_timestamp()
               FROM (SELECT task_id, moment FROM longshore.ticket_outbox
                      WHERE lease = ANY ('{of}') AND lease_until > clock_timestamp() FOR UPDATE SKIP LOCKED) AS held
              WHERE o.task_id = held.task_id AND o.moment = held.moment"
        ))
        .await;
    }

    /// Which sessions the workers have now, for [`Bench::end_silent`].
    pub async fn worker_sessions(&self) -> String {
        self.value(&format!("SELECT coalesce(array_agg(pid), '{{}}') {SESSIONS}"))
            .await
    }

    /// Ends those that are silent in a transaction.
    pub async fn end_silent(&self, sessions: &str) {
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) {SESSIONS} AND pid = ANY ('{sessions}') AND state = 'idle in transaction'"
        ))
        .await;
    }

    /// Clears away what a dead worker left on the server, and ends its leases.
    pub async fn bury(&self) {
        self.sql(&format!("SELECT pg_terminate_backend(pid) {SESSIONS}"))
            .await;
        self.open_gate().await;
        self.until_holds(
            "the dead worker's sessions are gone",
            &format!("NOT EXISTS (SELECT {SESSIONS})"),
        )
        .await;
        self.end_leases().await;
        self.end_note_leases(&self.note_leases().await).await;
    }

    pub async fn is_done(&self) -> bool {
        self.holds(
            "NOT EXISTS (SELECT FROM tasks WHERE task_type = 'fix_build'
                           AND (status <> 'completed' OR result->'ticket'->>'state' <> 'posted'))
             AND NOT EXISTS (SELECT FROM longshore.ticket_outbox WHERE due_at IS NOT NULL)",
        )
        .await
    }

    pub async fn done(&self) -> Came {
        self.until("both builds are dealt with and told of", async || {
            self.is_done().await
        })
        .await;
        let lines = async |sql: &str| -> Vec<String> {
            let rows = self.sql(sql).await;
            rows.into_iter()
                .filter_map(|row| row.into_iter().next().flatten())
                .collect()
        };
        Came {
            retries: self.gitlab.retries(),
            notes: self
                .tickets
                .iter()
                .map(|ticket| self.gitlab.notes(ticket).len())
                .collect(),
            tasks: lines(
                "SELECT concat_ws(' ', task_type, priority, status, result->>'verdict', result->>'summary')
                   FROM tasks ORDER BY 1",
            )
            .await,
            steps: lines(
                "SELECT t.priority || ' ' || scope || '/' || key
                   FROM longshore.task_steps s JOIN tasks t ON t.id = s.task_id
                  WHERE outcome IS NOT NULL ORDER BY t.priority, scope, seq",
            )
            .await,
            verdicts: self.value("SELECT count(*) FROM longshore.flake_verdicts").await,
            spent: self
                .value("SELECT count(*) FROM longshore.budget_answers WHERE granted")
                .await,
        }
    }

    /// What workers write, for a look at whether anybody still does.
    pub async fn snapshot(&self) -> Vec<Row> {
        self.sql(
            "SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM tasks t
             UNION ALL SELECT jsonb_agg(to_jsonb(s) ORDER BY task_id, scope, seq) FROM longshore.task_steps s
             UNION ALL SELECT jsonb_agg(to_jsonb(o) ORDER BY task_id, moment) FROM longshore.ticket_outbox o
             UNION ALL SELECT jsonb_agg(to_jsonb(e)) FROM longshore.task_events e
             UNION ALL SELECT jsonb_agg(to_jsonb(b) ORDER BY idem) FROM longshore.budget_answers b
             UNION ALL SELECT jsonb_agg(to_jsonb(f) ORDER BY id) FROM longshore.flake_verdicts f",
        )
        .await
    }
}
