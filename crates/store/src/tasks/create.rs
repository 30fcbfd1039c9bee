use domain::{Error, NewTask, Result, TaskId};
use sqlx::{PgConnection, Row};

use super::payload::{check_payload, too_large};
use crate::Store;
use crate::error::{SqlResult, constraint, describe};

impl Store {
    /// Checks and stores a task. An `Invalid` error names the field and what would be right.
    pub async fn create_task(&self, task: &NewTask) -> Result<TaskId> {
        let mut tx = self.pool().begin().await.doing("create the task")?;
        let id = self.insert_task(&mut tx, task).await?;
        tx.commit().await.doing("create the task")?;
        Ok(id)
    }

    /// The same, inside a transaction of the caller's.
    pub(crate) async fn insert_task(&self, tx: &mut PgConnection, task: &NewTask) -> Result<TaskId> {
        check_words(task)?;
        check_payload(&task.payload)?;
        self.check_references(tx, task).await?;
        let id = TaskId::generate();
        self.query(
            "INSERT INTO tasks (id, repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id.as_str())
        .bind(&task.repo_id)
        .bind(&task.task_type)
        .bind(i32::from(task.priority.get()))
        .bind(&task.payload)
        .bind(&task.assigned_to)
        .bind(&task.created_by)
        .bind(task.parent.as_ref().map(TaskId::as_str))
        .execute(tx)
        .await
        .map_err(|error| match constraint(&error) {
            // Postgres counts its own spelling of the JSON, which has spaces that ours has not.
            Some("tasks_payload_at_most_1_mib") => too_large(None),
            Some(rule) => describe(&error, &format!("create the task: the table's rule {rule} refuses it")),
            None => describe(&error, "create the task"),
        })?;
        Ok(id)
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
            return Err(
                Error::invalid(format!("`repo_id` is {repo:?}, and no repository has that id")).next(
                    "`longshore repos list` shows those that there are, `longshore repos add` adds one",
                ),
            );
        }
        if let (Some(parent), false) = (parent, row.try_get("parent").doing(read)?) {
            return Err(Error::invalid(format!(
                "`parent_task_id` is {parent:?}, and there is no such task"
            ))
            .next("Name the id of a task that exists, or leave the field out"));
        }
        if let Some(cycle) = row.try_get::<Option<String>, _>("cycle").doing(read)? {
            return Err(
                Error::invalid(format!("`parent_task_id` leads into a cycle of parents: {cycle}"))
                    .next("Mend the parents of those tasks, or name another one"),
            );
        }
        Ok(())
    }
}

fn check_words(task: &NewTask) -> Result<()> {
    if task.task_type.trim().is_empty() {
        return Err(Error::invalid("`type` is missing or blank")
            .next("Name a task type, such as fix_build or deploy"));
    }
    for (field, value) in [
        ("type", Some(&task.task_type)),
        ("to", task.assigned_to.as_ref()),
        ("created_by", task.created_by.as_ref()),
        ("repo_id", task.repo_id.as_ref()),
    ] {
        if value.is_some_and(|value| value.contains('\0')) {
            return Err(Error::invalid(format!(
                "`{field}` holds a NUL character, which Postgres cannot store"
            ))
            .next("Remove it"));
        }
    }
    if task.parent.as_ref().is_some_and(|id| id.as_str().contains('\0')) {
        return Err(Error::invalid("`parent_task_id` holds a NUL character")
            .next("Name the id of a task that exists"));
    }
    if task
        .assigned_to
        .as_ref()
        .is_some_and(|agent| agent.trim().is_empty())
    {
        return Err(
            Error::invalid("`to` is blank").next("Name an agent, such as devops, or leave the field out")
        );
    }
    Ok(())
}
