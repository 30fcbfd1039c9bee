//! New tasks as the columns of one statement.

use domain::{NewTask, TaskId};
use serde_json::Value;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, Postgres};
use sqlx::{PgConnection, Type};

use crate::Store;

/// Some of a call's tasks.
pub(super) struct Rows<'a> {
    ids: Vec<&'a str>,
    tasks: Vec<&'a NewTask>,
}

/// A payload on its way into a `jsonb` column. The driver's own type remembers each value that it has written, in case
/// the column turns out to be `json`.
pub(crate) struct Payload<'a>(pub(crate) &'a Value);

impl Type<Postgres> for Payload<'_> {
    fn type_info() -> PgTypeInfo {
        <Value as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Payload<'_> {
    fn array_type_info() -> PgTypeInfo {
        <Value as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Payload<'_> {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // The version of the format.
        buf.push(1);
        serde_json::to_writer(&mut **buf, self.0)?;
        Ok(IsNull::No)
    }
}

impl<'a> Rows<'a> {
    pub(super) fn of(tasks: &'a [NewTask], ids: &'a [TaskId], places: &[usize]) -> Self {
        Self {
            ids: places.iter().map(|place| ids[*place].as_str()).collect(),
            tasks: places.iter().map(|place| &tasks[*place]).collect(),
        }
    }

    pub(super) fn ids(&self) -> &[&'a str] {
        &self.ids
    }

    fn column<T>(&self, of: impl Fn(&'a NewTask) -> T) -> Vec<T> {
        self.tasks.iter().map(|task| of(task)).collect()
    }

    /// None where no task says anything, which `unnest` then fills up.
    fn optional<T>(&self, of: impl Fn(&'a NewTask) -> Option<T>) -> Option<Vec<Option<T>>> {
        let column = self.column(of);
        column.iter().any(Option::is_some).then_some(column)
    }
}

macro_rules! insert {
    ($conflict:literal) => {
        concat!(
            "INSERT INTO tasks (id, task_type, priority, payload, repo_id, assigned_to, created_by, parent_task_id, dedupe_key, run_at)
             SELECT id, task_type, priority, payload, repo_id, assigned_to, created_by, parent_task_id, dedupe_key,
                    coalesce(run_at AT TIME ZONE 'UTC', longshore.utc_now())
               FROM unnest($1::text[], $2::text[], $3::int[], $4::jsonb[], $5::text[], $6::text[], $7::text[], $8::text[],
                           $9::text[], $10::timestamptz[])
                    AS new (id, task_type, priority, payload, repo_id, assigned_to, created_by, parent_task_id, dedupe_key, run_at) ",
            $conflict
        )
    };
}

impl Store {
    /// Puts them in, by the order of their places; answers how many. With `keyed` those whose dedupe key is taken are left out.
    pub(super) async fn insert_rows(
        &self,
        tx: &mut PgConnection,
        rows: &Rows<'_>,
        keyed: bool,
    ) -> Result<u64, sqlx::Error> {
        // What cannot conflict is put in without the look before and the mark after that ON CONFLICT takes for each row.
        let sql = match keyed {
            true => insert!("ON CONFLICT (open_key) WHERE open_key IS NOT NULL DO NOTHING"),
            false => insert!(""),
        };
        let done = self
            .query(sql)
            .bind(&rows.ids)
            .bind(rows.column(|task| task.task_type.as_str()))
            .bind(rows.column(|task| i32::from(task.priority.get())))
            .bind(rows.column(|task| Payload(&task.payload)))
            .bind(rows.optional(|task| task.repo_id.as_deref()))
            .bind(rows.optional(|task| task.assigned_to.as_deref()))
            .bind(rows.optional(|task| task.created_by.as_deref()))
            .bind(rows.optional(|task| task.parent.as_ref().map(TaskId::as_str)))
            .bind(rows.optional(|task| task.dedupe_key.as_deref()))
            .bind(rows.optional(|task| task.run_at))
            .execute(tx)
            .await?;
        Ok(done.rows_affected())
    }
}
