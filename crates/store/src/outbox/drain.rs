use std::future::Future;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::{Report, Result, TaskId, TicketRef, Verdict};
use ports::NoteId;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Postgres, Row, Transaction};
use uuid::Uuid;

use super::number;
use crate::error::SqlResult;
use crate::limit::within;
use crate::{LeaseClock, Store};

/// The drainer's side of the outbox. Every write names the lease that its row was taken under and answers `false`,
/// having written nothing, when another drainer has taken the row since.
#[derive(Clone)]
pub struct Outbox {
    pool: PgPool,
    patience: Duration,
}

/// A row taken for delivery.
#[derive(Clone, Debug)]
pub struct Due {
    pub task: TaskId,
    /// 0 for the living note, N for the Nth note about a moment.
    pub moment: u32,
    pub ticket: TicketRef,
    /// Which far side paces it, as an opaque key.
    pub host: String,
    pub told: Told,
    /// The note that stands for this row.
    pub note: Option<NoteId>,
    pub note_url: Option<String>,
    pub posted_revision: i64,
    pub labelled_revision: i64,
    /// Where the task's living note can be read; for a moment's note to point to.
    pub living_url: Option<String>,
    /// A create was sent this long ago and its outcome is not known.
    pub in_doubt_for: Option<Duration>,
    /// The note was deleted by a person.
    pub gone: bool,
    /// Tries since the last success or the last telling.
    pub attempts: u32,
    /// Since the first of them.
    pub failing_for: Duration,
    /// Until when the row is ours at most, by our own clock.
    pub clock: LeaseClock,
    pub(super) lease: Uuid,
}

/// What a look took.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub due: Vec<Due>,
    /// Where that is nothing: in how long there may be something by time alone.
    pub next: Option<Duration>,
}

/// What a note has to say.
#[derive(Clone, Debug)]
pub struct Told {
    pub revision: i64,
    pub report: Report,
    /// What was told before, oldest first.
    pub history: Vec<Earlier>,
    pub at: DateTime<Utc>,
}

/// One earlier telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    pub at: DateTime<Utc>,
    pub verdict: Verdict,
    pub summary: String,
}

impl Store {
    /// The notes that wait to be written.
    pub fn outbox(&self) -> Outbox {
        Outbox {
            pool: self.pool().clone(),
            patience: self.config().patience(),
        }
    }
}

async fn next_due(db: &mut PgConnection) -> sqlx::Result<Option<Duration>> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "WITH RECURSIVE hosts AS (
             (SELECT host FROM longshore.ticket_outbox WHERE due_at IS NOT NULL ORDER BY host LIMIT 1)
             UNION ALL
             SELECT (SELECT o.host FROM longshore.ticket_outbox o
                      WHERE o.due_at IS NOT NULL AND o.host > h.host ORDER BY o.host LIMIT 1)
               FROM hosts h WHERE h.host IS NOT NULL)
         SELECT extract(epoch FROM min(CASE WHEN p.paused_until > longshore.now() THEN p.paused_until - longshore.now()
                    ELSE least(
                        (SELECT o.due_at FROM longshore.ticket_outbox o
                          -- The look before this one was a little earlier.
                          WHERE o.host = h.host AND o.due_at > longshore.now() - interval '1 second'
                            AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
                          ORDER BY o.due_at LIMIT 1) - longshore.now(),
                        -- What is under way elsewhere was due first.
                        (SELECT min(o.lease_until) - clock_timestamp()
                           FROM (SELECT lease_until FROM longshore.ticket_outbox
                                  WHERE host = h.host AND due_at <= longshore.now() ORDER BY due_at LIMIT 100) AS o
                          WHERE o.lease_until > clock_timestamp())) END))::float8
           FROM hosts h LEFT JOIN longshore.ticket_hosts p USING (host) WHERE h.host IS NOT NULL",
    )
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

impl Outbox {
    /// Runs one operation of this, for as long as Postgres can be at it.
    pub async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.patience, "look after notes for tickets", work).await
    }

    /// Rows that are due, at most `per_host` for each far side that is not `busy`, the longest due first. They stay ours for `lease`
    /// and may be taken by another drainer after that. A task's notes are delivered in their order.
    pub async fn take(&self, per_host: u32, busy: &[String], lease: Duration) -> Result<Taken> {
        const DOING: &str = "take notes for tickets";
        let token = Uuid::new_v4();
        let asked = Instant::now();
        let mut tx = self.begin(DOING).await?;
        let rows = sqlx::query(
            "WITH RECURSIVE hosts AS (
                 (SELECT host FROM longshore.ticket_outbox WHERE due_at IS NOT NULL ORDER BY host LIMIT 1)
                 UNION ALL
                 SELECT (SELECT o.host FROM longshore.ticket_outbox o
                          WHERE o.due_at IS NOT NULL AND o.host > h.host ORDER BY o.host LIMIT 1)
                   FROM hosts h WHERE h.host IS NOT NULL),
             mine AS MATERIALIZED (
                 SELECT due.* FROM hosts h LEFT JOIN longshore.ticket_hosts p USING (host), LATERAL (
                     SELECT o.task_id, o.moment FROM longshore.ticket_outbox o
                      WHERE o.host = h.host AND o.due_at <= longshore.now()
                        AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
                        AND NOT EXISTS (SELECT FROM longshore.ticket_outbox e
                                         WHERE e.task_id = o.task_id AND e.moment < o.moment AND e.due_at IS NOT NULL)
                      ORDER BY o.due_at LIMIT $1 FOR UPDATE OF o SKIP LOCKED) AS due
                  WHERE (p.paused_until IS NULL OR p.paused_until <= longshore.now()) AND h.host <> ALL ($4))
             UPDATE longshore.ticket_outbox o
                SET lease = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
               FROM mine WHERE o.task_id = mine.task_id AND o.moment = mine.moment
             RETURNING o.*,
                 extract(epoch FROM longshore.now() - o.posting_since)::float8 AS doubt_s,
                 extract(epoch FROM longshore.now() - o.first_failed_at)::float8 AS failing_s,
                 (SELECT l.note_url FROM longshore.ticket_outbox l WHERE l.task_id = o.task_id AND l.moment = 0 AND NOT l.gone)
                     AS living_url",
        )
        .bind(i64::from(per_host))
        .bind(token)
        .bind(lease.as_secs_f64())
        .bind(busy)
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .doing(DOING)?;
        let next = if rows.is_empty() {
            next_due(&mut tx).await.doing(DOING)?
        } else {
            None
        };
        tx.commit().await.doing(DOING)?;
        let due: Vec<Due> = rows
            .iter()
            .map(Due::read)
            .collect::<sqlx::Result<_>>()
            .doing("read the outbox")?;
        for due in &due {
            due.clock.prolong(asked, lease);
        }
        Ok(Taken { due, next })
    }

    /// Keeps rows ours for another `lease`.
    pub async fn renew(&self, rows: &[Due], lease: Duration) -> Result<()> {
        const DOING: &str = "keep notes for tickets";
        let tokens: Vec<Uuid> = rows.iter().map(|row| row.lease).collect();
        let asked = Instant::now();
        let mut tx = self.begin(DOING).await?;
        let kept: Vec<(String, i32, Uuid)> = sqlx::query_as(
            "UPDATE longshore.ticket_outbox SET lease_until = clock_timestamp() + make_interval(secs => $2)
              WHERE lease = ANY ($1) RETURNING task_id, moment, lease",
        )
        .bind(tokens)
        .bind(lease.as_secs_f64())
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        for row in rows {
            let is_it = |(task, moment, token): &(String, i32, Uuid)| {
                task == row.task.as_str() && *moment == number(row.moment) && *token == row.lease
            };
            if kept.iter().any(is_it) {
                row.clock.prolong(asked, lease);
            }
        }
        Ok(())
    }

    /// Notes that a create is about to be sent, and answers what it has to say by now; `None` when the row is no
    /// longer ours and nothing may be sent.
    pub async fn begin_post(&self, due: &Due) -> Result<Option<Told>> {
        const DOING: &str = "note that a comment is being posted";
        let mut tx = self.begin(DOING).await?;
        let row = sqlx::query(
            "UPDATE longshore.ticket_outbox SET posting_since = longshore.now(), creates = creates + 1
              WHERE task_id = $1 AND moment = $2 AND lease = $3 RETURNING *",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .persistent(false)
        .fetch_optional(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        row.map(|row| Told::read(&row))
            .transpose()
            .doing("read the outbox")
    }

    /// The note stands and says `revision`.
    pub async fn posted(&self, due: &Due, note: NoteId, url: Option<&str>, revision: i64) -> Result<bool> {
        const DOING: &str = "note that a comment was posted";
        let mut tx = self.begin(DOING).await?;
        let done = sqlx::query(
            "UPDATE longshore.ticket_outbox
                SET note_id = $4, note_url = coalesce($5, note_url), posted_revision = $6, posting_since = NULL,
                    attempts = 0, first_failed_at = NULL, error = NULL
              WHERE task_id = $1 AND moment = $2 AND lease = $3",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .bind(note.0 as i64)
        .bind(url)
        .bind(revision)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(done.rows_affected() == 1)
    }

    /// The ticket's labels are as `revision` wants them.
    pub async fn labelled(&self, due: &Due, revision: i64) -> Result<bool> {
        const DOING: &str = "note that labels were changed";
        let mut tx = self.begin(DOING).await?;
        let done = sqlx::query(
            "UPDATE longshore.ticket_outbox SET labelled_revision = $4 WHERE task_id = $1 AND moment = $2 AND lease = $3",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .bind(revision)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(done.rows_affected() == 1)
    }

    /// Somebody deleted the note. It is not written again; the next moment gets a note of its own.
    pub async fn note_gone(&self, due: &Due) -> Result<bool> {
        const DOING: &str = "note that a comment was deleted";
        let mut tx = self.begin(DOING).await?;
        let done = sqlx::query(
            "UPDATE longshore.ticket_outbox SET gone = true, note_id = NULL, note_url = NULL
              WHERE task_id = $1 AND moment = $2 AND lease = $3",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the row back, due again after `delay`. `nothing_happened`: no create of ours is under way, so the next
    /// try need not look for its note first. `error` counts as a failed try.
    pub async fn put_off(
        &self,
        due: &Due,
        delay: Duration,
        nothing_happened: bool,
        error: Option<&str>,
    ) -> Result<bool> {
        const DOING: &str = "put off a comment";
        let mut tx = self.begin(DOING).await?;
        let done = sqlx::query(
            "UPDATE longshore.ticket_outbox
                SET due_at = longshore.now() + make_interval(secs => $4), lease = NULL, lease_until = NULL,
                    posting_since = CASE WHEN $5 THEN NULL ELSE posting_since END, error = coalesce($6, error),
                    attempts = attempts + ($6 IS NOT NULL)::int,
                    first_failed_at = CASE WHEN $6 IS NULL THEN first_failed_at ELSE coalesce(first_failed_at, longshore.now()) END
              WHERE task_id = $1 AND moment = $2 AND lease = $3",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .bind(delay.as_secs_f64())
        .bind(nothing_happened)
        .bind(error)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(done.rows_affected() == 1)
    }

    /// The far side asked everybody to wait.
    pub async fn pause_host(&self, host: &str, delay: Duration) -> Result<()> {
        const DOING: &str = "note that a host asked us to wait";
        let mut tx = self.begin(DOING).await?;
        sqlx::query(
            "INSERT INTO longshore.ticket_hosts AS h VALUES ($1, longshore.now() + make_interval(secs => $2))
             ON CONFLICT (host) DO UPDATE SET paused_until = greatest(h.paused_until, excluded.paused_until)",
        )
        .bind(host)
        .bind(delay.as_secs_f64())
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)
    }

    /// The note that stands for this row by now, whoever holds it.
    pub async fn standing_note(&self, due: &Due) -> Result<Option<NoteId>> {
        const DOING: &str = "look up a comment";
        let mut tx = self.begin(DOING).await?;
        let note: Option<Option<i64>> = sqlx::query_scalar(
            "SELECT note_id FROM longshore.ticket_outbox WHERE task_id = $1 AND moment = $2",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .persistent(false)
        .fetch_optional(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(note.flatten().map(|id| NoteId(id as u64)))
    }

    pub(super) async fn begin(&self, doing: &str) -> Result<Transaction<'static, Postgres>> {
        self.pool.begin().await.doing(doing)
    }
}

impl Due {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let Json(ticket) = row.try_get("ticket")?;
        let seconds = |column| {
            row.try_get::<Option<f64>, _>(column)
                .map(|s| s.map(|s| Duration::from_secs_f64(s.max(0.0))))
        };
        Ok(Self {
            task: row.try_get::<String, _>("task_id")?.into(),
            moment: row.try_get::<i32, _>("moment")?.max(0) as u32,
            ticket,
            host: row.try_get("host")?,
            told: Told::read(row)?,
            note: row
                .try_get::<Option<i64>, _>("note_id")?
                .map(|id| NoteId(id as u64)),
            note_url: row.try_get("note_url")?,
            posted_revision: row.try_get("posted_revision")?,
            labelled_revision: row.try_get("labelled_revision")?,
            living_url: row.try_get("living_url")?,
            in_doubt_for: seconds("doubt_s")?,
            gone: row.try_get("gone")?,
            attempts: row.try_get::<i32, _>("attempts")?.max(0) as u32,
            failing_for: seconds("failing_s")?.unwrap_or_default(),
            clock: LeaseClock::default(),
            lease: row.try_get("lease")?,
        })
    }
}

impl Told {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let Json(report) = row.try_get("report")?;
        let Json(history) = row.try_get("history")?;
        Ok(Self {
            revision: row.try_get("revision")?,
            report,
            history,
            at: row.try_get("told_at")?,
        })
    }
}
