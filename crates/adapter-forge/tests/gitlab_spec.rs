//! The calls of the adapter are calls that GitLab publishes: each path, query parameter and body field stands in its
//! OpenAPI document, as far as that document goes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use adapter_forge::gitlab_helper::{IssueFilter, IssueUpdate, IssueWanted, NewIssue, StateChange};
use adapter_forge::{Config, Forges, HostConfig, Provider};
use domain::{Idem, LabelChange, RepoRef, TicketKind};
use ports::conformance::forge::{ChildSeed, JobSeed, PipelineSeed};
use ports::{Environments, Forge, JobStatus, NewPipeline, NewRecord, NewRevert, RecordStatus, Tickets};
use serde_json::Value;
use testkit::gitlab::{FakeGitlab, TOKEN};
use testkit::peer::{Phase, Request};

/// Real parts of the API that the published document leaves out (notes, project webhooks, the current user,
/// feature flags).
const LEFT_OUT: [&str; 4] = ["/notes", "/hooks", "/api/v4/user", "/feature_flags"];
/// Lists are sent as `scope[]=`, which GitLab takes for the documented `scope`.
const LIST_MARK: &str = "[]";

fn spec() -> Value {
    let shared = std::env::var_os("LONGSHORE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = shared.join("specs/gitlab/gitlab-projects-subset.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "GitLab's OpenAPI document is missing at {}: {error}; say where the shared data lie with LONGSHORE_SHARED",
            path.display()
        )
    });
    serde_json::from_slice(&text).expect("GitLab's OpenAPI document is JSON")
}

#[tokio::test]
async fn every_call_stands_in_the_published_document() {
    let spec = spec();
    let fake = FakeGitlab::start();
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let noted = Arc::clone(&seen);
    fake.on_request(move |request, phase| {
        if phase == Phase::Arrived {
            noted.lock().expect("the list").push(request.clone());
        }
    });
    make_all_calls(&fake).await;

    let (mut checked, mut left_out) = (BTreeSet::new(), 0);
    for request in seen.lock().expect("the list").iter() {
        if LEFT_OUT.iter().any(|part| request.path.contains(part)) {
            left_out += 1;
            continue;
        }
        let (template, operation) = operation(&spec, request);
        let name = format!("{} {template}", request.method);
        for (parameter, _) in &request.query {
            let parameter = parameter.trim_end_matches(LIST_MARK);
            assert!(
                query_names(operation).contains(parameter),
                "{name} has no parameter `{parameter}`"
            );
        }
        let body: Vec<String> = form_fields(request);
        let known = body_names(&spec, operation);
        for field in &body {
            assert!(
                known.contains(field.as_str()),
                "{name} has no field `{field}`; it has {known:?}"
            );
        }
        checked.insert(name);
    }
    let checked: Vec<&str> = checked.iter().map(String::as_str).collect();
    assert_eq!(
        checked,
        [
            "GET /api/v4/projects/{id}/deployments",
            "GET /api/v4/projects/{id}/deployments/{deployment_id}",
            "GET /api/v4/projects/{id}/issues",
            "GET /api/v4/projects/{id}/issues/{issue_iid}",
            "GET /api/v4/projects/{id}/jobs/{job_id}",
            "GET /api/v4/projects/{id}/jobs/{job_id}/trace",
            "GET /api/v4/projects/{id}/merge_requests",
            "GET /api/v4/projects/{id}/merge_requests/{merge_request_iid}",
            "GET /api/v4/projects/{id}/pipelines",
            "GET /api/v4/projects/{id}/pipelines/{pipeline_id}",
            "GET /api/v4/projects/{id}/pipelines/{pipeline_id}/bridges",
            "GET /api/v4/projects/{id}/pipelines/{pipeline_id}/jobs",
            "GET /api/v4/projects/{id}/pipelines/{pipeline_id}/variables",
            "GET /api/v4/projects/{id}/repository/branches/{branch}",
            "GET /api/v4/projects/{id}/repository/commits/{sha}",
            "GET /api/v4/projects/{id}/repository/tags/{tag_name}",
            "POST /api/v4/projects/{id}/deployments",
            "POST /api/v4/projects/{id}/issues",
            "POST /api/v4/projects/{id}/jobs/{job_id}/retry",
            "POST /api/v4/projects/{id}/merge_requests",
            "POST /api/v4/projects/{id}/pipeline",
            "POST /api/v4/projects/{id}/repository/branches",
            "POST /api/v4/projects/{id}/repository/commits/{sha}/revert",
            "PUT /api/v4/projects/{id}/deployments/{deployment_id}",
            "PUT /api/v4/projects/{id}/issues/{issue_iid}",
            "PUT /api/v4/projects/{id}/merge_requests/{merge_request_iid}",
        ]
    );
    assert!(left_out > 0, "the notes were written");
}

async fn make_all_calls(fake: &FakeGitlab) {
    let mut host = HostConfig::new(Provider::Gitlab);
    host.url = Some(fake.url().parse().expect("the fake's address"));
    host.token = Some(TOKEN.into());
    let hosts = vec![host];
    let forges = Forges::new(&Config { hosts, local: None }).expect("a usable configuration");
    let mut seed = PipelineSeed::failed(vec![JobSeed::new("test", JobStatus::Failed)]);
    seed.children.push(ChildSeed {
        pipeline: PipelineSeed::failed(vec![JobSeed::new("below", JobStatus::Failed)]),
        in_another_project: true,
        points_back: false,
    });
    let placed = fake.add_pipeline("group/app", &seed);
    let job = &placed.jobs[0];
    forges
        .latest_pipeline(&placed.repo, "main")
        .await
        .expect("newest pipeline");
    forges
        .failed_jobs(&placed.repo, placed.pipeline)
        .await
        .expect("failed jobs");
    drop(forges.log(job).await.expect("log"));
    let found = forges.job(job).await.expect("job");
    forges
        .retry_job(job, &[], &Idem::new("t/s/k"))
        .await
        .expect("retry");
    forges.retry_of(&found).await.expect("retry found");
    for kind in [TicketKind::Issue, TicketKind::MergeRequest] {
        let at = fake.open_ticket("group/app", kind, &["old"]);
        let change = LabelChange {
            add: vec!["new".to_owned()],
            remove: vec!["old".to_owned()],
        };
        forges.ticket(&at).await.expect("ticket");
        forges.change_labels(&at, &change).await.expect("labels");
        let note = forges.create_note(&at, "one").await.expect("note");
        forges.edit_note(&at, note.id, "two").await.expect("edit");
        forges.own_notes(&at).await.expect("notes");
        forges.delete_note(&at, note.id).await.expect("delete");
    }
    record_a_deployment(fake, &forges, &placed.repo).await;
    let helper = forges.gitlab(&placed.repo).expect("a GitLab project");
    let new = NewIssue {
        title: "t".to_owned(),
        description: "d".to_owned(),
        labels: vec!["l".to_owned()],
    };
    helper.issue_create(&new, false).await.expect("create");
    let update = IssueUpdate {
        title: Some("t".to_owned()),
        description: Some("d".to_owned()),
        add_labels: vec!["a".to_owned()],
        remove_labels: vec!["b".to_owned()],
        state: Some(StateChange::Close),
    };
    helper.issue_update(1, &update, false).await.expect("update");
    let filter = IssueFilter {
        state: Some(IssueWanted::Opened),
        labels: vec!["l".to_owned()],
        search: Some("t".to_owned()),
        page: Some(1),
        per_page: Some(5),
    };
    helper.issue_list(&filter).await.expect("list");
}

async fn record_a_deployment(fake: &FakeGitlab, forges: &Forges, repo: &RepoRef) {
    let tagged = fake.with(|world| world.tag("group/app", "v1"));
    let commit = forges
        .commit(repo, &tagged.sha)
        .await
        .expect("looks")
        .expect("a commit");
    let new = NewRecord {
        environment: "staging".to_owned(),
        sha: commit.sha,
        git_ref: "v1".to_owned(),
        is_tag: true,
        status: RecordStatus::Running,
    };
    let idem = Idem::new("t/s/k");
    let made = forges.create(repo, &new, &idem).await.expect("record");
    forges.find(repo, &new, &idem).await.expect("record found");
    forges
        .update(repo, &made, RecordStatus::Canceled)
        .await
        .expect("update");
    test_and_revert(forges, repo, &tagged.sha).await;
}

async fn test_and_revert(forges: &Forges, repo: &RepoRef, sha: &str) {
    let wanted = NewPipeline {
        git_ref: "v1".to_owned(),
        workflow: None,
        variables: [("SUITE".to_owned(), "smoke".to_owned())].into(),
    };
    let idem = Idem::new("t/s/job");
    let made = forges.start_pipeline(repo, &wanted, &idem).await.expect("starts");
    forges.jobs(repo, made.id).await.expect("its jobs");
    let found = forges.started(repo, &wanted, &idem).await.expect("looks");
    assert_eq!(found, Some(made));
    forges.pipelines_of(repo, sha).await.expect("pipelines");
    let back = NewRevert {
        sha: sha.to_owned(),
        branch: "longshore/revert-t".to_owned(),
        onto: "main".to_owned(),
        title: "t".to_owned(),
        description: "d".to_owned(),
    };
    forges.revert(repo, &back).await.expect("reverts");
}

/// The documented operation whose path fits, fixed parts before placeholders.
fn operation<'a>(spec: &'a Value, request: &Request) -> (&'a str, &'a Value) {
    let method = request.method.as_str().to_lowercase();
    let paths = spec["paths"].as_object().expect("paths");
    let fits = |template: &str| {
        let (wanted, sent): (Vec<&str>, Vec<&str>) =
            (template.split('/').collect(), request.path.split('/').collect());
        wanted.len() == sent.len()
            && wanted
                .iter()
                .zip(&sent)
                .all(|(want, sent)| want.starts_with('{') || want == sent)
    };
    let found = paths
        .iter()
        .filter(|(template, operations)| fits(template) && operations.get(&method).is_some());
    let found = found.min_by_key(|(template, _)| template.matches('{').count());
    let (template, operations) =
        found.unwrap_or_else(|| panic!("{} {} is not documented", request.method, request.path));
    (template, &operations[&method])
}

fn query_names(operation: &Value) -> BTreeSet<&str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let queries = parameters.filter(|parameter| parameter["in"] == "query");
    queries
        .filter_map(|parameter| parameter["name"].as_str())
        .collect()
}

fn body_names<'a>(spec: &'a Value, operation: &'a Value) -> BTreeSet<&'a str> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let schema = match schema["$ref"].as_str() {
        Some(reference) => spec
            .pointer(reference.trim_start_matches('#'))
            .expect("the schema that is named"),
        None => schema,
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, _)| name.as_str()).collect()
}

fn form_fields(request: &Request) -> Vec<String> {
    if request.body.is_empty() {
        return Vec::new();
    }
    url::form_urlencoded::parse(&request.body)
        .map(|(name, _)| name.split('[').next().unwrap_or_default().to_owned())
        .collect()
}
