//! The public table `repos`, for those who add and look up repositories.

use async_trait::async_trait;
use domain::{Autonomy, Error, Repo, RepoStatus, Result};
use serde_json::Value;
use sqlx::{Postgres, Row, Transaction};

use crate::Store;
use crate::error::{SqlResult, describe, sqlstate};

/// A repository to be added, or changed where its id or its project is known already.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRepo {
    /// Chosen by the table when absent.
    pub id: Option<String>,
    pub name: String,
    pub slug: Option<String>,
    /// `gitlab` or `github`.
    pub provider: String,
    /// The forge's address; empty for the configured one.
    pub url: String,
    /// A number or a path like `group/name`.
    pub project: String,
    pub default_branch: String,
    pub autonomy_mode: Autonomy,
    pub settings: Value,
}

impl Store {
    /// Adds a repository. `Conflict` if its id is taken, or its project at that address is known already.
    pub async fn add_repo(&self, repo: &NewRepo) -> Result<Repo> {
        let doing = "add the repository";
        if !repo.settings.is_object() {
            return Err(Error::invalid("the repository's settings are not a JSON object"));
        }
        let mut tx = self.pool().begin().await.doing(doing)?;
        // Two who add the same project at once: the second sees the first.
        self.query("SELECT pg_advisory_xact_lock(hashtext('longshore repos'))")
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        let known: Option<String> = self
            .query(
                "SELECT id FROM repos
                  WHERE provider = $1 AND gitlab_project_id = $2 AND coalesce(gitlab_url, '') = $3 LIMIT 1",
            )
            .bind(&repo.provider)
            .bind(&repo.project)
            .bind(&repo.url)
            .fetch_optional(&mut *tx)
            .await
            .and_then(|row| row.map(|row| row.try_get("id")).transpose())
            .doing(doing)?;
        if let Some(id) = known {
            return Err(
                Error::conflict(format!("the project {} is known already, as {id}", repo.project))
                    .next(format!("`longshore repos show {id}` shows it")),
            );
        }
        let row = self
            .query(
                "INSERT INTO repos (id, name, slug, provider, gitlab_url, gitlab_project_id, default_branch, autonomy_mode, settings)
                 VALUES (coalesce($1, longshore.uuid7()), $2, $3, $4, nullif($5, ''), $6, $7, $8, $9) RETURNING id",
            )
            .bind(&repo.id)
            .bind(&repo.name)
            .bind(&repo.slug)
            .bind(&repo.provider)
            .bind(&repo.url)
            .bind(&repo.project)
            .bind(&repo.default_branch)
            .bind(autonomy(repo.autonomy_mode))
            .bind(&repo.settings)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| match sqlstate(&error).as_deref() {
                Some("23505") => Error::conflict(format!(
                    "the id {} is taken",
                    repo.id.as_deref().unwrap_or_default()
                ))
                .next("Choose another, or leave it out"),
                _ => describe(&error, doing),
            })?;
        let id: String = row.try_get("id").doing(doing)?;
        let added = self.repos_by_ids(&mut tx, &[id]).await?;
        tx.commit().await.doing(doing)?;
        added
            .into_iter()
            .next()
            .ok_or_else(|| Error::internal("the repository that was added is gone"))
    }

    /// All repositories, by name.
    pub async fn repos(&self) -> Result<Vec<Repo>> {
        let doing = "list repositories";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let ids = self
            .ids(&mut tx, "SELECT id FROM repos WHERE $1::text IS NOT NULL", "")
            .await?;
        let mut repos = self.repos_by_ids(&mut tx, &ids).await?;
        tx.commit().await.doing(doing)?;
        repos.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(repos)
    }

    /// The repository of this id, or else of this slug, project or name; `Conflict` when several are called so.
    pub async fn find_repo(&self, named: &str) -> Result<Option<Repo>> {
        let doing = "look up a repository";
        let mut tx = self.pool().begin().await.doing(doing)?;
        for by in [
            "SELECT id FROM repos WHERE id = $1",
            "SELECT id FROM repos WHERE gitlab_project_id = $1",
            "SELECT id FROM repos WHERE slug = $1",
            "SELECT id FROM repos WHERE name = $1",
        ] {
            let ids = self.ids(&mut tx, by, named).await?;
            if ids.len() > 1 {
                return Err(
                    Error::conflict(format!("{named} may be any of {}", ids.join(", ")))
                        .next("Name one by its id"),
                );
            }
            if !ids.is_empty() {
                let found = self.repos_by_ids(&mut tx, &ids).await?;
                tx.commit().await.doing(doing)?;
                return Ok(found.into_iter().next());
            }
        }
        tx.commit().await.doing(doing)?;
        Ok(None)
    }

    /// The repositories of a provider that are registered under one of these projects (number or path). GitHub's paths
    /// are the same in any case.
    pub async fn repos_of_project(&self, provider: &str, projects: &[String]) -> Result<Vec<Repo>> {
        let doing = "look up a project's repositories";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let ids: Vec<String> = self
            .query(
                "SELECT id FROM repos
                  WHERE provider = $1
                    AND (gitlab_project_id = ANY ($2)
                         OR provider = 'github' AND lower(gitlab_project_id) = ANY (SELECT lower(p) FROM unnest($2) AS p))
                  ORDER BY id",
            )
            .bind(provider)
            .bind(projects)
            .fetch_all(&mut *tx)
            .await
            .and_then(|rows| rows.iter().map(|row| row.try_get("id")).collect())
            .doing(doing)?;
        let repos = self.repos_by_ids(&mut tx, &ids).await?;
        tx.commit().await.doing(doing)?;
        Ok(repos)
    }

    /// Pauses, archives or reactivates a repository; what that means for its tasks holds from the answer on, as of a rule.
    pub async fn set_repo_status(&self, id: &str, status: RepoStatus) -> Result<()> {
        let doing = "change the repository's status";
        let mut tx = self.pool().begin().await.doing(doing)?;
        // As by a rule, before the claims are kept out: they need not wait for whoever has that row.
        self.query("SELECT FROM repos WHERE id = $1 FOR UPDATE")
            .bind(id)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.keep_claims_out(&mut tx).await?;
        self.change_repo(
            tx,
            "UPDATE repos SET status = $2, updated_at = longshore.utc_now() WHERE id = $1",
            id,
            status.as_str(),
            doing,
        )
        .await
    }

    /// Replaces a repository's settings.
    pub async fn set_repo_settings(&self, id: &str, settings: &Value) -> Result<()> {
        let doing = "change the repository's settings";
        if !settings.is_object() {
            return Err(Error::invalid("the repository's settings are not a JSON object"));
        }
        let tx = self.pool().begin().await.doing(doing)?;
        self.change_repo(
            tx,
            "UPDATE repos SET settings = $2::jsonb, updated_at = longshore.utc_now() WHERE id = $1",
            id,
            &settings.to_string(),
            doing,
        )
        .await
    }

    async fn change_repo(
        &self,
        mut tx: Transaction<'_, Postgres>,
        sql: &'static str,
        id: &str,
        value: &str,
        doing: &str,
    ) -> Result<()> {
        let changed = self
            .query(sql)
            .bind(id)
            .bind(value)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        if changed.rows_affected() == 0 {
            return Err(Error::not_found(format!("no repository has the id {id}"))
                .next("`longshore repos list` shows those that there are"));
        }
        Ok(())
    }

    async fn ids(&self, tx: &mut sqlx::PgConnection, sql: &'static str, named: &str) -> Result<Vec<String>> {
        let rows = self
            .query(sql)
            .bind(named)
            .fetch_all(tx)
            .await
            .doing("look up a repository")?;
        rows.iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, sqlx::Error>>()
            .doing("look up a repository")
    }
}

fn autonomy(mode: Autonomy) -> &'static str {
    match mode {
        Autonomy::Guided => "guided",
        Autonomy::Full => "full",
    }
}

#[async_trait]
impl ports::Repos for Store {
    async fn find(&self, named: &str) -> Result<Option<Repo>> {
        self.find_repo(named).await
    }
}
