//! `longshore repos add|list|show`.

use domain::{Autonomy, Error, Repo};
use pipelines::FixBuildConfig;
use serde_json::{Value, json};
use store::{NewRepo, Store, TaskFilter};

use crate::cli::{RepoAdd, ReposCommand};
use crate::config::{Settings, nearest};
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
        (ReposCommand::Add(given), Some(wanted)) => add(&store, &wanted, given.slug.is_some(), out).await,
        (ReposCommand::Show { repo }, _) => show(&store, &repo, out).await,
        _ => list(&store, out).await,
    };
    store.close().await;
    outcome
}

fn new_repo(add: &RepoAdd) -> Result<NewRepo, Failure> {
    let project = add.project.trim();
    for (flag, given) in [
        ("--project", Some(&add.project)),
        ("--name", add.name.as_ref()),
        ("--slug", add.slug.as_ref()),
        ("--default-branch", Some(&add.default_branch)),
        ("--id", add.id.as_ref()),
    ] {
        let Some(given) = given else { continue };
        let fault = match given {
            blank if blank.trim().is_empty() => "is blank",
            given if given.chars().any(char::is_control) => "holds control characters",
            _ => continue,
        };
        return Err(Failure(Error::invalid(format!("{flag} {fault}")).next(
            match flag {
                "--project" => "Give the forge's number or path of the project, such as group/name",
                "--default-branch" => "Give the branch's name, such as main",
                _ => "Leave it out, or give it letters and digits",
            },
        )));
    }
    if project.contains("://") {
        return Err(Failure(
            Error::invalid("--project is an address, not a project")
                .next("Give its path there, such as group/name; --url takes the forge's address"),
        ));
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
    known_settings(&settings)?;
    if let Some(url) = &add.url {
        let fine = url::Url::parse(url).is_ok_and(|url| {
            let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
            // A user's place is where GitLab takes a token, and a question's is the next best.
            is_web && url.username().is_empty() && url.password().is_none() && url.query().is_none()
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

/// Handlers of others may read keys of their own; what is nearly one of ours was meant for it.
fn known_settings(settings: &Value) -> Result<(), Failure> {
    const FIX_BUILD: &str = "fix_build";
    const OURS: [&str; 3] = [FIX_BUILD, "environments", "time_zone"];
    for key in settings.as_object().into_iter().flat_map(|all| all.keys()) {
        if !OURS.contains(&key.as_str())
            && let Some(near) = nearest(key, OURS)
        {
            return Err(Failure(
                Error::invalid(format!("--settings-json: unknown key {key:?}"))
                    .next(format!("Did you mean {near:?}?")),
            ));
        }
    }
    if settings.get(FIX_BUILD).is_some_and(|own| !own.is_object()) {
        return Err(Failure(Error::invalid(
            "--settings-json: \"fix_build\" is not a JSON object",
        )));
    }
    deploy::environments(settings, "--settings-json")?;
    FixBuildConfig::default()
        .with_settings(settings)
        .map(|_| ())
        .map_err(|error| {
            Failure(
                Error {
                    what: "--settings-json: \"fix_build\" does not fit".to_owned(),
                    ..error
                }
                .next("config/longshore.toml explains its keys, under [fix_build]"),
            )
        })
}

/// `is_given`: the slug was chosen by a person. One that the project's name makes may be another's too; commands then ask.
async fn add(store: &Store, wanted: &NewRepo, is_given: bool, out: Output) -> Outcome {
    let slug = wanted.slug.as_deref().unwrap_or_default();
    let same = |repo: &&Repo| repo.slug.as_deref() == Some(slug);
    if is_given && let Some(other) = store.repos().await?.iter().find(same) {
        return Err(Failure(
            Error::conflict(format!("the slug {slug} is that of {} already", other.at.project))
                .next("Choose another: commands name repositories by it"),
        ));
    }
    let repo = store.add_repo(wanted).await?;
    out.answer(&repo, |_| {
        harmless(&format!("{} is known as {}.", repo.at.project, repo.id))
    })?;
    Ok(Exit::Done)
}

/// The id of the repository that is meant: its id, project, slug or name. One that is gone is still named by its tasks, so
/// what finds no row is taken for an id where tasks have it.
pub async fn id_of(store: &Store, named: Option<String>) -> Result<Option<String>, Error> {
    let Some(named) = named else { return Ok(None) };
    if let Some(repo) = store.find_repo(&named).await? {
        return Ok(Some(repo.id));
    }
    let of_it = TaskFilter {
        repo_id: Some(named.clone()),
        limit: 1,
        ..TaskFilter::default()
    };
    if store.page(&of_it, None).await?.tasks.is_empty() {
        return Err(no_such_repo(store, &named).await?);
    }
    Ok(Some(named))
}

pub async fn no_such_repo(store: &Store, named: &str) -> Result<Error, Error> {
    let repos = store.repos().await?;
    let error = Error::not_found(format!("no repository is called {named}"));
    Ok(match nearest(named, repos.iter().flat_map(names)) {
        Some(near) => error.next(format!("Did you mean {near}?")),
        None => error.next("`longshore repos list` shows those that there are"),
    })
}

fn names(repo: &Repo) -> impl Iterator<Item = &str> {
    [
        Some(repo.at.project.as_str()),
        repo.slug.as_deref(),
        Some(repo.name.as_str()),
        Some(repo.id.as_str()),
    ]
    .into_iter()
    .flatten()
    .filter(|name| !name.is_empty())
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
        return Err(Failure(no_such_repo(store, named).await?));
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
