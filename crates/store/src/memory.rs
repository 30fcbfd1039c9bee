//! Placeholder until the memory ports land beside it.
use domain::{Staged, TaskId};
pub(crate) async fn apply(_c: &mut sqlx::PgConnection, _t: &TaskId, _s: &[Staged]) -> sqlx::Result<()> {
    Ok(())
}
