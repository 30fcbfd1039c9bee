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
        .map(|repo| repo.id)
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
    body["object_attributes"]["status"] = "running".into();
    assert!(
        matches!(wanted("Pipeline Hook", &body, "d").unwrap(), Wanted::Nothing(why) if why.contains("running"))
    );
    assert!(matches!(
        wanted("Note Hook", &json!({}), "d").unwrap(),
        Wanted::Nothing(_)
    ));
}

fn succeeded() -> Value {
    let mut body = failed();
    body["object_attributes"]["status"] = "success".into();
    body
}

#[test]
fn a_pipeline_that_passed_is_read_with_its_branch_or_tag() {
    let Wanted::Passed(passed) = wanted("Pipeline Hook", &succeeded(), "d").unwrap() else {
        panic!("nothing");
    };
    assert_eq!(
        (passed.git_ref.as_str(), passed.is_tag, passed.pipeline),
        ("main", Some(false), 31)
    );
    assert_eq!(passed.sha, "bcbb5ec396a2c0f828686f14fac9b80b780504f2");
    assert_eq!(passed.project.host.as_deref(), Some("example.com:80"));
    let mut body = succeeded();
    body["object_attributes"]["tag"] = true.into();
    let passed = wanted("Pipeline Hook", &body, "d").unwrap();
    assert!(matches!(passed, Wanted::Passed(passed) if passed.is_tag == Some(true)));
}

#[test]
fn what_is_not_of_a_branch_or_tag_deploys_nothing() {
    for (field, value, words) in [
        (
            "source",
            json!("merge_request_event"),
            "was started by merge_request_event",
        ),
        (
            "source",
            json!("parent_pipeline"),
            "was started by parent_pipeline",
        ),
        (
            "variables",
            json!([{"key": "A", "value": "b"}, {"key": "LONGSHORE_RUN", "value": "t/run/smoke"}]),
            "is a smoke test of a deployment",
        ),
    ] {
        let mut body = succeeded();
        body["object_attributes"][field] = value;
        let found = wanted("Pipeline Hook", &body, "d").unwrap();
        assert!(
            matches!(found, Wanted::Nothing(why) if why.contains(words)),
            "{words}"
        );
    }
    let mut body = succeeded();
    body["object_attributes"]["sha"] = Value::Null;
    let error = wanted("Pipeline Hook", &body, "d").unwrap_err();
    assert_eq!(error.field.as_deref(), Some("object_attributes.sha"));
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
