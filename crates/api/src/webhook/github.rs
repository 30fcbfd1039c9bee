//! GitHub's `workflow_run` (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_run>) read into a
//! task.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use domain::{Error, NewTask, Priority};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Delivery, Received};
use url::form_urlencoded;

use super::gitlab::{Delivered, DeliveredAs, Project, Wanted, authority, registered};
use super::signature::Signature;
use crate::error::{ApiError, ApiResult};
use crate::routes::WEBHOOK_BYTES;
use crate::server::Api;
use crate::tasks::whole;
use crate::token;

/// How a run ends that did not do what it should. One that was cancelled or skipped did as somebody wished.
const FAILED: [&str; 3] = ["failure", "timed_out", "startup_failure"];
/// Longest `X-GitHub-Delivery` that is kept as it is; GitHub's are UUIDs.
const DELIVERY_CHARS: usize = 100;

/// Reads an event. A `workflow_run` without what makes it one is an error that names the field.
pub fn wanted(event: &str, body: &Value, agent: &str) -> ApiResult<Wanted> {
    if event == "ping" {
        return Ok(Wanted::Nothing("the webhook is set up".to_owned()));
    }
    if event != "workflow_run" {
        return Ok(Wanted::Nothing(format!(
            "the event {event} asks nothing of longshore yet"
        )));
    }
    let action = text(body, "action")?;
    if action != "completed" {
        return Ok(Wanted::Nothing(format!(
            "the run is {action}; only completed ones are looked at"
        )));
    }
    let conclusion = text(body, "workflow_run.conclusion")?;
    if !FAILED.contains(&conclusion) {
        return Ok(Wanted::Nothing(format!(
            "the run's conclusion is {conclusion}; only {} are worked on",
            FAILED.join(", ")
        )));
    }
    let run = number(body, "workflow_run.id")?;
    let repository = number(body, "repository.id")?;
    let path = text(body, "repository.full_name")?;
    let web = optional(body, "repository.html_url")?;
    let url = match (optional(body, "workflow_run.html_url")?, web) {
        (None, Some(web)) => Some(format!("{web}/actions/runs/{run}")),
        (url, _) => url.map(str::to_owned),
    };
    // Old servers count no attempts.
    let attempt = match find(body, "workflow_run.run_attempt") {
        Value::Null => 1,
        _ => number(body, "workflow_run.run_attempt")?,
    };
    // As GitLab's, so that whoever reads `fix_build` tasks need not know which forge sent one.
    let mut payload = json!({
        "project": {
            "id": repository,
            "path_with_namespace": path,
            "web_url": web,
            "default_branch": optional(body, "repository.default_branch")?,
        },
        "pipeline": {
            "id": run,
            "status": "failed",
            "conclusion": conclusion,
            "attempt": attempt,
            "name": optional(body, "workflow_run.name")?,
            "ref": optional(body, "workflow_run.head_branch")?,
            "sha": optional(body, "workflow_run.head_sha")?,
            "url": url,
        },
    });
    if let Some(number) = pull_request(body, repository) {
        payload["merge_request"] = json!({ "iid": number });
    }
    let mut task = NewTask::new("fix_build", payload)
        .assigned_to(agent)
        .priority(Priority::DEFAULT);
    task.created_by = Some("github-webhook".to_owned());
    Ok(Wanted::Task {
        task: Box::new(task),
        project: Project {
            id: repository.to_string(),
            path: Some(path.to_owned()),
            host: web.and_then(authority),
        },
    })
}

/// The pull request that the run is of. GitHub lists all that have the branch, which a push's run is none of, and those
/// of other repositories as well.
fn pull_request(body: &Value, repository: u64) -> Option<u64> {
    let run = &body["workflow_run"];
    if !matches!(
        run["event"].as_str(),
        Some("pull_request" | "pull_request_target")
    ) {
        return None;
    }
    let listed = run["pull_requests"].as_array()?.iter();
    let mut own = listed.filter(|pull| pull["base"]["repo"]["id"].as_u64() == Some(repository));
    match (own.next(), own.next()) {
        (Some(pull), None) => pull["number"].as_u64(),
        _ => None,
    }
}

/// The name under which an event is stored. A failed run is told apart by what happened, so that GitHub's own redelivery
/// and a second webhook, the organisation's, are one; run again it may fail again, which is another.
fn dedupe_key(wanted: &Wanted, event: &str, delivery: Option<&str>, body: &Value) -> String {
    match (wanted, delivery) {
        (Wanted::Task { task, project }, _) => {
            let pipeline = &task.payload["pipeline"];
            // Two servers number their repositories and runs alike.
            let host = project.host.as_deref().unwrap_or_default();
            format!(
                "run:{host}:{}:{}:{}",
                project.id, pipeline["id"], pipeline["attempt"]
            )
        }
        (_, Some(delivery)) if delivery.len() <= DELIVERY_CHARS => format!("delivery:{delivery}"),
        _ => format!("body:{}", token::hex(&Sha256::digest(format!("{event}\n{body}")))),
    }
}

fn find<'a>(body: &'a Value, path: &str) -> &'a Value {
    body.pointer(&format!("/{}", path.replace('.', "/")))
        .unwrap_or(&Value::Null)
}

fn number(body: &Value, path: &str) -> ApiResult<u64> {
    find(body, path)
        .as_u64()
        .ok_or_else(|| missing(path, "a whole number"))
}

fn text<'a>(body: &'a Value, path: &str) -> ApiResult<&'a str> {
    optional(body, path)?.ok_or_else(|| missing(path, "text"))
}

fn optional<'a>(body: &'a Value, path: &str) -> ApiResult<Option<&'a str>> {
    match find(body, path) {
        Value::Null => Ok(None),
        Value::String(text) if text.contains('\0') => Err(ApiError::field(
            path,
            format!("`{path}` holds a NUL character (\\u0000), which Postgres cannot store"),
        )),
        Value::String(text) => Ok(Some(text)),
        _ => Err(missing(path, "text")),
    }
}

fn missing(path: &str, what: &str) -> ApiError {
    ApiError::field(
        path,
        format!("`{path}` is not {what}, so this is no workflow_run as GitHub sends it"),
    )
}

/// Take an event from GitHub
///
/// The body is stored before the 2xx; the task that it asks for is made in the same transaction, so that a delivery that
/// was acknowledged is never lost and one that is sent again makes nothing twice.
#[utoipa::path(post, path = "/webhook/github", tag = "webhooks",
    params(
        ("X-GitHub-Event" = String, Header, description = "The event's name, such as `workflow_run`"),
        ("X-Hub-Signature-256" = String, Header, description = "`sha256=` and the HMAC-SHA256 of the body with `github.webhook_secret`, in hexadecimal digits"),
        ("X-GitHub-Delivery" = Option<String>, Header, description = "The same for each delivery of one event"),
    ),
    request_body(description = "The event as GitHub sends it, at most 25 MB: as JSON, or as a form whose field `payload` holds it",
        content((Value = "application/json"), (String = "application/x-www-form-urlencoded"))),
    responses(
        (status = 201, description = "A task was made", body = Delivered),
        (status = 200, description = "Known already, or nothing to do", body = Delivered),
    ))]
pub async fn receive(State(api): State<Api>, request: Request) -> ApiResult<(StatusCode, Json<Delivered>)> {
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(secret) = api.config.github_webhook_secret.clone() else {
        return Err(
            ApiError::from(domain::Error::denied("webhooks from GitHub are not taken here"))
                .next("The operator sets `github.webhook_secret` to the secret of GitHub's webhook"),
        );
    };
    let signature = Signature::sent(header("x-hub-signature-256"))?;
    let body = whole(Bytes::from_request(request, &api).await, WEBHOOK_BYTES)?;
    let form = is_form(&headers);
    // Megabytes would keep other calls waiting.
    let read = tokio::task::spawn_blocking(move || {
        signature.check(&body, &secret)?;
        read(&body, form)
    });
    let body = read
        .await
        .map_err(|error| Error::internal("the body could not be read").because(&error))??;
    let Some(event) = header("x-github-event") else {
        return Err(ApiError::unreadable(
            "the header X-GitHub-Event is missing, which names the event",
        ));
    };
    let mut wanted = wanted(event, &body, &api.config.agent)?;
    let key = dedupe_key(&wanted, event, header("x-github-delivery"), &body);
    let (task, why_not, hint) = match &mut wanted {
        Wanted::Nothing(reason) => (None, Some(std::mem::take(reason)), None),
        Wanted::Task { task, project } => {
            store::check_payload(&task.payload)?;
            let (repo_id, hint) = repo(&api, project).await?;
            task.repo_id = repo_id;
            (Some(&**task), None, hint)
        }
    };
    let delivery = Delivery {
        source: "github",
        key: &key,
        event,
        body: &body,
    };
    let (code, status, task_id) = match (api.store.receive(&delivery, task).await?, &why_not) {
        (_, Some(_)) => (StatusCode::OK, DeliveredAs::Ignored, None),
        (Received::New(id), None) => (StatusCode::CREATED, DeliveredAs::Created, id),
        (Received::Known(id), None) => (StatusCode::OK, DeliveredAs::Known, id),
    };
    tracing::info!(webhook.source = "github", webhook.event = event, webhook.answer = ?status, "a webhook was stored");
    Ok((
        code,
        Json(Delivered {
            status,
            task_id,
            reason: why_not,
            next: hint,
        }),
    ))
}

/// What GitHub's form for a new webhook proposes.
fn is_form(headers: &HeaderMap) -> bool {
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn read(body: &[u8], form: bool) -> ApiResult<Value> {
    let parsed = if form {
        let mut fields = form_urlencoded::parse(body);
        let Some((_, payload)) = fields.find(|(name, _)| name == "payload") else {
            return Err(ApiError::unreadable("the form has no field `payload`")
                .next("Choose the content type application/json for the webhook in GitHub"));
        };
        serde_json::from_str(&payload)
    } else {
        serde_json::from_slice(body)
    };
    parsed.map_err(|error| ApiError::unreadable(format!("the body is not JSON that can be read: {error}")))
}

/// The repository, or what to do where it cannot be told. Whoever names the API's address means its instance.
async fn repo(api: &Api, project: &Project) -> ApiResult<(Option<String>, Option<String>)> {
    let names: Vec<String> = project.path.iter().cloned().collect();
    let mut known = api.store.repos_of_project("github", &names).await?;
    for repo in &mut known {
        if authority(&repo.at.url).as_deref() == Some("api.github.com:443") {
            repo.at.url = "https://github.com".to_owned();
        }
    }
    Ok(
        match registered(known, project, "longshore repos add --provider github") {
            Ok(id) => (Some(id), None),
            Err(hint) => (None, Some(hint)),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Value {
        json!({
            "action": "completed",
            "workflow_run": {
                "id": 30433642, "name": "Build", "head_branch": "fix", "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d",
                "run_attempt": 1, "event": "pull_request", "status": "completed", "conclusion": "failure",
                "html_url": "https://github.com/octo-org/octo-repo/actions/runs/30433642",
                "pull_requests": [
                    {"number": 2, "base": {"ref": "main", "repo": {"id": 1296269}}},
                    {"number": 7, "base": {"ref": "main", "repo": {"id": 9}}}
                ]
            },
            "repository": {
                "id": 1296269, "full_name": "octo-org/octo-repo", "html_url": "https://github.com/octo-org/octo-repo",
                "default_branch": "main"
            }
        })
    }

    fn task(body: &Value) -> (NewTask, Project) {
        match wanted("workflow_run", body, "devops").unwrap() {
            Wanted::Task { task, project } => (*task, project),
            Wanted::Nothing(why) => panic!("no task: {why}"),
        }
    }

    fn key(body: &Value, delivery: &str) -> String {
        let wanted = wanted("workflow_run", body, "devops").unwrap();
        dedupe_key(&wanted, "workflow_run", Some(delivery), body)
    }

    #[test]
    fn a_failed_run_is_a_fix_build_task_that_looks_as_gitlabs_do() {
        let (task, project) = task(&failed());
        assert_eq!(
            (task.task_type.as_str(), task.assigned_to.as_deref()),
            ("fix_build", Some("devops"))
        );
        assert_eq!(
            task.payload,
            json!({
                "project": {"id": 1296269, "path_with_namespace": "octo-org/octo-repo",
                            "web_url": "https://github.com/octo-org/octo-repo", "default_branch": "main"},
                "pipeline": {"id": 30433642, "status": "failed", "conclusion": "failure", "attempt": 1, "name": "Build",
                             "ref": "fix", "sha": "acb5820ced9479c074f688cc328bf03f341a511d",
                             "url": "https://github.com/octo-org/octo-repo/actions/runs/30433642"},
                "merge_request": {"iid": 2}
            })
        );
        assert_eq!(project.host.as_deref(), Some("github.com:443"));
    }

    #[test]
    fn only_a_pull_requests_run_is_told_on_one_and_only_where_it_is_plain_which() {
        for (pointer, value) in [
            ("/workflow_run/event", json!("push")),
            ("/workflow_run/pull_requests", json!([])),
            ("/workflow_run/pull_requests/1/base/repo/id", json!(1296269)),
        ] {
            let mut body = failed();
            *body.pointer_mut(pointer).unwrap() = value;
            assert_eq!(task(&body).0.payload.get("merge_request"), None, "{pointer}");
        }
    }

    #[test]
    fn what_old_servers_leave_out_is_filled_in() {
        let mut body = failed();
        let run = body["workflow_run"].as_object_mut().unwrap();
        run.retain(|name, _| !["html_url", "run_attempt", "name"].contains(&name.as_str()));
        run.insert("head_branch".to_owned(), Value::Null);
        let pipeline = task(&body).0.payload["pipeline"].clone();
        assert_eq!(pipeline["attempt"], 1);
        assert_eq!(
            pipeline["url"],
            "https://github.com/octo-org/octo-repo/actions/runs/30433642"
        );
        assert_eq!(
            (&pipeline["ref"], &pipeline["name"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn whatever_did_not_fail_asks_nothing() {
        let nothing = |event: &str, pointer: &str, value: &str| {
            let mut body = failed();
            *body.pointer_mut(pointer).unwrap() = value.into();
            matches!(wanted(event, &body, "d").unwrap(), Wanted::Nothing(why) if !why.is_empty())
        };
        for conclusion in [
            "success",
            "cancelled",
            "skipped",
            "neutral",
            "stale",
            "action_required",
        ] {
            assert!(
                nothing("workflow_run", "/workflow_run/conclusion", conclusion),
                "{conclusion}"
            );
        }
        for action in ["requested", "in_progress"] {
            assert!(nothing("workflow_run", "/action", action), "{action}");
        }
        for event in ["ping", "push", "issues", "delete", "workflow_job", "check_run"] {
            assert!(nothing(event, "/action", "completed"), "{event}");
        }
        for conclusion in ["timed_out", "startup_failure"] {
            assert!(
                !nothing("workflow_run", "/workflow_run/conclusion", conclusion),
                "{conclusion}"
            );
        }
    }

    #[test]
    fn a_run_without_its_parts_names_the_missing_one() {
        for (parent, field) in [
            ("", "action"),
            ("workflow_run", "conclusion"),
            ("workflow_run", "id"),
            ("repository", "id"),
            ("repository", "full_name"),
        ] {
            let mut body = failed();
            let path = match parent {
                "" => field.to_owned(),
                _ => format!("{parent}.{field}"),
            };
            let within = match parent {
                "" => &mut body,
                _ => &mut body[parent],
            };
            within.as_object_mut().unwrap().remove(field);
            let error = wanted("workflow_run", &body, "d").unwrap_err();
            assert_eq!((error.status.as_u16(), error.field), (422, Some(path)));
        }
        let mut body = failed();
        body["workflow_run"]["head_branch"] = "a\0b".into();
        let error = wanted("workflow_run", &body, "d").unwrap_err();
        assert_eq!(error.field.as_deref(), Some("workflow_run.head_branch"));
        assert!(error.error.to_string().contains("NUL"), "{}", error.error);
    }

    #[test]
    fn one_failure_is_one_event_however_it_is_delivered_and_a_later_attempt_another() {
        assert_eq!(key(&failed(), "a"), key(&failed(), "b"));
        for (pointer, value) in [
            ("/workflow_run/run_attempt", json!(2)),
            ("/workflow_run/id", json!(30433643)),
            ("/repository/id", json!(5)),
            (
                "/repository/html_url",
                json!("https://git.example.org/octo-org/octo-repo"),
            ),
        ] {
            let mut other = failed();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(key(&failed(), "a"), key(&other, "a"), "{pointer}");
        }
        let mut passed = failed();
        passed["workflow_run"]["conclusion"] = "success".into();
        assert_eq!(key(&passed, "a"), "delivery:a");
        let digested = key(&passed, &"a".repeat(101));
        assert!(
            digested.starts_with("body:") && digested.len() == 69,
            "{digested}"
        );
    }
}
