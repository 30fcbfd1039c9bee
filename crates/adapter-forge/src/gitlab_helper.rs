use std::sync::Arc;

use domain::{Error, RepoRef, Result, TicketKind, TicketRef};
use gitlab::api::Endpoint;
use gitlab::api::projects::hooks::{CreateHook, EditHook, Hooks};
use gitlab::api::projects::issues::{
    CreateIssue, EditIssue, Issue, IssueState, IssueStateEvent, Issues, notes::CreateIssueNote,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::failure::Need;
use crate::gitlab::{Gitlab, project};
use crate::request::built;

/// What stands behind `longshore gitlab …`: one call each, answered with GitLab's own JSON.
///
/// Every call that writes takes `dry_run`, and then answers with the request it would send:
/// `{"dry_run": true, "request": {"method": …, "url": …, "body": …}}`.
pub struct GitlabHelper {
    gitlab: Arc<Gitlab>,
    repo: RepoRef,
}

/// What to change of an issue; at least one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssueUpdate {
    pub title: Option<String>,
    pub description: Option<String>,
    pub add_labels: Vec<String>,
    pub remove_labels: Vec<String>,
    pub state: Option<StateChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    Close,
    Reopen,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIssue {
    pub title: String,
    pub description: String,
    pub labels: Vec<String>,
}

/// Which issues to list; one page of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssueFilter {
    /// Any state when left out.
    pub state: Option<IssueWanted>,
    pub labels: Vec<String>,
    pub search: Option<String>,
    /// From 1.
    pub page: Option<u32>,
    /// 20 unless said otherwise, 100 at most.
    pub per_page: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueWanted {
    Opened,
    Closed,
}

/// The webhook that a project should have. It is told apart from others by its address.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: Url,
    /// Sent back to us in `X-Gitlab-Token`.
    pub secret: Option<SecretString>,
}

#[derive(Debug, Deserialize, Serialize)]
struct RawHook {
    id: u64,
    url: String,
    #[serde(default)]
    pipeline_events: bool,
    #[serde(default)]
    issues_events: bool,
    #[serde(default)]
    note_events: bool,
    #[serde(default)]
    merge_requests_events: bool,
}

/// An endpoint with one page asked for.
struct Page<E> {
    of: E,
    page: Option<u32>,
    per_page: Option<u32>,
}

impl<E: Endpoint> Endpoint for Page<E> {
    fn method(&self) -> http::Method {
        self.of.method()
    }
    fn endpoint(&self) -> std::borrow::Cow<'static, str> {
        self.of.endpoint()
    }
    fn parameters(&self) -> gitlab::api::QueryParams<'_> {
        let mut parameters = self.of.parameters();
        parameters.push_opt("page", self.page.map(u64::from));
        parameters.push_opt("per_page", self.per_page.map(u64::from));
        parameters
    }
}

impl GitlabHelper {
    pub(crate) fn new(gitlab: Arc<Gitlab>, repo: RepoRef) -> Self {
        Self { gitlab, repo }
    }

    /// Writes a note on an issue.
    pub async fn issue_comment(&self, iid: u64, body: &str, dry_run: bool) -> Result<Value> {
        let call = CreateIssueNote::builder()
            .project(project(&self.repo))
            .issue(iid)
            .body(body)
            .build();
        self.write(
            built(call)?,
            &format!("write a note on {}", self.issue(iid)),
            Need::WriteNote,
            dry_run,
        )
        .await
    }

    /// Changes labels, state, title or description of an issue.
    pub async fn issue_update(&self, iid: u64, update: &IssueUpdate, dry_run: bool) -> Result<Value> {
        if *update == IssueUpdate::default() {
            return Err(Error::invalid("there is nothing to change")
                .next("Name labels to add or remove, a state, a title or a description"));
        }
        let mut call = EditIssue::builder();
        call.project(project(&self.repo)).issue(iid);
        if let Some(title) = &update.title {
            call.title(title.as_str());
        }
        if let Some(description) = &update.description {
            call.description(description.as_str());
        }
        for label in &update.add_labels {
            call.add_label(label.as_str());
        }
        for label in &update.remove_labels {
            call.remove_label(label.as_str());
        }
        match update.state {
            Some(StateChange::Close) => drop(call.state_event(IssueStateEvent::Close)),
            Some(StateChange::Reopen) => drop(call.state_event(IssueStateEvent::Reopen)),
            None => {}
        }
        let doing = format!("change {}", self.issue(iid));
        self.write(built(call.build())?, &doing, Need::WriteTicket, dry_run)
            .await
    }

    pub async fn issue_create(&self, new: &NewIssue, dry_run: bool) -> Result<Value> {
        if new.title.trim().is_empty() {
            return Err(Error::invalid("an issue needs a title"));
        }
        let mut call = CreateIssue::builder();
        call.project(project(&self.repo))
            .title(new.title.as_str())
            .description(new.description.as_str());
        for label in &new.labels {
            call.label(label.as_str());
        }
        let doing = format!("open an issue in {}", self.repo.project);
        self.write(built(call.build())?, &doing, Need::WriteTicket, dry_run)
            .await
    }

    pub async fn issue_get(&self, iid: u64) -> Result<Value> {
        let call = built(Issue::builder().project(project(&self.repo)).issue(iid).build())?;
        self.read(call, &format!("read {}", self.issue(iid)), Need::ReadTicket)
            .await
    }

    /// One page of issues, newest first.
    pub async fn issue_list(&self, filter: &IssueFilter) -> Result<Value> {
        let mut call = Issues::builder();
        call.project(project(&self.repo));
        match filter.state {
            Some(IssueWanted::Opened) => drop(call.state(IssueState::Opened)),
            Some(IssueWanted::Closed) => drop(call.state(IssueState::Closed)),
            None => {}
        }
        if !filter.labels.is_empty() {
            call.labels(filter.labels.iter().map(String::as_str));
        }
        if let Some(search) = &filter.search {
            call.search(search.as_str());
        }
        let page = Page {
            of: built(call.build())?,
            page: filter.page,
            per_page: filter.per_page,
        };
        self.read(
            page,
            &format!("list the issues of {}", self.repo.project),
            Need::ReadTicket,
        )
        .await
    }

    /// Sees to it that the project tells us of pipelines, issues, notes and merge requests: makes the webhook, or
    /// puts right the one that has our address. Repeatable. Answers `{"action": "created"|"updated"|"unchanged", …}`;
    /// with a secret it is always updated, because GitLab does not show which secret is set.
    pub async fn webhook_ensure(&self, wanted: &Webhook, dry_run: bool) -> Result<Value> {
        let doing = format!("list the webhooks of {}", self.repo.project);
        let hooks: Vec<RawHook> = self
            .gitlab
            .client
            .query_all(built(Hooks::builder().project(project(&self.repo)).build())?)
            .await
            .map_err(|error| error.explain(&doing, Need::Webhooks))?;
        let same = |hook: &&RawHook| Url::parse(&hook.url).is_ok_and(|url| url == wanted.url);
        let secret = wanted.secret.as_ref().map(ExposeSecret::expose_secret);
        let Some(found) = hooks.iter().find(same) else {
            let mut call = CreateHook::builder();
            call.project(project(&self.repo)).url(wanted.url.as_str());
            call.push_events(false).pipeline_events(true).issues_events(true);
            call.note_events(true).merge_requests_events(true);
            if let Some(secret) = secret {
                call.token(secret);
            }
            let doing = format!("make a webhook in {}", self.repo.project);
            return self
                .webhook("created", built(call.build())?, &doing, dry_run)
                .await;
        };
        let complete =
            found.pipeline_events && found.issues_events && found.note_events && found.merge_requests_events;
        if complete && secret.is_none() {
            return Ok(json!({ "action": "unchanged", "webhook": found }));
        }
        let mut call = EditHook::builder();
        call.project(project(&self.repo))
            .hook_id(found.id)
            .url(wanted.url.as_str());
        call.pipeline_events(true)
            .issues_events(true)
            .note_events(true)
            .merge_requests_events(true);
        if let Some(secret) = secret {
            call.token(secret);
        }
        let doing = format!("change webhook {} of {}", found.id, self.repo.project);
        self.webhook("updated", built(call.build())?, &doing, dry_run)
            .await
    }

    async fn webhook<E: Endpoint + Send + Sync>(
        &self,
        action: &str,
        call: E,
        doing: &str,
        dry_run: bool,
    ) -> Result<Value> {
        let mut answer = self.write(call, doing, Need::Webhooks, dry_run).await?;
        if dry_run {
            answer["action"] = Value::from(action);
            return Ok(answer);
        }
        Ok(json!({ "action": action, "webhook": answer }))
    }

    fn issue(&self, iid: u64) -> String {
        crate::gitlab::name(&TicketRef {
            repo: self.repo.clone(),
            kind: TicketKind::Issue,
            iid,
        })
    }

    async fn read<E: Endpoint + Send + Sync>(&self, call: E, doing: &str, need: Need) -> Result<Value> {
        self.gitlab
            .client
            .query(call)
            .await
            .map_err(|error| error.explain(doing, need))
    }

    async fn write<E: Endpoint + Send + Sync>(
        &self,
        call: E,
        doing: &str,
        need: Need,
        dry_run: bool,
    ) -> Result<Value> {
        if dry_run {
            return self.planned(&call);
        }
        self.read(call, doing, need).await
    }

    /// The request that would be sent, without the token and with secrets in its body hidden.
    fn planned(&self, call: &impl Endpoint) -> Result<Value> {
        let mut url = Url::parse(&format!("{}/{}", self.gitlab.host.api, call.endpoint()))
            .map_err(|error| Error::internal("a request has no address").because(&error))?;
        call.parameters().add_to_url(&mut url);
        if url.query() == Some("") {
            url.set_query(None);
        }
        let body = built(call.body())?.map(|(kind, body)| describe(kind, &body));
        let request = json!({ "method": call.method().as_str(), "url": url.as_str(), "body": body });
        Ok(json!({ "dry_run": true, "request": request }))
    }
}

fn describe(kind: &str, body: &[u8]) -> Value {
    let hide = |name: &str, value: String| {
        if name == "token" {
            "[hidden]".to_owned()
        } else {
            value
        }
    };
    if kind.contains("form-urlencoded") {
        let fields = url::form_urlencoded::parse(body).into_owned();
        let fields = fields.map(|(name, value)| {
            let value = hide(&name, value);
            (name, Value::from(value))
        });
        return Value::Object(fields.collect());
    }
    let mut value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if let Some(token) = value.get_mut("token") {
        *token = Value::from("[hidden]");
    }
    value
}
