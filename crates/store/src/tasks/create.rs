use domain::{Error, NewTask, Result, TaskId};
use sqlx::{PgConnection, Row};

use super::payload::{check_payload, too_large};
use crate::Store;
use crate::error::{SqlResult, constraint, describe};

/// How often a dedupe key is looked up anew while others make and end tasks with it.
pub(crate) const LOOKS: usize = 20;
/// Longest dedupe key, in characters.
pub const MAX_DEDUPE_KEY: usize = 200;
/// The table's own limit on a payload.
pub(super) const PAYLOAD_RULE: &str = "tasks_payload_at_most_1_mib";

/// What became of a wish for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub id: TaskId,
    /// An unfinished task with the same dedupe key was there already, and this is it.
    pub exists: bool,
    pub repo_id: Option<String>,
    pub assigned_to: Option<String>,
}

impl Store {
    /// [`Store::make_task`] for those to whom it is all one whether the task was there before.
    pub async fn create_task(&self, task: &NewTask) -> Result<TaskId> {
        Ok(self.make_task(task).await?.id)
    }

    /// Checks and stores a task; answers with the unfinished one of the same dedupe key where there is one. An
    /// `Invalid` error names the field and what would be right.
    pub async fn make_task(&self, task: &NewTask) -> Result<Made> {
        let mut tx = self.pool().begin().await.doing("create the task")?;
        let made = self.insert_task(&mut tx, task).await?;
        tx.commit().await.doing("create the task")?;
        Ok(made)
    }

    /// The same, inside a transaction of the caller's.
    pub(crate) async fn insert_task(&self, tx: &mut PgConnection, task: &NewTask) -> Result<Made> {
        check_words(task)?;
        check_payload(&task.payload)?;
        for _ in 0..LOOKS {
            if let Some(key) = &task.dedupe_key
                && let Some(made) = self
                    .unfinished_of(tx, key)
                    .await
                    .doing("look for a task with the same dedupe key")?
            {
                return Ok(made);
            }
            self.check_references(tx, task).await?;
            if let Some(id) = self.try_insert(tx, task).await? {
                return Ok(Made {
                    id,
                    exists: false,
                    repo_id: task.repo_id.clone(),
                    assigned_to: task.assigned_to.clone(),
                });
            }
            // Somebody else's with that key came first; by now it may have ended, too.
        }
        Err(
            Error::unavailable("could not create the task: others with the same `dedupe_key` come and go")
                .next("Try again"),
        )
    }

    /// What a new task must be, without making it.
    pub(crate) async fn check_task(&self, tx: &mut PgConnection, task: &NewTask) -> Result<()> {
        check_words(task)?;
        check_payload(&task.payload)?;
        self.check_references(tx, task).await
    }

    /// The unfinished task of a dedupe key.
    pub(crate) async fn unfinished_of(
        &self,
        tx: &mut PgConnection,
        key: &str,
    ) -> Result<Option<Made>, sqlx::Error> {
        let row = self
            .query(
                "SELECT id, repo_id, assigned_to FROM tasks
                  WHERE open_key = $1",
            )
            .bind(key)
            .fetch_optional(tx)
            .await?;
        row.map(|row| {
            Ok(Made {
                id: TaskId::from(row.try_get::<String, _>("id")?),
                exists: true,
                repo_id: row.try_get("repo_id")?,
                assigned_to: row.try_get("assigned_to")?,
            })
        })
        .transpose()
    }

    /// Nothing when an unfinished task has the same dedupe key; of two at once the second waits for the first here.
    async fn try_insert(&self, tx: &mut PgConnection, task: &NewTask) -> Result<Option<TaskId>> {
        let id = TaskId::generate();
        let inserted = self.query(
            "INSERT INTO tasks (id, repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id, dedupe_key, run_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::timestamptz AT TIME ZONE 'UTC', longshore.utc_now()))
             ON CONFLICT (open_key) WHERE open_key IS NOT NULL DO NOTHING",
        )
        .bind(id.as_str())
        .bind(&task.repo_id)
        .bind(&task.task_type)
        .bind(i32::from(task.priority.get()))
        .bind(&task.payload)
        .bind(&task.assigned_to)
        .bind(&task.created_by)
        .bind(task.parent.as_ref().map(TaskId::as_str))
        .bind(&task.dedupe_key)
        .bind(task.run_at)
        .execute(tx)
        .await
        .map_err(|error| refused(&error, "create the task"))?;
        Ok((inserted.rows_affected() > 0).then_some(id))
    }

    async fn check_references(&self, tx: &mut PgConnection, task: &NewTask) -> Result<()> {
        let repo = task.repo_id.as_deref();
        let parent = task.parent.as_ref().map(TaskId::as_str);
        if repo.is_none() && parent.is_none() {
            return Ok(());
        }
        let row = self
            .query(
                "WITH RECURSIVE line AS (
                     SELECT t.id, t.parent_task_id FROM tasks t WHERE t.id = $2
                     UNION ALL
                     SELECT t.id, t.parent_task_id FROM line JOIN tasks t ON t.id = line.parent_task_id
                 ) CYCLE id SET looped USING path
                 SELECT EXISTS (SELECT FROM repos WHERE id = $1) AS repo, EXISTS (SELECT FROM line) AS parent,
                        (SELECT array_to_string(path, ' -> ') FROM line WHERE looped LIMIT 1) AS cycle",
            )
            .bind(repo)
            .bind(parent)
            .fetch_one(tx)
            .await
            .doing("check what the task names")?;
        let read = "check what the task names";
        if let (Some(repo), false) = (repo, row.try_get("repo").doing(read)?) {
            return Err(no_such_repo(repo));
        }
        if let (Some(parent), false) = (parent, row.try_get("parent").doing(read)?) {
            return Err(no_such_parent(parent));
        }
        if let Some(cycle) = row.try_get::<Option<String>, _>("cycle").doing(read)? {
            return Err(cycle_of_parents(&cycle));
        }
        Ok(())
    }
}

/// Why the table did not take a row.
pub(super) fn refused(error: &sqlx::Error, doing: &str) -> Error {
    match constraint(error) {
        Some(PAYLOAD_RULE) => too_large(None),
        Some(rule) => describe(error, &format!("{doing}: the table's rule {rule} refuses it")),
        None => describe(error, doing),
    }
}

pub(super) fn no_such_repo(id: &str) -> Error {
    Error::invalid(format!("`repo_id` is {id:?}, and no repository has that id"))
        .next("`longshore repos list` shows those that there are, `longshore repos add` adds one")
}

pub(super) fn no_such_parent(id: &str) -> Error {
    Error::invalid(format!("`parent_task_id` is {id:?}, and there is no such task"))
        .next("Name the id of a task that exists, or leave the field out")
}

pub(super) fn cycle_of_parents(way: &str) -> Error {
    Error::invalid(format!("`parent_task_id` leads into a cycle of parents: {way}"))
        .next("Mend the parents of those tasks, or name another one")
}

/// A field of a new task that cannot be taken.
pub(super) struct WrongWord {
    pub(super) field: &'static str,
    pub(super) error: Error,
}

impl From<WrongWord> for Error {
    fn from(wrong: WrongWord) -> Self {
        wrong.error
    }
}

pub(super) fn check_words(task: &NewTask) -> Result<(), WrongWord> {
    let wrong = |field, what: String, next: &str| {
        Err(WrongWord {
            field,
            error: Error::invalid(what).next(next),
        })
    };
    if task.task_type.trim().is_empty() {
        let next = "Name a task type, such as fix_build or deploy";
        return wrong("type", "`type` is missing or blank".to_owned(), next);
    }
    for (field, value) in [
        ("type", Some(task.task_type.as_str())),
        ("to", task.assigned_to.as_deref()),
        ("created_by", task.created_by.as_deref()),
        ("repo_id", task.repo_id.as_deref()),
        ("dedupe_key", task.dedupe_key.as_deref()),
        ("parent_task_id", task.parent.as_ref().map(TaskId::as_str)),
    ] {
        if value.is_some_and(|value| value.contains('\0')) {
            let what = format!("`{field}` holds a NUL character, which Postgres cannot store");
            return wrong(field, what, "Remove it");
        }
    }
    if let Some(key) = task.dedupe_key.as_deref() {
        if key.trim().is_empty() {
            let next = "Leave the field out where there is none";
            return wrong("dedupe_key", "`dedupe_key` is blank".to_owned(), next);
        }
        let length = key.chars().count();
        if length > MAX_DEDUPE_KEY {
            let what = format!("`dedupe_key` has {length} characters; at most {MAX_DEDUPE_KEY} are kept");
            return wrong("dedupe_key", what, "Send a digest of what it stands for");
        }
    }
    if task
        .assigned_to
        .as_ref()
        .is_some_and(|agent| agent.trim().is_empty())
    {
        let next = "Name an agent, such as devops, or leave the field out";
        return wrong("to", "`to` is blank".to_owned(), next);
    }
    Ok(())
}
