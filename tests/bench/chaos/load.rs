//! Puts tasks into the table at an even pace, and goes on when Postgres comes back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::server::Database;

const TICK: Duration = Duration::from_millis(20);

pub struct Load {
    rate: Arc<Mutex<f64>>,
    end: CancellationToken,
    task: JoinHandle<Result<i64>>,
}

impl Load {
    pub fn start(database: &Database, rate: f64) -> Self {
        let rate = Arc::new(Mutex::new(rate));
        let end = CancellationToken::new();
        let task = tokio::spawn(put(database.clone(), rate.clone(), end.clone()));
        Self { rate, end, task }
    }

    /// Tasks a second from now on.
    pub fn set(&self, rate: f64) {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = rate;
    }

    /// How many tasks were put in.
    pub async fn end(self) -> Result<i64> {
        self.end.cancel();
        self.task.await?
    }
}

/// Ids are counted, and a row that is there already is left: a lost answer puts nothing in twice.
async fn put(database: Database, rate: Arc<Mutex<f64>>, end: CancellationToken) -> Result<i64> {
    let mut connection: Option<PgConnection> = None;
    let (mut owed, mut sent) = (0.0, 0i64);
    let mut last = Instant::now();
    let mut unsent: Vec<String> = Vec::new();
    while !(end.is_cancelled() && unsent.is_empty()) {
        tokio::time::sleep(TICK).await;
        if !end.is_cancelled() {
            let rate = *rate.lock().unwrap_or_else(PoisonError::into_inner);
            owed += rate * last.elapsed().as_secs_f64();
            last = Instant::now();
            while owed >= 1.0 {
                owed -= 1.0;
                sent += 1;
                unsent.push(format!("load-{sent:08}"));
            }
        }
        if connection.is_none() {
            connection = database.connect().await.ok();
        }
        let Some(open) = &mut connection else { continue };
        if unsent.is_empty() {
            continue;
        }
        let put = sqlx::query(
            "INSERT INTO tasks (id, task_type, payload) SELECT i, 'deploy', '{\"instruction\": \"nothing\"}'
               FROM unnest($1::text[]) i ON CONFLICT (id) DO NOTHING",
        )
        .bind(&unsent)
        .execute(open)
        .await;
        match put {
            Ok(_) => unsent.clear(),
            Err(_) => connection = None,
        }
    }
    if let Some(connection) = connection {
        connection.close().await?;
    }
    Ok(sent)
}
