use domain::{Autonomy, Repo, RepoRef, RepoStatus, Result};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

impl Store {
    pub(crate) async fn repos_by_ids(&self, tx: &mut PgConnection, ids: &[String]) -> Result<Vec<Repo>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .query(
                "SELECT id, name, slug, provider, gitlab_url, gitlab_project_id, default_branch, autonomy_mode,
                        settings, status
                   FROM repos WHERE id = ANY ($1)",
            )
            .bind(ids)
            .fetch_all(tx)
            .await
            .doing("look up repositories")?;
        rows.iter()
            .map(read_repo)
            .collect::<std::result::Result<_, sqlx::Error>>()
            .doing("read a repository")
    }
}

fn read_repo(row: &PgRow) -> std::result::Result<Repo, sqlx::Error> {
    let text = |name| {
        row.try_get::<Option<String>, _>(name)
            .map(Option::unwrap_or_default)
    };
    Ok(Repo {
        id: row.try_get("id")?,
        name: text("name")?,
        slug: row.try_get("slug")?,
        at: RepoRef {
            provider: text("provider")?,
            url: text("gitlab_url")?,
            project: text("gitlab_project_id")?,
        },
        default_branch: text("default_branch")?,
        autonomy_mode: if text("autonomy_mode")? == "full" {
            Autonomy::Full
        } else {
            Autonomy::Guided
        },
        settings: crate::json::shown(row, "settings")?.unwrap_or_default(),
        status: match text("status")?.as_str() {
            "paused" => RepoStatus::Paused,
            "archived" => RepoStatus::Archived,
            _ => RepoStatus::Active,
        },
    })
}
