//! Pipelines that passed, and the deployments that their repository's settings ask for then.

use axum::Json;
use axum::http::StatusCode;
use domain::{Built, NewTask, Priority, Repo, TaskId, to_deploy};
use serde_json::{Value, json};
use store::{Arrival, Delivery, Received};

use super::gitlab::{Delivered, DeliveredAs, Project};
use crate::error::{ApiError, ApiResult};
use crate::server::Api;

/// What an event says of a pipeline that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub project: Project,
    pub git_ref: String,
    /// None where the forge's event does not tell a tag from a branch.
    pub is_tag: Option<bool>,
    pub sha: String,
    pub pipeline: u64,
    pub workflow: Option<String>,
    pub url: Option<String>,
}

/// The delivery as it came.
pub(super) struct Sent<'a> {
    pub source: &'static str,
    /// Under which it is stored when it asks for nothing.
    pub key: &'a str,
    pub event: &'a str,
    pub body: &'a Value,
}

impl Passed {
    /// The deployments that it asks for, and what of the settings cannot be read. Of a commit each environment gets one,
    /// however often its pipelines pass: what is known by the key makes no second.
    fn deployments(&self, repo: &Repo, agent: &str, sent: &Sent) -> (Vec<Arrival>, Vec<String>) {
        let built = Built {
            git_ref: &self.git_ref,
            is_tag: self.is_tag,
            sha: &self.sha,
            pipeline: self.pipeline,
            workflow: self.workflow.as_deref(),
        };
        let (found, wrong) = to_deploy(&repo.settings, &built);
        let arrival = |to: domain::ToDeploy| {
            let named = if to.by_tag { "tag" } else { "ref" };
            let payload = json!({
                "version": to.version,
                "environment": to.environment,
                "commit": self.sha,
                named: self.git_ref,
                "pipeline": {"id": self.pipeline, "url": self.url},
            });
            let key = format!("deploy:{}:{}:{}", repo.id, to.environment, self.sha);
            let mut task = NewTask::new("deploy", payload)
                .assigned_to(agent)
                .priority(Priority::DEFAULT)
                .dedupe_key(key.clone());
            task.created_by = Some(format!("{}-webhook", sent.source));
            Arrival {
                key,
                event: sent.event.to_owned(),
                body: sent.body.clone(),
                task,
                repos: vec![repo.id.clone()],
            }
        };
        (found.into_iter().map(arrival).collect(), wrong)
    }

    /// Stores the event, with the deployments that it asks for.
    pub(super) async fn receive(
        &self,
        api: &Api,
        sent: &Sent<'_>,
        repo: Result<Repo, String>,
    ) -> ApiResult<(StatusCode, Json<Delivered>)> {
        let (arrivals, wrong, reason) = match &repo {
            Err(hint) => (
                Vec::new(),
                vec![hint.clone()],
                "the pipeline passed, and nothing says where it is deployed to".to_owned(),
            ),
            Ok(repo) => {
                let (arrivals, wrong) = self.deployments(repo, &api.config.agent, sent);
                let reason = format!(
                    "the pipeline passed, and no environment of {} takes {} by itself",
                    repo.name, self.git_ref
                );
                (arrivals, wrong, reason)
            }
        };
        let next = (!wrong.is_empty()).then(|| wrong.join("; "));
        if arrivals.is_empty() {
            let delivery = Delivery {
                source: sent.source,
                key: sent.key,
                event: sent.event,
                body: sent.body,
            };
            api.store.receive(&delivery, None).await?;
            return Ok(answer(sent, DeliveredAs::Ignored, Vec::new(), Some(reason), next));
        }
        for arrival in &arrivals {
            store::check_payload(&arrival.task.payload)?;
        }
        let received = api.store.receive_many(sent.source, &arrivals).await;
        let received = received.map_err(|fault| ApiError::from(fault.error))?;
        let is_new = received
            .iter()
            .any(|received| matches!(received, Received::New(_)));
        let status = if is_new {
            DeliveredAs::Created
        } else {
            DeliveredAs::Known
        };
        let tasks = received.into_iter();
        let tasks = tasks
            .filter_map(|(Received::New(id) | Received::Known(id))| id)
            .collect();
        Ok(answer(sent, status, tasks, None, next))
    }
}

fn answer(
    sent: &Sent,
    status: DeliveredAs,
    tasks: Vec<TaskId>,
    reason: Option<String>,
    next: Option<String>,
) -> (StatusCode, Json<Delivered>) {
    tracing::info!(
        webhook.source = sent.source,
        webhook.event = sent.event,
        webhook.answer = ?status,
        webhook.deployments = tasks.len(),
        "a webhook was stored"
    );
    let code = match status {
        DeliveredAs::Created => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let answered = Delivered {
        status,
        task_id: tasks.first().cloned(),
        deployments: tasks,
        reason,
        next,
    };
    (code, Json(answered))
}
