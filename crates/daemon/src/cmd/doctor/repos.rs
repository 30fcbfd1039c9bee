//! The repositories: on a forge that has a token, with settings that handlers can read.

use domain::{Repo, RepoStatus};
use store::Store;

use super::Findings;
use crate::config::Settings;

pub async fn look(settings: &Settings, store: &Store, found: &mut Findings) {
    let repos = match store.repos().await {
        Ok(repos) => repos,
        Err(error) => {
            found.error("repos", &error, "May this user read repos?");
            return;
        }
    };
    let active: Vec<&Repo> = repos
        .iter()
        .filter(|repo| repo.status == RepoStatus::Active)
        .collect();
    if repos.is_empty() {
        found.warn(
            "repos",
            "no repository is registered, so nothing on a forge can be worked on",
            "`longshore repos add --project group/name`",
        );
        return;
    }
    let mut faulty = 0;
    for repo in &active {
        if let Some((what, next)) = fault(settings, repo) {
            faulty += 1;
            found.fail("repos", format!("{} ({}): {what}", repo.name, repo.id), next);
        }
    }
    if faulty < active.len() || active.is_empty() {
        let resting = repos.len() - active.len();
        let rest = match resting {
            0 => String::new(),
            resting => format!(", {resting} paused or archived"),
        };
        found.ok(
            "repos",
            format!("{} can be worked on{rest}", active.len() - faulty),
        );
    }
}

/// What keeps a repository from being worked on, and what to do.
fn fault(settings: &Settings, repo: &Repo) -> Option<(String, String)> {
    let add = "Correct its row in the table `repos`, or add it anew with `longshore repos add` and a name of its own";
    if repo.at.project.is_empty() {
        return Some(("it names no project".to_owned(), add.to_owned()));
    }
    if !(repo.settings.is_object() || repo.settings.is_null()) {
        return Some(("its settings are not a JSON object".to_owned(), add.to_owned()));
    }
    if let Err(error) = settings.fix_build.with_settings(&repo.settings) {
        let why = error
            .causes
            .first()
            .map_or_else(|| error.what.clone(), |cause| format!("{}: {cause}", error.what));
        return Some((why, "docs/fix-build.md lists the keys of `fix_build`".to_owned()));
    }
    let token = match repo.at.provider.as_str() {
        "github" => ("GITHUB_TOKEN", &settings.github.token),
        _ => ("GITLAB_TOKEN", &settings.gitlab.token),
    };
    match token {
        (name, None) => Some((
            format!("it is on {}, for which there is no token", repo.at.provider),
            format!("Set {name}"),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::{Autonomy, RepoRef};
    use serde_json::{Value, json};

    use super::*;

    fn repo(settings: Value) -> Repo {
        Repo {
            id: "r1".to_owned(),
            name: "checkout".to_owned(),
            slug: None,
            at: RepoRef {
                provider: "gitlab".to_owned(),
                url: String::new(),
                project: "shop/checkout".to_owned(),
            },
            default_branch: "main".to_owned(),
            autonomy_mode: Autonomy::Guided,
            settings,
            status: RepoStatus::Active,
        }
    }

    #[test]
    fn a_repository_needs_a_token_and_settings_that_can_be_read() {
        let mut settings = Settings::default();
        let what = |settings: &Settings, repo: &Repo| fault(settings, repo).map(|(what, _)| what);
        assert!(what(&settings, &repo(json!({}))).unwrap().contains("no token"));
        settings.gitlab.token = Some("glpat-0123456789".into());
        assert_eq!(what(&settings, &repo(json!({}))), None);
        assert!(
            what(&settings, &repo(json!([])))
                .unwrap()
                .contains("not a JSON object")
        );
        let wrong = repo(json!({"fix_build": {"retries": 1}}));
        assert!(what(&settings, &wrong).unwrap().contains("fix_build"));
    }
}
