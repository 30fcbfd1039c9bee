//! `longshore repos add|list|show`.

use domain::{Autonomy, Error, Repo};
use serde_json::{Value, json};
use store::{NewRepo, Store};

use crate::cli::{RepoAdd, ReposCommand};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, cell, harmless};
use crate::wiring::{self, As};

pub async fn run(command: ReposCommand, settings: &Settings, out: Output) -> Outcome {
    let wanted = match &command {
        ReposCommand::Add(add) => Some(new_repo(add)?),
        _ => None,
    };
    let store = wiring::store(settings, As::Command).await?;
    let outcome = match (command, wanted) {
        (ReposCommand::Add(_), Some(wanted)) => add(&store, &wanted, out).await,
        (ReposCommand::Show { repo }, _) => show(&store, &repo, out).await,
        _ => list(&store, out).await,
    };
    store.close().await;
    outcome
}

fn new_repo(add: &RepoAdd) -> Result<NewRepo, Failure> {
    let project = add.project.trim();
    if project.is_empty() {
        return Err(Failure(Error::invalid("--project is blank").next(
            "Give the forge's number or path of the project, such as group/name",
        )));
    }
    let last = project.rsplit('/').next().unwrap_or(project).to_owned();
    let settings = match add.settings_json.as_deref() {
        None => json!({}),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(settings)) => Value::Object(settings),
            Ok(_) => return Err(Failure(Error::invalid("--settings-json is not a JSON object"))),
            Err(error) => {
                return Err(Failure(
                    Error::invalid("--settings-json is not JSON").because(&error),
                ));
            }
        },
    };
    if let Some(url) = &add.url {
        let fine = url::Url::parse(url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.password().is_none()
        });
        if !fine {
            return Err(Failure(
                Error::invalid("--url is not a web address without credentials")
                    .next("Write it like https://gitlab.example.com"),
            ));
        }
    }
    Ok(NewRepo {
        id: add.id.clone(),
        name: add.name.clone().unwrap_or_else(|| last.clone()),
        slug: Some(add.slug.clone().unwrap_or(last)),
        provider: add.provider.as_str().to_owned(),
        url: add.url.clone().unwrap_or_default(),
        project: project.to_owned(),
        default_branch: add.default_branch.clone(),
        autonomy_mode: if add.full_autonomy {
            Autonomy::Full
        } else {
            Autonomy::Guided
        },
        settings,
    })
}

async fn add(store: &Store, wanted: &NewRepo, out: Output) -> Outcome {
    let repo = store.add_repo(wanted).await?;
    out.answer(&repo, |_| {
        harmless(&format!("{} is known as {}.", repo.at.project, repo.id))
    })?;
    Ok(Exit::Done)
}

async fn list(store: &Store, out: Output) -> Outcome {
    let repos = store.repos().await?;
    out.answer(&json!({ "repos": repos }), |out| {
        if repos.is_empty() {
            return "No repositories yet. `longshore repos add --project group/name` adds one.".to_owned();
        }
        let mut table = out.table(&["ID", "NAME", "FORGE", "PROJECT", "STATE"], 1);
        for repo in &repos {
            table.add_row([
                cell(&repo.id),
                cell(&repo.name),
                cell(&format!("{} {}", repo.at.provider, repo.at.url)),
                cell(&repo.at.project),
                repo.status.to_string(),
            ]);
        }
        out.lines(table)
    })?;
    Ok(Exit::Done)
}

async fn show(store: &Store, named: &str, out: Output) -> Outcome {
    let Some(repo) = store.find_repo(named).await? else {
        return Err(Failure(
            Error::not_found(format!("no repository is called {named}"))
                .next("`longshore repos list` shows those that there are"),
        ));
    };
    out.answer(&repo, |_| text(&repo))?;
    Ok(Exit::Done)
}

fn text(repo: &Repo) -> String {
    let at = if repo.at.url.is_empty() {
        "as configured"
    } else {
        &repo.at.url
    };
    let mut settings = repo.settings.clone();
    domain::redact_json(&mut settings);
    let settings = serde_json::to_string_pretty(&settings).unwrap_or_default();
    harmless(&format!(
        "{}\n{:<16} {}\n{:<16} {}\n{:<16} {} ({at})\n{:<16} {}\n{:<16} {}\n{:<16} {}\n{:<16} {settings}",
        repo.name,
        "Id:",
        repo.id,
        "Slug:",
        repo.slug.as_deref().unwrap_or("none"),
        "Project:",
        repo.at.project,
        "Default branch:",
        repo.default_branch,
        "Autonomy:",
        autonomy(repo.autonomy_mode),
        "State:",
        repo.status,
        "Settings:",
    ))
}

/// As it is written in the table.
fn autonomy(mode: Autonomy) -> String {
    match serde_json::to_value(mode) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
