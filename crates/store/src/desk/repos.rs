use domain::{Autonomy, Error, Repo, Result};
use serde_json::Value;
use sqlx::Row;

use crate::Store;
use crate::engine::read_repo;
use crate::error::SqlResult;

/// A repository to be made known.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRepo {
    /// A new one when absent.
    pub id: Option<String>,
    pub name: String,
    pub slug: Option<String>,
    pub provider: String,
    /// The forge's or the project's web address; empty for the configured default.
    pub url: String,
    /// The forge's number or path of the project.
    pub project: String,
    pub default_branch: String,
    pub autonomy_mode: Autonomy,
    pub settings: Value,
}

impl Store {
    /// Makes a repository known. `Conflict` when its id is taken or the same project is known already.
    pub async fn add_repo(&self, repo: &NewRepo) -> Result<Repo> {
        let doing = "add the repository";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query(
                "INSERT INTO repos (id, name, slug, provider, gitlab_url, gitlab_project_id, default_branch,
                                    autonomy_mode, settings, active)
                 SELECT coalesce($1, longshore.uuid7()), $2, $3, $4, nullif($5, ''), $6, $7, $8, $9, true
                  WHERE NOT EXISTS (SELECT FROM repos WHERE provider = $4 AND gitlab_project_id = $6
                                       AND coalesce(gitlab_url, '') = $5)
                     ON CONFLICT (id) DO NOTHING RETURNING *",
            )
            .bind(repo.id.as_deref())
            .bind(&repo.name)
            .bind(repo.slug.as_deref())
            .bind(&repo.provider)
            .bind(&repo.url)
            .bind(&repo.project)
            .bind(&repo.default_branch)
            .bind(match repo.autonomy_mode {
                Autonomy::Guided => "guided",
                Autonomy::Full => "full",
            })
            .bind(&repo.settings)
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let Some(row) = row else {
            return Err(Error::conflict(format!(
                "the {} project {} is known already, or the id is taken",
                repo.provider, repo.project
            ))
            .next("`longshore repos list` shows the repositories that there are"));
        };
        read_repo(&row).doing(doing)
    }

    /// All repositories, by name.
    pub async fn repos(&self) -> Result<Vec<Repo>> {
        let doing = "list the repositories";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query("SELECT * FROM repos ORDER BY name, id")
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter()
            .map(read_repo)
            .collect::<std::result::Result<_, sqlx::Error>>()
            .doing(doing)
    }

    /// The repository with this id, else the one with this slug, project path or number, if it is the only one.
    pub async fn find_repo(&self, named: &str) -> Result<Option<Repo>> {
        let doing = "look up the repository";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                "SELECT *, id = $1 AS by_id FROM repos
                  WHERE id = $1 OR slug = $1 OR gitlab_project_id = $1 ORDER BY id = $1 DESC LIMIT 2",
            )
            .bind(named)
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        if rows.len() > 1 && !first.try_get::<bool, _>("by_id").doing(doing)? {
            return Err(
                Error::conflict(format!("more than one repository is called {named}"))
                    .next("Name it by its id; `longshore repos list` shows them"),
            );
        }
        read_repo(first).doing(doing).map(Some)
    }
}
