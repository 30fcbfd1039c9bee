use domain::TaskStatus;
use durable::{JournalError, Lease};
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::describe;

impl Store {
    /// Locks the task's row for the rest of the transaction if the lease still holds, so that nobody can take
    /// the task over between this look and the commit. Answers the row's status.
    ///
    /// `cancelled` on a row that we run is a request: the lease holds until the task is unwound.
    pub(crate) async fn fence(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
    ) -> Result<TaskStatus, JournalError> {
        let row = self
            .query(
                "SELECT t.status FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id
                  WHERE t.id = $1 AND t.worker_id = $2 AND t.attempt = $3
                    AND t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                    AND w.lease_until > clock_timestamp()
                    FOR UPDATE OF t",
            )
            .bind(lease.task.as_str())
            .bind(&lease.worker)
            .bind(lease.attempt)
            .fetch_optional(tx)
            .await
            .map_err(|error| describe(&error, "check the lease"))?;
        match row.map(|row| row.get::<String, _>("status")).as_deref() {
            Some("cancelled") => Ok(TaskStatus::Cancelled),
            Some(_) => Ok(TaskStatus::InProgress),
            None => Err(JournalError::LeaseLost),
        }
    }
}
