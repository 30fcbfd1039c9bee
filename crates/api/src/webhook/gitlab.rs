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
    if status != "failed" {
        return Ok(Wanted::Nothing(format!(
            "the pipeline's status is {status}; only failed ones are worked on"
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
        Wanted::Task { mut task, project } => {
            let projects: Vec<String> = [Some(&project.id), project.path.as_ref()]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            let known = api.store.repos_of_project("gitlab", &projects).await?;
            let hint = match registered(known, &project, "longshore repos add") {
                Ok(repo_id) => {
                    task.repo_id = Some(repo_id);
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
            reason: why_not,
            next: hint,
        }),
    ))
}

/// The id of the repository that the project is registered as, or what to do where that cannot be told. A task is made
/// all the same: it fails in the open, where an event that was dropped would be missed.
///
/// A repository without an address is on the configured instance, and stands back behind one that names the event's.
/// `add` is the command that registers one.
pub(super) fn registered(known: Vec<Repo>, project: &Project, add: &str) -> Result<String, String> {
    let name = project.path.as_ref().unwrap_or(&project.id);
    let (unnamed, named): (Vec<Repo>, Vec<Repo>) = known.into_iter().partition(|repo| repo.at.url.is_empty());
    let elsewhere = named.first().map(|repo| repo.at.url.clone());
    let here: Vec<Repo> = named
        .into_iter()
        .filter(|repo| project.host.is_none() || authority(&repo.at.url) == project.host)
        .collect();
    let fitting = if here.is_empty() { unnamed } else { here };
    match (fitting.as_slice(), elsewhere) {
        ([repo], _) => Ok(repo.id.clone()),
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
mod tests {
    use domain::{Autonomy, RepoRef, RepoStatus};

    use super::*;

    fn failed() -> Value {
        json!({
            "object_kind": "pipeline",
            "object_attributes": {
                "id": 31, "iid": 3, "ref": "main", "tag": false, "sha": "bcbb5ec396a2c0f828686f14fac9b80b780504f2",
                "source": "push", "status": "failed", "detailed_status": "failed", "finished_at": "2026-08-12 15:26:29 UTC",
                "url": "http://example.com/gitlab-org/gitlab-test/-/pipelines/31"
            },
            "merge_request": null,
            "user": {"id": 1, "name": "Administrator"},
            "project": {
                "id": 1, "name": "Gitlab Test", "web_url": "http://example.com/gitlab-org/gitlab-test",
                "path_with_namespace": "gitlab-org/gitlab-test", "default_branch": "master"
            },
            "builds": []
        })
    }

    #[test]
    fn a_failed_pipeline_is_a_fix_build_task() {
        let Wanted::Task { task, project } = wanted("Pipeline Hook", &failed(), "devops").unwrap() else {
            panic!("no task");
        };
        assert_eq!(task.task_type, "fix_build");
        assert_eq!(task.assigned_to.as_deref(), Some("devops"));
        assert_eq!(
            task.payload,
            json!({
                "project": {"id": 1, "path_with_namespace": "gitlab-org/gitlab-test",
                            "web_url": "http://example.com/gitlab-org/gitlab-test", "default_branch": "master"},
                "pipeline": {"id": 31, "status": "failed", "ref": "main", "sha": "bcbb5ec396a2c0f828686f14fac9b80b780504f2",
                             "url": "http://example.com/gitlab-org/gitlab-test/-/pipelines/31"}
            })
        );
        assert_eq!(
            project,
            Project {
                id: "1".to_owned(),
                path: Some("gitlab-org/gitlab-test".to_owned()),
                host: Some("example.com:80".to_owned()),
            }
        );
    }

    #[test]
    fn a_merge_requests_pipeline_is_told_on_the_merge_request_and_an_old_instance_gets_an_address() {
        let mut body = failed();
        body["merge_request"] = json!({"id": 9, "iid": 4});
        body["object_attributes"].as_object_mut().unwrap().remove("url");
        let Wanted::Task { task, .. } = wanted("Pipeline Hook", &body, "devops").unwrap() else {
            panic!("no task");
        };
        assert_eq!(task.payload["merge_request"], json!({"iid": 4}));
        assert_eq!(
            task.payload["pipeline"]["url"],
            "http://example.com/gitlab-org/gitlab-test/-/pipelines/31"
        );
    }

    fn repo(id: &str, url: &str) -> Repo {
        Repo {
            id: id.to_owned(),
            name: id.to_owned(),
            slug: None,
            at: RepoRef {
                provider: "gitlab".to_owned(),
                url: url.to_owned(),
                project: "1".to_owned(),
            },
            default_branch: "main".to_owned(),
            autonomy_mode: Autonomy::Guided,
            settings: Value::Null,
            status: RepoStatus::Active,
        }
    }

    #[test]
    fn a_project_is_looked_for_on_its_own_instance() {
        let project = Project {
            id: "1".to_owned(),
            path: Some("group/app".to_owned()),
            host: Some("git.example.org:443".to_owned()),
        };
        let (here, other) = (
            repo("here", "https://git.example.org/group/app"),
            repo("other", "https://gitlab.example.com"),
        );
        let default = repo("default", "");
        let found = |known: &[&Repo]| {
            registered(
                known.iter().map(|repo| (*repo).clone()).collect(),
                &project,
                "longshore repos add",
            )
        };
        assert_eq!(found(&[&other, &here, &default]), Ok("here".to_owned()));
        assert_eq!(found(&[&other, &default]), Ok("default".to_owned()));
        let told = |known: &[&Repo]| found(known).unwrap_err();
        assert!(told(&[]).contains("repos add --project group/app"));
        assert!(
            told(&[&other]).contains("https://gitlab.example.com"),
            "{}",
            told(&[&other])
        );
        let twin = repo("twin", "https://git.example.org");
        assert!(told(&[&here, &twin]).contains("here, twin"));
    }

    #[test]
    fn other_events_and_states_ask_nothing() {
        let mut body = failed();
        body["object_attributes"]["status"] = "success".into();
        assert!(
            matches!(wanted("Pipeline Hook", &body, "d").unwrap(), Wanted::Nothing(why) if why.contains("success"))
        );
        assert!(matches!(
            wanted("Note Hook", &json!({}), "d").unwrap(),
            Wanted::Nothing(_)
        ));
    }

    #[test]
    fn a_hook_without_its_parts_names_the_missing_one() {
        for field in ["id", "status"] {
            let mut body = failed();
            body["object_attributes"].as_object_mut().unwrap().remove(field);
            let error = wanted("Pipeline Hook", &body, "d").unwrap_err();
            assert_eq!(
                error.field.as_deref(),
                Some(format!("object_attributes.{field}").as_str())
            );
        }
    }

    #[test]
    fn one_failure_is_one_event_however_it_is_delivered() {
        let key = |uuid: &str, body: &Value| dedupe_key("Pipeline Hook", Some(uuid), body);
        assert_eq!(key("a", &failed()), key("b", &failed()));
        let mut again = failed();
        again["object_attributes"]["finished_at"] = "2026-08-12 16:00:00 UTC".into();
        assert_ne!(key("a", &failed()), key("a", &again));
        let mut other = failed();
        other["project"]["web_url"] = "https://git.example.org/gitlab-org/gitlab-test".into();
        assert_ne!(
            key("a", &failed()),
            key("a", &other),
            "another instance's pipeline 31"
        );
        let note = json!({"object_kind": "note"});
        assert_eq!(dedupe_key("Note Hook", Some("a"), &note), "uuid:a");
        assert_ne!(
            dedupe_key("Note Hook", None, &note),
            dedupe_key("Issue Hook", None, &note)
        );
    }

    #[test]
    fn what_no_task_can_keep_is_named_as_gitlab_sent_it() {
        let body = |git_ref: &str| {
            json!({
                "object_attributes": {"id": 31, "ref": git_ref, "status": "failed"},
                "project": {"id": 42, "path_with_namespace": "g/t"}
            })
        };
        for (git_ref, status, field) in [
            ("a\u{0}".to_owned(), 422, "object_attributes.ref"),
            ("r".repeat(2_000_000), 413, "object_attributes"),
        ] {
            let error = super::wanted("Pipeline Hook", &body(&git_ref), "devops").expect_err("it is refused");
            assert_eq!(error.status.as_u16(), status);
            assert_eq!(error.field.as_deref(), Some(field));
            assert!(!error.error.to_string().contains("payload"), "{}", error.error);
        }
    }
}
