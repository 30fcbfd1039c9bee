//! Lists of tasks, page by page. What a page costs does not grow with the tasks that are over.

use std::collections::HashMap;

use domain::{Result, TaskId, TaskStatus};
use sqlx::postgres::PgRow;
use sqlx::{Column, PgConnection, Row};

use super::candidates::{State, Wanted};
use super::cursor::Cursor;
use super::row::{TaskRow, list_columns};
use crate::Store;
use crate::error::SqlResult;

/// How many tasks are looked at for one page where no index leads to those that fit, in growing steps.
const STEPS: [i64; 3] = [2_000, 20_000, 60_000];
/// Tasks read at a time, and how many bytes of them end a page.
const READ: usize = 100;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Which tasks to list. Empty means all; at most `limit`, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    pub status: Vec<TaskStatus>,
    pub limit: u32,
    pub task_type: Option<String>,
    pub assigned_to: Option<String>,
    pub repo_id: Option<String>,
}

impl Default for TaskFilter {
    fn default() -> Self {
        Self {
            status: Vec::new(),
            limit: 50,
            task_type: None,
            assigned_to: None,
            repo_id: None,
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    pub tasks: Vec<TaskRow>,
    /// Where the list goes on. A page may hold fewer tasks than were asked for, even none, and yet go on: where few tasks fit,
    /// some ten thousand are looked at for one page, and what is large ends it early.
    pub next: Option<Cursor>,
}

impl Store {
    /// The newest tasks that fit. Rows whose status is a word of another program alone are left out, as are large payloads
    /// and the details of large results ([`TaskRow::omitted`]).
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRow>> {
        Ok(self.page(filter, None).await?.tasks)
    }

    /// The tasks behind `cursor` that fit.
    pub async fn page(&self, filter: &TaskFilter, cursor: Option<&Cursor>) -> Result<Page> {
        let states: Vec<State> = filter.status.iter().copied().map(State::Status).collect();
        self.page_of(&states, filter, cursor).await
    }

    /// The same of tasks in these states, `held` among them, whatever the filter's own are.
    pub async fn page_of(
        &self,
        states: &[State],
        filter: &TaskFilter,
        cursor: Option<&Cursor>,
    ) -> Result<Page> {
        let mut tx = self.pool().begin().await.doing("list tasks")?;
        let limit = filter.limit as usize;
        let (mut found, mut next) = self.walk(&mut tx, states, filter, cursor, limit).await?;
        found.truncate(limit);
        let (mut tasks, mut bytes) = (Vec::with_capacity(found.len()), 0);
        for (nth, places) in found.chunks(READ).enumerate() {
            let (read, more) = self.listed(&mut tx, places).await?;
            tasks.extend(read);
            bytes += more;
            let told = (nth * READ) + places.len();
            if bytes >= PAGE_BYTES && told < found.len() {
                next = places.last().cloned();
                break;
            }
        }
        self.note_held_back(&mut tx, &mut tasks).await?;
        tx.commit().await.doing("list tasks")?;
        Ok(Page { tasks, next })
    }

    /// The places of a page's tasks, in order, and where the next one begins.
    async fn walk(
        &self,
        tx: &mut PgConnection,
        wanted: &[State],
        filter: &TaskFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<Cursor>, Option<Cursor>)> {
        // Where an index holds the wanted states alone, one short look at the newest tasks is all that comes before it.
        let narrow = !wanted.is_empty() && wanted.iter().all(|state| state.has_index());
        let (mut found, mut from) = (Vec::new(), cursor.cloned());
        for step in &STEPS[..if narrow { 1 } else { STEPS.len() }] {
            let looked = self
                .look(tx, wanted, filter, from.as_ref(), *step, limit - found.len())
                .await?;
            found.extend(looked.found);
            if found.len() >= limit {
                let next = found.last().cloned();
                return Ok((found, next));
            }
            if looked.end.is_none() {
                return Ok((found, None));
            }
            from = looked.end;
        }
        if !narrow {
            return Ok((found, from));
        }
        let wanted = Wanted {
            states: wanted,
            task_type: filter.task_type.as_deref(),
            assigned_to: filter.assigned_to.as_deref(),
            repo_id: filter.repo_id.as_deref(),
            ..Wanted::default()
        };
        let left = limit - found.len();
        let places = self.candidates(tx, &wanted, from.as_ref(), left).await?;
        let next = (places.len() == left).then(|| places.last().cloned()).flatten();
        found.extend(places);
        Ok((found, next))
    }

    /// Looks at the next `step` tasks, whatever they are.
    async fn look(
        &self,
        tx: &mut PgConnection,
        states: &[State],
        filter: &TaskFilter,
        from: Option<&Cursor>,
        step: i64,
        limit: usize,
    ) -> Result<Looked> {
        macro_rules! look {
            ($from:literal) => {
                concat!(
                    "WITH looked AS MATERIALIZED (
                         SELECT t.id, t.created_at, t.status, t.task_type, t.assigned_to, t.repo_id,
                                coalesce(t.wait ? 'held', false) AS held FROM tasks t ",
                    $from,
                    " ORDER BY t.created_at DESC, t.id DESC LIMIT $6),
                     last AS (SELECT created_at, id FROM looked ORDER BY created_at, id LIMIT 1)
                     SELECT false AS last, created_at::text AS at, id, 0::bigint AS seen, created_at FROM (
                         SELECT id, created_at FROM looked
                          WHERE (status = ANY ($1) OR 'held' = ANY ($1) AND status = 'waiting' AND held) AND ($2::text IS NULL OR task_type = $2)
                            AND ($3::text IS NULL OR assigned_to = $3) AND ($4::text IS NULL OR repo_id = $4)
                          ORDER BY created_at DESC, id DESC LIMIT $5) AS found
                     UNION ALL
                     SELECT true, created_at::text, id, (SELECT count(*) FROM looked), created_at FROM last
                     ORDER BY last, created_at DESC, id DESC"
                )
            };
        }
        let wanted: Vec<&str> = match states {
            [] => TaskStatus::ALL.iter().map(|status| status.as_str()).collect(),
            states => states.iter().map(|state| state.as_str()).collect(),
        };
        let query = match from {
            None => self.query(look!("")),
            Some(_) => self.query(look!("WHERE (t.created_at, t.id) < ($7::text::timestamp, $8)")),
        };
        let mut query = query
            .bind(&wanted)
            .bind(&filter.task_type)
            .bind(&filter.assigned_to)
            .bind(&filter.repo_id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(step);
        if let Some(from) = from {
            query = query.bind(&from.created_at).bind(&from.id);
        }
        let rows = query.fetch_all(tx).await.doing("list tasks")?;
        let mut looked = Looked::default();
        for row in rows {
            let place = Cursor::read(&row).doing("list tasks")?;
            if row.try_get("last").doing("list tasks")? {
                let seen: i64 = row.try_get("seen").doing("list tasks")?;
                looked.end = (seen >= step).then_some(place);
            } else {
                looked.found.push(place);
            }
        }
        Ok(looked)
    }

    /// The tasks in these places, and how many bytes they are.
    async fn listed(&self, tx: &mut PgConnection, places: &[Cursor]) -> Result<(Vec<TaskRow>, usize)> {
        let ids: Vec<&str> = places.iter().map(|place| place.id.as_str()).collect();
        let rows = self
            .query(concat!(
                "SELECT ",
                list_columns!(),
                " FROM tasks t WHERE t.id = ANY ($1)"
            ))
            .bind(&ids)
            .fetch_all(tx)
            .await
            .doing("list tasks")?;
        let bytes = rows.iter().map(bytes).sum();
        let mut tasks: HashMap<TaskId, TaskRow> = rows
            .iter()
            .map(|row| TaskRow::read(row).map(|task| (task.id.clone(), task)))
            .collect::<Result<_, _>>()
            .doing("list tasks")?;
        let tasks = ids.into_iter().filter_map(|id| tasks.remove(&TaskId::from(id)));
        Ok((tasks.collect(), bytes))
    }
}

/// As Postgres sent it.
fn bytes(row: &PgRow) -> usize {
    let size = |column: &sqlx::postgres::PgColumn| {
        let value = row.try_get_raw(column.ordinal()).ok()?;
        value.as_bytes().ok().map(<[u8]>::len)
    };
    row.columns().iter().filter_map(size).sum()
}

/// What a look came to: the tasks that fit, and its last task when there are more behind it.
#[derive(Default)]
struct Looked {
    found: Vec<Cursor>,
    end: Option<Cursor>,
}
