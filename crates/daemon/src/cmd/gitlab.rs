//! `longshore gitlab …`: single calls to GitLab, for agents and people.

use std::io::Read;

use adapter_forge::gitlab_helper::{IssueFilter, IssueUpdate, IssueWanted, NewIssue, StateChange, Webhook};
use adapter_forge::{Forges, GitlabHelper};
use domain::{Error, ErrorKind, RepoRef};
use serde_json::Value;
use url::Url;

use crate::cli::{GitlabCommand, Project, StateEvent, StateFilter};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, Paint, cell, harmless};
use crate::wiring::{self, As};

pub async fn run(command: GitlabCommand, settings: &Settings, out: Output) -> Outcome {
    let answer = match command {
        GitlabCommand::IssueComment { issue, body, dry_run } => {
            let body = text(body)?;
            not_blank("--body", Some(&body))?;
            helper(&issue.project, settings)
                .await?
                .issue_comment(issue.iid, &body, dry_run)
                .await?
        }
        GitlabCommand::IssueUpdate {
            issue,
            add_labels,
            remove_labels,
            state,
            title,
            description,
            dry_run,
        } => {
            not_blank("--title", title.as_ref())?;
            let update = IssueUpdate {
                title,
                description,
                add_labels,
                remove_labels,
                state: state.map(|state| match state {
                    StateEvent::Close => StateChange::Close,
                    StateEvent::Reopen => StateChange::Reopen,
                }),
            };
            helper(&issue.project, settings)
                .await?
                .issue_update(issue.iid, &update, dry_run)
                .await?
        }
        GitlabCommand::IssueCreate {
            project,
            title,
            description,
            labels,
            dry_run,
        } => {
            not_blank("--title", Some(&title))?;
            let new = NewIssue {
                title,
                description,
                labels,
            };
            helper(&project, settings)
                .await?
                .issue_create(&new, dry_run)
                .await?
        }
        GitlabCommand::IssueGet { issue } => {
            helper(&issue.project, settings)
                .await?
                .issue_get(issue.iid)
                .await?
        }
        GitlabCommand::IssueList {
            project,
            state,
            labels,
            search,
            page,
            per_page,
        } => {
            let filter = IssueFilter {
                state: match state {
                    Some(StateFilter::Opened) => Some(IssueWanted::Opened),
                    Some(StateFilter::Closed) => Some(IssueWanted::Closed),
                    Some(StateFilter::All) | None => None,
                },
                labels,
                search,
                page: Some(page),
                per_page: Some(per_page),
            };
            helper(&project, settings).await?.issue_list(&filter).await?
        }
        GitlabCommand::WebhookEnsure {
            project,
            url,
            dry_run,
        } => {
            let url = webhook(&url)?;
            let secret = settings
                .gitlab
                .webhook_secret
                .as_ref()
                .map(|secret| secret.secret());
            if secret.is_none() {
                return Err(Failure(
                    Error::invalid("there is no `gitlab.webhook_secret`: what GitLab sends would be refused")
                        .next("Set LONGSHORE_GITLAB_WEBHOOK_SECRET, here and where the API is served, to the same random text, for example from `openssl rand -hex 24`"),
                ));
            }
            helper(&project, settings)
                .await?
                .webhook_ensure(&Webhook { url, secret }, dry_run)
                .await?
        }
    };
    out.answer(&answer, |out| human(&answer, *out))?;
    Ok(Exit::Done)
}

fn not_blank(flag: &str, text: Option<&String>) -> Result<(), Error> {
    match text {
        Some(text) if text.trim().is_empty() => Err(Error::invalid(format!("{flag} is blank"))),
        _ => Ok(()),
    }
}

/// An address that GitLab can call and that we answer on; a proxy may have put something before its path.
fn webhook(given: &str) -> Result<Url, Error> {
    let wrong = |what: String| {
        Error::invalid(what).next("Write it like https://longshore.example.com/webhook/gitlab")
    };
    let url = Url::parse(given).map_err(|error| {
        wrong(format!("{given:?} is not an address that GitLab could call")).because(&error)
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong(format!("{url} is not an address that GitLab could call")));
    }
    if !url.path().ends_with("/webhook/gitlab") {
        return Err(wrong(format!(
            "{url} does not lead to /webhook/gitlab, where longshore listens"
        )));
    }
    Ok(url)
}

/// The calls for a project; the database is asked only where the project is named by a repository of ours.
async fn helper(project: &Project, settings: &Settings) -> Result<GitlabHelper, Failure> {
    let at = match (
        &project.project_id,
        project.repo_id.as_ref().or(project.repo_slug.as_ref()),
    ) {
        (Some(number_or_path), _) => RepoRef {
            provider: "gitlab".to_owned(),
            url: String::new(),
            project: number_or_path.clone(),
        },
        (None, Some(named)) => {
            let store = wiring::store(settings, As::Command).await?;
            let found = store.find_repo(named).await;
            store.close().await;
            let missing = || {
                Error::not_found(format!("no repository is called {named}"))
                    .next("`longshore repos list` shows those that there are; --project-id takes GitLab's own number or path")
            };
            found?.ok_or_else(missing)?.at
        }
        (None, None) => return Err(Failure(Error::invalid("no project is named"))),
    };
    let configured = Forges::new(&wiring::forge_config(settings))?.gitlab(&at);
    // The instance that GITLAB_URL names has one token, whose variable people know.
    configured.map_err(|error| match (settings.gitlab.token.is_none(), error.kind) {
        (true, ErrorKind::Denied) => {
            Failure(error.next("Set GITLAB_TOKEN (or `gitlab.token`) to a token with the scope `api`"))
        }
        _ => Failure(error),
    })
}

fn text(given: String) -> Result<String, Error> {
    if given != "-" {
        return Ok(given);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| Error::invalid("could not read the comment from standard input").because(&error))?;
    Ok(text)
}

fn human(answer: &Value, out: Output) -> String {
    if answer["dry_run"] == Value::Bool(true) {
        let request = serde_json::to_string_pretty(&answer["request"]).unwrap_or_default();
        return harmless(&format!("Nothing was sent. This would be:\n{request}"));
    }
    match answer {
        Value::Array(issues) if issues.is_empty() => "No such issues.".to_owned(),
        Value::Array(issues) => {
            let mut table = out.table(&["IID", "STATE", "TITLE", "LABELS"], 2);
            for issue in issues {
                let labels: Vec<&str> = issue["labels"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                table.add_row([
                    issue["iid"].to_string(),
                    cell(issue["state"].as_str().unwrap_or("")),
                    cell(issue["title"].as_str().unwrap_or("")),
                    cell(&labels.join(", ")),
                ]);
            }
            out.lines(table)
        }
        issue if issue["title"].is_string() => {
            let part = |name: &str| harmless(issue[name].as_str().unwrap_or(""));
            format!(
                "{} {}\n{}\n\n{}",
                out.paint(Paint::Bold, &format!("#{} {}", issue["iid"], part("title"))),
                out.paint(Paint::Dim, &part("state")),
                part("web_url"),
                part("description")
            )
        }
        other if other["action"].is_string() => {
            format!(
                "The webhook was {}.",
                harmless(other["action"].as_str().unwrap_or(""))
            )
        }
        other if other["id"].is_u64() => format!("Written: note {}.", other["id"]),
        other => harmless(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}
