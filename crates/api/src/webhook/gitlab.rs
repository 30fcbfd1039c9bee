//! GitLab's `Pipeline Hook` (<https://docs.gitlab.com/user/project/integrations/webhook_events/#pipeline-events>)
//! read into a task.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use domain::{NewTask, Priority, Repo, TaskId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa::ToSchema;

use super::passed::{Passed, Sent};
use crate::error::{ApiError, ApiResult};
use crate::routes::WEBHOOK_BYTES;
use crate::server::Api;
use crate::tasks::whole;
use crate::token;
use store::{Delivery, Received};

/// What a delivered event asks of us.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// A task, and the key under which the same event is known again.
    Task { task: Box<NewTask>, project: Project },
    /// Whatever the repository's settings ask for when a pipeline has passed.
    Passed(Box<Passed>),
    /// Nothing, for this reason.
    Nothing(String),
}

/// The project that an event is about, in the ways in which a repository's row may name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: String,
    pub path: Option<String>,
    /// `HOST:PORT` of the instance, where the event tells.
    pub host: Option<String>,
}

/// The name under which an event is stored: told apart by what happened, not by its delivery, so that GitLab's
/// own retry and a second webhook on the same project are one.
pub fn dedupe_key(event: &str, uuid: Option<&str>, body: &Value) -> String {
    let attributes = &body["object_attributes"];
    match (
        event,
        body["project"]["id"].as_i64(),
        attributes["id"].as_i64(),
        attributes["status"].as_str(),
    ) {
        ("Pipeline Hook", Some(project), Some(pipeline), Some(status)) => {
            // A pipeline whose job was retried may fail again: that is another event.
            let finished = attributes["finished_at"].as_str().unwrap_or("");
            let host = host(&body["project"]).unwrap_or_default();
            format!("pipeline:{host}:{project}:{pipeline}:{status}:{finished}")
        }
        _ => match uuid {
            Some(uuid) => format!("uuid:{uuid}"),
            None => {
                use sha2::{Digest, Sha256};
                let digest = Sha256::digest(format!("{event}\n{body}"));
                format!(
                    "body:{}",
                    digest
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect::<String>()
                )
            }
        },
    }
}

/// What came of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub struct Delivered {
    pub(super) status: DeliveredAs,
    /// The task that was made, now or at an earlier delivery; none where nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) task_id: Option<TaskId>,
    /// The deployments that a pipeline which passed asks for, one an environment; `task_id` is the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pub(super) deployments: Vec<TaskId>,
    /// Why there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// What the operator should do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveredAs {
    Created,
    Known,
    Ignored,
}

/// Reads an event. A `Pipeline Hook` without what makes it one is an error that names the field.
pub fn wanted(event: &str, body: &Value, agent: &str) -> ApiResult<Wanted> {
    if event != "Pipeline Hook" {
        return Ok(Wanted::Nothing(format!(
            "a {event} asks nothing of longshore yet"
        )));
    }
    let attributes = &body["object_attributes"];
    let status = text(attributes, "status", "object_attributes.status")?;
    if status == "success" {
        return passed(body);
    }
    if status != "failed" {
        return Ok(Wanted::Nothing(format!(
            "the pipeline's status is {status}; only those that passed or failed are looked at"
        )));
    }
    let pipeline_id = number(attributes, "id", "object_attributes.id")?;
    let project_id = number(&body["project"], "id", "project.id")?;
    let project = &body["project"];
    let mut about = Map::new();
    about.insert("id".to_owned(), project_id.into());
    for field in ["path_with_namespace", "web_url", "default_branch"] {
        about.insert(field.to_owned(), project[field].clone());
    }
    let mut pipeline = json!({
        "id": pipeline_id,
        "status": status,
        "ref": attributes["ref"],
        "sha": attributes["sha"],
        "url": attributes["url"],
    });
    // Older instances send no address.
    if pipeline["url"].is_null()
        && let Some(web) = project["web_url"].as_str()
    {
        pipeline["url"] = format!("{web}/-/pipelines/{pipeline_id}").into();
    }
    let mut payload = json!({ "project": about, "pipeline": pipeline });
    if let Some(iid) = body["merge_request"]["iid"].as_u64() {
        payload["merge_request"] = json!({ "iid": iid });
    }
    store::check_payload(&payload).map_err(as_sent)?;
    let mut task = NewTask::new("fix_build", payload)
        .assigned_to(agent)
        .priority(Priority::DEFAULT);
    task.created_by = Some("gitlab-webhook".to_owned());
    Ok(Wanted::Task {
        task: Box::new(task),
        project: Project {
            id: project_id.to_string(),
            path: project["path_with_namespace"].as_str().map(str::to_owned),
            host: host(project),
        },
    })
}

/// What starts a pipeline whose success says that its branch or tag is good. That of a merge request or of another pipeline
/// is of a part, or of something that is not on the branch yet.
const OF_A_REF: [&str; 6] = ["push", "web", "api", "schedule", "trigger", "pipeline"];
/// The variable that a pipeline carries which a deployment of ours started as its smoke test.
const OURS: &str = "LONGSHORE_RUN";

fn passed(body: &Value) -> ApiResult<Wanted> {
    let (attributes, project) = (&body["object_attributes"], &body["project"]);
    // Older instances do not say.
    let source = attributes["source"].as_str().unwrap_or("push");
    let variables = attributes["variables"].as_array();
    if variables.is_some_and(|variables| variables.iter().any(|variable| variable["key"] == OURS)) {
        return Ok(Wanted::Nothing(
            "the pipeline is a smoke test of a deployment".to_owned(),
        ));
    }
    if !OF_A_REF.contains(&source) {
        return Ok(Wanted::Nothing(format!(
            "the pipeline passed, and was started by {source}: only those of a branch or tag deploy"
        )));
    }
    let own = |name: &str| {
        let found = text(attributes, name, &format!("object_attributes.{name}"))?;
        match found.contains('\0') || found.is_empty() {
            true => Err(missing(&format!("object_attributes.{name}"), "a name")),
            false => Ok(found.to_owned()),
        }
    };
    Ok(Wanted::Passed(Box::new(Passed {
        git_ref: own("ref")?,
        is_tag: Some(attributes["tag"].as_bool().unwrap_or_default()),
        sha: own("sha")?,
        pipeline: number(attributes, "id", "object_attributes.id")?,
        workflow: None,
        url: attributes["url"].as_str().map(str::to_owned),
        project: about(project)?,
    })))
}

fn about(project: &Value) -> ApiResult<Project> {
    Ok(Project {
        id: number(project, "id", "project.id")?.to_string(),
        path: project["path_with_namespace"].as_str().map(str::to_owned),
        host: host(project),
    })
}

/// A fault of the task's payload, in the names under which GitLab sent what is in it.
fn as_sent(fault: store::PayloadFault) -> ApiError {
    let field = match fault.field.strip_prefix("payload.") {
        Some(inner) => match inner.strip_prefix("pipeline.") {
            Some(attribute) => format!("object_attributes.{attribute}"),
            None => inner.to_owned(),
        },
        None => "object_attributes".to_owned(),
    };
    let what = match fault.too_large {
        true => format!("`{field}` is too large: its ref and addresses would fill more than 1 MiB of a task"),
        false => format!("`{field}` holds what no task can keep, such as a NUL character"),
    };
    ApiError {
        field: Some(field),
        error: domain::Error::invalid(what).next("No GitLab sends this: look at what stands in between"),
        ..ApiError::from(fault)
    }
}

/// Two instances number their projects and pipelines alike.
fn host(project: &Value) -> Option<String> {
    authority(project["web_url"].as_str()?)
}

pub(super) fn authority(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

fn number(object: &Value, name: &str, path: &str) -> ApiResult<u64> {
    object[name]
        .as_u64()
        .ok_or_else(|| missing(path, "a whole number"))
}

fn text<'a>(object: &'a Value, name: &str, path: &str) -> ApiResult<&'a str> {
    object[name].as_str().ok_or_else(|| missing(path, "text"))
}

fn missing(path: &str, what: &str) -> ApiError {
    ApiError::field(
        path,
        format!("`{path}` is not {what}, so this is no Pipeline Hook as GitLab sends it"),
    )
}

/// Take an event from GitLab
///
/// The body is stored before the 2xx; the task that it asks for is made in the same transaction, so that a delivery that
/// was acknowledged is never lost and one that is sent again makes nothing twice.
#[utoipa::path(post, path = "/webhook/gitlab", tag = "webhooks",
    params(
        ("X-Gitlab-Event" = String, Header, description = "The event's name, such as `Pipeline Hook`"),
        ("X-Gitlab-Token" = String, Header, description = "The webhook's secret token, `gitlab.webhook_secret`"),
        ("X-Gitlab-Event-UUID" = Option<String>, Header, description = "The same for each delivery of one event"),
    ),
    request_body(content = Value, description = "The event as GitLab sends it, at most 25 MB"),
    responses(
        (status = 201, description = "A task was made", body = Delivered),
        (status = 200, description = "Known already, or nothing to do", body = Delivered),
    ))]
pub async fn receive(State(api): State<Api>, request: Request) -> ApiResult<(StatusCode, Json<Delivered>)> {
    // The body is read further down: whoever does not know the secret must not have 25 MB kept for them.
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(secret) = &api.config.gitlab_webhook_secret else {
        return Err(
            ApiError::from(domain::Error::denied("webhooks from GitLab are not taken here"))
                .next("The operator sets `gitlab.webhook_secret` to the secret token of GitLab's webhook"),
        );
    };
    if !token::matches_any(
        header("x-gitlab-token").unwrap_or(""),
        std::slice::from_ref(secret),
    ) {
        return Err(ApiError::unauthorised("X-Gitlab-Token is missing or wrong")
            .next("The webhook's secret token in GitLab must be `gitlab.webhook_secret` of this longshore"));
    }
    let Some(event) = header("x-gitlab-event") else {
        return Err(ApiError::unreadable(
            "the header X-Gitlab-Event is missing, which names the event",
        ));
    };
    // What GitLab sends is not ours to correct: it is read as leniently as JSON may be.
    let body = whole(Bytes::from_request(request, &api).await, WEBHOOK_BYTES)?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unreadable(format!("the body is not JSON: {error}")))?;
    let key = dedupe_key(event, header("x-gitlab-event-uuid"), &body).replace('\0', "\u{fffd}");
    let wanted = wanted(event, &body, &api.config.agent)?;
    let (task, why_not, hint) = match wanted {
        Wanted::Nothing(reason) => (None, Some(reason), None),
        Wanted::Passed(passed) => {
            let sent = Sent {
                source: "gitlab",
                key: &key,
                event,
                body: &body,
            };
            let repo = repo(&api, &passed.project).await?;
            return passed.receive(&api, &sent, repo).await;
        }
        Wanted::Task { mut task, project } => {
            let hint = match repo(&api, &project).await? {
                Ok(repo) => {
                    task.repo_id = Some(repo.id);
                    None
                }
                Err(hint) => Some(hint),
            };
            (Some(task), None, hint)
        }
    };
    let delivery = Delivery {
        source: "gitlab",
        key: &key,
        event,
        body: &body,
    };
    let (code, status, task_id) = match (api.store.receive(&delivery, task.as_deref()).await?, &why_not) {
        (_, Some(_)) => (StatusCode::OK, DeliveredAs::Ignored, None),
        (Received::New(id), None) => (StatusCode::CREATED, DeliveredAs::Created, id),
        (Received::Known(id), None) => (StatusCode::OK, DeliveredAs::Known, id),
    };
    tracing::info!(webhook.source = "gitlab", webhook.event = event, webhook.answer = ?status, "a webhook was stored");
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

async fn repo(api: &Api, project: &Project) -> ApiResult<Result<Repo, String>> {
    let names = [Some(&project.id), project.path.as_ref()];
    let names: Vec<String> = names.into_iter().flatten().cloned().collect();
    let known = api.store.repos_of_project("gitlab", &names).await?;
    Ok(registered(known, project, "longshore repos add"))
}

/// The repository that the project is registered as, or what to do where that cannot be told. A task is made
/// all the same: it fails in the open, where an event that was dropped would be missed.
///
/// A repository without an address is on the configured instance, and stands back behind one that names the event's.
/// `add` is the command that registers one.
pub(super) fn registered(known: Vec<Repo>, project: &Project, add: &str) -> Result<Repo, String> {
    let name = project.path.as_ref().unwrap_or(&project.id);
    let (unnamed, named): (Vec<Repo>, Vec<Repo>) = known.into_iter().partition(|repo| repo.at.url.is_empty());
    let elsewhere = named.first().map(|repo| repo.at.url.clone());
    let here: Vec<Repo> = named
        .into_iter()
        .filter(|repo| project.host.is_none() || authority(&repo.at.url) == project.host)
        .collect();
    let fitting = if here.is_empty() { unnamed } else { here };
    match (fitting.as_slice(), elsewhere) {
        ([repo], _) => Ok(repo.clone()),
        ([], None) => Err(format!(
            "The project {name} is not registered, so its builds cannot be read: `{add} --project {name}`"
        )),
        ([], Some(url)) => Err(format!(
            "The project {name} is registered at {url} and not at {}, so its builds cannot be read: `{add}` it there too, or correct its address",
            project.host.as_deref().unwrap_or_default()
        )),
        (several, _) => Err(format!(
            "The project {name} is registered more than once, as {}, so whose builds are meant cannot be told: remove all but one",
            several
                .iter()
                .map(|repo| repo.id.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

#[cfg(test)]
#[path = "gitlab_tests.rs"]
mod tests;
