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
        Wanted::Passed(passed) => panic!("no task: {passed:?}"),
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
    // Its event is a pull request's.
    assert!(nothing("workflow_run", "/workflow_run/conclusion", "success"));
    for conclusion in ["cancelled", "skipped", "neutral", "stale", "action_required"] {
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
fn a_run_that_passed_is_read_and_a_forks_is_not() {
    let mut body = failed();
    body["workflow_run"]["conclusion"] = "success".into();
    body["workflow_run"]["event"] = "push".into();
    let Wanted::Passed(passed) = wanted("workflow_run", &body, "d").unwrap() else {
        panic!("nothing");
    };
    assert_eq!((passed.git_ref.as_str(), passed.is_tag), ("fix", None));
    assert_eq!(
        (passed.pipeline, passed.workflow.as_deref()),
        (30433642, Some("Build"))
    );
    assert_eq!(passed.sha, "acb5820ced9479c074f688cc328bf03f341a511d");
    body["workflow_run"]["head_repository"] = json!({"id": 5});
    let found = wanted("workflow_run", &body, "d").unwrap();
    assert!(matches!(found, Wanted::Nothing(why) if why.contains("another repository")));
    for event in [
        "pull_request",
        "pull_request_target",
        "workflow_dispatch",
        "issue_comment",
    ] {
        body["workflow_run"]["event"] = event.into();
        let found = wanted("workflow_run", &body, "d").unwrap();
        assert!(
            matches!(found, Wanted::Nothing(why) if why.contains(event)),
            "{event}"
        );
    }
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
