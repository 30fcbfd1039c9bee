//! A database with the tasks of a test, and a gate at which a worker that writes a step waits to be killed.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::postgres::{Database, Row, Session};
use tokio::sync::Mutex;

use crate::worker::Process;

/// A lock that the test holds; a worker that writes a step waits for it.
const GATE: &str = "4712";

/// More than anything takes, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Stage {
    pub database: Database,
    control: Mutex<Session>,
    /// Keeps the gate shut.
    gate: Mutex<Session>,
}

impl Stage {
    pub async fn new() -> Self {
        let database = testkit::postgres::database().await;
        let (control, gate) = (database.session().await, database.session().await);
        Self {
            database,
            control: Mutex::new(control),
            gate: Mutex::new(gate),
        }
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

    /// The repository `shop` with one environment, `production`.
    pub async fn add_repo(&self, url: &str, production: &Value) {
        let settings = quoted(&serde_json::json!({ "environments": { "production": production } }));
        self.sql(&format!(
            "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode, settings)
             VALUES ('shop', 'shop', '{url}', 'group/shop', 'full', {settings})"
        ))
        .await;
    }

    /// One more of its environments.
    pub async fn add_environment(&self, name: &str, settings: &Value) {
        self.sql(&format!(
            "UPDATE repos SET settings = jsonb_set(settings, '{{environments,{name}}}', {})",
            quoted(settings)
        ))
        .await;
    }

    /// A task, and its id.
    pub async fn add_task(&self, task_type: &str, payload: &Value) -> String {
        let payload = quoted(payload);
        self.value(&format!(
            "INSERT INTO tasks (task_type, repo_id, assigned_to, payload)
             VALUES ('{task_type}', 'shop', 'devops', {payload}) RETURNING id"
        ))
        .await
    }

    pub async fn is_over(&self, task: &str) -> bool {
        let over = format!("status IN ('completed', 'failed', 'cancelled') FROM tasks WHERE id = '{task}'");
        self.holds(&over).await
    }

    pub async fn result(&self, task: &str) -> Value {
        let text = self
            .value(&format!("SELECT result FROM tasks WHERE id = '{task}'"))
            .await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub async fn until<F: Future<Output = bool>>(&self, what: &str, worker: &Process, so: impl Fn() -> F) {
        let asked = Instant::now();
        while !so().await {
            assert!(
                asked.elapsed() < LIMIT,
                "waited in vain until {what}; tasks: {:?}; the worker:\n{}",
                self.sql("SELECT id, status, attempt, wait, error FROM tasks")
                    .await,
                worker.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `VERSION OUTCOME PREVIOUS` of every deployment, in their order.
    pub async fn deployments(&self) -> Vec<String> {
        let rows = self
            .sql("SELECT concat_ws(' ', version, outcome, previous) FROM longshore.deployments ORDER BY seq")
            .await;
        rows.into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect()
    }

    /// From now on a worker that writes a step waits at the gate, unless one died there before.
    pub async fn gate_every_write(&self) {
        self.sql(&format!(
            "CREATE TABLE test_killed (what text PRIMARY KEY);
             CREATE FUNCTION test_point() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE name text := left(concat_ws(' ', 'at', NEW.scope, NEW.key, lower(TG_OP)), 63);
             BEGIN
                 IF current_setting('application_name') = 'longshore-worker'
                    AND NOT EXISTS (SELECT FROM test_killed WHERE what = name) THEN
                     PERFORM set_config('application_name', name, false);
                     PERFORM pg_advisory_xact_lock({GATE});
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER test_point AFTER INSERT OR UPDATE ON longshore.task_steps
                 FOR EACH ROW EXECUTE FUNCTION test_point();"
        ))
        .await;
        let shut = format!("SELECT pg_advisory_lock({GATE})");
        self.gate.lock().await.sql(&shut).await;
        // What a dead one had asked for may still be carried out: it would claim the next task, and nobody do it.
        self.clear_away().await;
    }

    /// Kills a worker at each write of a step until the task is over: at every third twice in a row, the second one when
    /// it comes to what the first one did not write. The last one goes on. Meanwhile somebody does what they do.
    pub async fn kill_at_every_write<F: Future<Output = ()>>(
        &self,
        task: &str,
        start: impl Fn() -> Process,
        meanwhile: impl Fn() -> F,
    ) -> (Kills, Process) {
        let (mut kills, mut alone) = (Kills::default(), true);
        loop {
            let mut worker = start();
            self.until("the worker writes a step, or is done", &worker, || async {
                meanwhile().await;
                self.at_the_gate().await.is_some() || self.is_over(task).await
            })
            .await;
            let Some(at) = self.at_the_gate().await else {
                return (kills, worker);
            };
            worker.kill();
            self.clear_away().await;
            if alone && kills.at.len() % 3 == 0 {
                alone = false;
                continue;
            }
            kills.twice += usize::from(!alone);
            alone = true;
            let killed = &mut kills.at;
            self.sql(&format!(
                "INSERT INTO test_killed VALUES ('{}')",
                at.replace('\'', "''")
            ))
            .await;
            assert!(!killed.contains(&at), "{at} was written twice: {killed:#?}");
            killed.push(at);
        }
    }

    /// Who waits at the gate, and where.
    async fn at_the_gate(&self) -> Option<String> {
        let waiting = "SELECT max(application_name) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name LIKE 'at %' AND wait_event = 'advisory'";
        Some(self.value(waiting).await).filter(|name| !name.is_empty())
    }

    /// Takes away what a dead worker left on the server, and ends its leases.
    async fn clear_away(&self) {
        let sessions = "FROM pg_stat_activity WHERE datname = current_database()
                         AND (application_name = 'longshore-worker' OR application_name LIKE 'at %')";
        self.sql(&format!("SELECT pg_terminate_backend(pid) {sessions}"))
            .await;
        while self.holds(&format!("EXISTS (SELECT {sessions})")).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.sql(
            "UPDATE longshore.workers SET lease_until = clock_timestamp();
             UPDATE longshore.ticket_outbox SET lease_until = clock_timestamp() WHERE lease_until > clock_timestamp()",
        )
        .await;
    }
}

/// Where workers were killed.
#[derive(Debug, Default)]
pub struct Kills {
    pub at: Vec<String>,
    /// At how many of them twice in a row.
    pub twice: usize,
}

impl std::fmt::Display for Kills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "killed {} times, at {} writes of a step, {} of them twice in a row",
            self.at.len() + self.twice,
            self.at.len(),
            self.twice
        )
    }
}

fn quoted(value: &Value) -> String {
    format!("'{}'", value.to_string().replace('\'', "''"))
}
