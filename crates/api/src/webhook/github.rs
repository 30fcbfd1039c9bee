//! GitHub's `workflow_run` (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_run>) read into a
//! task.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use domain::{Error, NewTask, Priority, Repo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Delivery, Received};
use url::form_urlencoded;

use super::gitlab::{Delivered, DeliveredAs, Project, Wanted, authority, registered};
use super::passed::{Passed, Sent};
use super::signature::Signature;
use crate::error::{ApiError, ApiResult};
use crate::routes::WEBHOOK_BYTES;
use crate::server::Api;
use crate::tasks::whole;
use crate::token;

/// How a run ends that did not do what it should. One that was cancelled or skipped did as somebody wished.
const FAILED: [&str; 3] = ["failure", "timed_out", "startup_failure"];
/// What starts a run whose success says that its branch or tag is good: a pull request's is of something that is not there
/// yet, and what is dispatched may be a smoke test of our own.
const OF_A_REF: [&str; 4] = ["push", "create", "release", "schedule"];
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
    if conclusion == "success" {
        return passed(body);
    }
    if !FAILED.contains(&conclusion) {
        return Ok(Wanted::Nothing(format!(
            "the run's conclusion is {conclusion}; only success, {} are looked at",
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

fn passed(body: &Value) -> ApiResult<Wanted> {
    let event = text(body, "workflow_run.event")?;
    if !OF_A_REF.contains(&event) {
        return Ok(Wanted::Nothing(format!(
            "the run passed, and was started by {event}: only those of a branch or tag deploy"
        )));
    }
    let repository = number(body, "repository.id")?;
    // A fork may call its branch what it likes.
    if find(body, "workflow_run.head_repository.id")
        .as_u64()
        .is_some_and(|head| head != repository)
    {
        return Ok(Wanted::Nothing(
            "the run passed, and is of another repository".to_owned(),
        ));
    }
    Ok(Wanted::Passed(Box::new(Passed {
        git_ref: text(body, "workflow_run.head_branch")?.to_owned(),
        // The event has a tag's name where a branch's would be, and no word which it is.
        is_tag: None,
        sha: text(body, "workflow_run.head_sha")?.to_owned(),
        pipeline: number(body, "workflow_run.id")?,
        workflow: optional(body, "workflow_run.name")?.map(str::to_owned),
        url: optional(body, "workflow_run.html_url")?.map(str::to_owned),
        project: Project {
            id: repository.to_string(),
            path: Some(text(body, "repository.full_name")?.to_owned()),
            host: optional(body, "repository.html_url")?.and_then(authority),
        },
    })))
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
        Wanted::Passed(passed) => {
            let sent = Sent {
                source: "github",
                key: &key,
                event,
                body: &body,
            };
            let repo = repo(&api, &passed.project).await?;
            return passed.receive(&api, &sent, repo).await;
        }
        Wanted::Task { task, project } => {
            store::check_payload(&task.payload)?;
            let hint = match repo(&api, project).await? {
                Ok(repo) => {
                    task.repo_id = Some(repo.id);
                    None
                }
                Err(hint) => Some(hint),
            };
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
            deployments: Vec::new(),
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
async fn repo(api: &Api, project: &Project) -> ApiResult<Result<Repo, String>> {
    let names: Vec<String> = project.path.iter().cloned().collect();
    let mut known = api.store.repos_of_project("github", &names).await?;
    for repo in &mut known {
        if authority(&repo.at.url).as_deref() == Some("api.github.com:443") {
            repo.at.url = "https://github.com".to_owned();
        }
    }
    Ok(registered(
        known,
        project,
        "longshore repos add --provider github",
    ))
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
