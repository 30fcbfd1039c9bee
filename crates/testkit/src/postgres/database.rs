use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, ValueRef as _};
use store::{Config, Store};

use super::{Changes, ManualClock, Notifications, Postgres};

/// A database of one test. It goes with its server.
pub struct Database {
    server: Arc<Postgres>,
    url: String,
}

/// A row as the server writes it: text, or NULL.
pub type Row = Vec<Option<String>>;

impl Database {
    pub(super) async fn create(server: Arc<Postgres>, template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run(
            &server.url("postgres"),
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        let url = server.url(&name);
        Self { server, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server, for tests that stop or kill it; take it from [`Postgres::own`] then.
    pub fn server(&self) -> &Arc<Postgres> {
        &self.server
    }

    /// A configuration with a small pool, as an API or a CLI would have it.
    pub fn config(&self) -> Config {
        Config {
            pool_size: 5,
            ..Config::new(&self.url)
        }
    }

    /// A store as an API or a CLI has it: its statements notify the workers.
    pub async fn store(&self) -> Store {
        Store::connect(self.config())
            .await
            .expect("connect to the test's database")
    }

    /// A store as a worker has it.
    pub async fn worker_store(&self) -> Store {
        let config = Config {
            application_name: "longshore-worker".to_owned(),
            ..self.config()
        };
        Store::connect(config)
            .await
            .expect("connect to the test's database")
    }

    /// Sends text as it stands over a connection of its own and returns the rows of all its statements.
    pub async fn sql(&self, text: &str) -> Vec<Row> {
        self.try_sql(text)
            .await
            .unwrap_or_else(|error| panic!("{error}\nin: {text}"))
    }

    /// Lists the tasks that SQL put into the hands of a worker as its claim would have.
    pub async fn claimed(&self) {
        self.sql(
            "INSERT INTO longshore.claims (worker_id, tasks)
             SELECT worker_id, array_agg(id) FROM tasks WHERE worker_id IS NOT NULL GROUP BY worker_id",
        )
        .await;
    }

    /// As [`Database::sql`]; an error is the server's message with its SQLSTATE, detail and constraint.
    pub async fn try_sql(&self, text: &str) -> Result<Vec<Row>, String> {
        let mut connection = PgConnection::connect(&self.url)
            .await
            .map_err(|e| e.to_string())?;
        let rows = rows(&mut connection, text).await;
        let _ = connection.close().await;
        rows
    }

    /// The one value that a query gives.
    pub async fn value(&self, text: &str) -> Option<String> {
        let mut rows = self.sql(text).await;
        assert_eq!(rows.len(), 1, "one row was expected of: {text}");
        rows.remove(0).into_iter().next().flatten()
    }

    /// A session that stays open: for settings, transactions and locks.
    pub async fn session(&self) -> Session {
        Session {
            connection: PgConnection::connect(&self.url).await.expect("open a session"),
        }
    }

    /// As [`Database::session`], where the server may have no place left.
    pub async fn try_session(&self) -> Result<Session, String> {
        let connection = PgConnection::connect(&self.url).await.map_err(words)?;
        Ok(Session { connection })
    }

    /// Counts the wake-ups that statements on the table send from now on.
    pub async fn notifications(&self) -> Notifications {
        Notifications::listen(&self.url).await
    }

    /// Hears of what is done to tasks from now on, by workers as well.
    pub async fn changes(&self) -> Changes {
        Changes::listen(&self.url).await
    }

    /// Stops this database's clock at `start`; from now on only the test moves it.
    pub async fn manual_clock(&self, start: DateTime<Utc>) -> ManualClock {
        ManualClock::install(self.url.clone(), start).await
    }

    /// Ends every other session of this database, as an administrator would, and waits until they are gone; returns how
    /// many.
    pub async fn kill_sessions(&self) -> usize {
        self.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .len()
    }
}

/// One open session.
pub struct Session {
    connection: PgConnection,
}

impl Session {
    pub async fn sql(&mut self, text: &str) -> Vec<Row> {
        self.try_sql(text)
            .await
            .unwrap_or_else(|error| panic!("{error}\nin: {text}"))
    }

    pub async fn try_sql(&mut self, text: &str) -> Result<Vec<Row>, String> {
        rows(&mut self.connection, text).await
    }
}

async fn rows(connection: &mut PgConnection, text: &str) -> Result<Vec<Row>, String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .fetch_all(connection)
        .await
        .map_err(words)?;
    Ok(rows.iter().map(as_text).collect())
}

/// The simple protocol gives every value as text.
fn as_text(row: &sqlx::postgres::PgRow) -> Row {
    (0..row.len())
        .map(|i| {
            let value = row.try_get_raw(i).expect("a column of the row");
            (!value.is_null()).then(|| value.as_str().expect("a value as text").to_owned())
        })
        .collect()
}

fn words(error: sqlx::Error) -> String {
    let Some(server) = error.as_database_error() else {
        return error.to_string();
    };
    let postgres = server.downcast_ref::<sqlx::postgres::PgDatabaseError>();
    format!(
        "{} {} [{}] {}",
        postgres.code(),
        postgres.message(),
        server.constraint().unwrap_or_default(),
        postgres.detail().unwrap_or_default()
    )
}

/// One statement on a database named by its URL.
pub(super) async fn run(url: &str, text: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connect to Postgres");
    rows(&mut connection, text)
        .await
        .unwrap_or_else(|error| panic!("{error}\nin: {text}"));
    let _ = connection.close().await;
}
