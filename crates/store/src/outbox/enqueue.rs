use domain::{RepoRef, Report, TaskId, TicketRef};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::CHANNEL;
use crate::Store;
use crate::error::SqlResult;

/// Earlier tellings that a note keeps; the oldest go first.
const HISTORY: i32 = 50;

/// Puts a report on its task's ticket, inside the transaction of the result or step that it tells of.
///
/// The task's living note takes the report. A note of its own is added when a person must look
/// ([`domain::Verdict::is_moment`]) and the living note stands already, since editing one calls nobody. The same
/// report again changes nothing. Secrets are taken out first.
pub async fn enqueue(
    conn: &mut PgConnection,
    task: &TaskId,
    ticket: &TicketRef,
    report: &Report,
) -> sqlx::Result<()> {
    let moment = report.verdict.is_moment();
    let report = storable(report);
    let inserted = sqlx::query(
        "INSERT INTO longshore.ticket_outbox (task_id, moment, ticket, host, report) VALUES ($1, 0, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(task.as_str())
    .bind(Json(ticket))
    .bind(host_of(&ticket.repo))
    .bind(&report)
    .persistent(false)
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 0 {
        retell(conn, task, &report, moment).await?;
    }
    sqlx::query("SELECT pg_notify($1, '')")
        .bind(CHANNEL)
        .persistent(false)
        .execute(&mut *conn)
        .await?;
    Ok(())
}

impl Store {
    /// Tells a ticket something in a transaction of its own; see [`enqueue`].
    pub async fn tell_ticket(
        &self,
        task: &TaskId,
        ticket: &TicketRef,
        report: &Report,
    ) -> domain::Result<()> {
        const DOING: &str = "write to the outbox";
        let mut tx = self.pool().begin().await.doing(DOING)?;
        enqueue(&mut tx, task, ticket, report).await.doing(DOING)?;
        tx.commit().await.doing(DOING)
    }
}

/// The living row stands already. The lock keeps a drainer from posting it in between.
async fn retell(conn: &mut PgConnection, task: &TaskId, report: &Value, moment: bool) -> sqlx::Result<()> {
    let living = sqlx::query(
        "SELECT report = $2 AS same, posting_since IS NOT NULL OR note_id IS NOT NULL OR gone AS stands
           FROM longshore.ticket_outbox WHERE task_id = $1 AND moment = 0 FOR UPDATE",
    )
    .bind(task.as_str())
    .bind(report)
    .persistent(false)
    .fetch_one(&mut *conn)
    .await?;
    if living.try_get("same")? {
        // The task may have ended by telling what it had told: its result still has to learn where the note is.
        sqlx::query(
            "UPDATE longshore.ticket_outbox SET due_at = coalesce(due_at, longshore.now()) WHERE task_id = $1 AND moment = 0",
        )
        .bind(task.as_str())
        .persistent(false)
        .execute(&mut *conn)
        .await?;
        return Ok(());
    }
    if moment && living.try_get("stands")? {
        sqlx::query(
            "INSERT INTO longshore.ticket_outbox (task_id, moment, ticket, host, report)
             SELECT task_id, max(moment) + 1, (array_agg(ticket))[1], min(host), $2
               FROM longshore.ticket_outbox WHERE task_id = $1 GROUP BY task_id",
        )
        .bind(task.as_str())
        .bind(report)
        .persistent(false)
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query(
        "UPDATE longshore.ticket_outbox
            SET history = CASE WHEN jsonb_array_length(history) >= $3 THEN history - 0 ELSE history END
                          || jsonb_build_object('at', told_at, 'verdict', report->'verdict', 'summary', report->'summary'),
                report = $2, revision = revision + 1, told_at = longshore.now(),
                due_at = longshore.now(), attempts = 0, first_failed_at = NULL, error = NULL, failed = NULL
          WHERE task_id = $1 AND moment = 0",
    )
    .bind(task.as_str())
    .bind(report)
    .bind(HISTORY)
    .persistent(false)
    .execute(&mut *conn)
    .await?;
    Ok(())
}

/// Without secrets, and without NUL, which Postgres cannot store.
fn storable(report: &Report) -> Value {
    let mut value = serde_json::to_value(report.redacted()).unwrap_or(Value::Null);
    crate::json::replace_nul(&mut value);
    value
}

/// The adapter and the host behind it. A path is left out: one host serves, and limits, all of its projects.
fn host_of(repo: &RepoRef) -> String {
    let address = repo
        .url
        .split_once("://")
        .map_or(repo.url.as_str(), |(_, rest)| rest);
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}|{}", repo.provider, host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_of_one_host_share_its_patience() {
        let host = |url: &str| {
            host_of(&RepoRef {
                provider: "forge".into(),
                url: url.into(),
                project: "g/p".into(),
            })
        };
        assert_eq!(host("https://Git.example.com/g/p"), "forge|git.example.com");
        assert_eq!(
            host("https://me:pw@git.example.com:8443/x?y#z"),
            "forge|git.example.com:8443"
        );
        assert_eq!(host(""), "forge|");
        assert_eq!(host("git.example.com"), "forge|git.example.com");
    }
}
