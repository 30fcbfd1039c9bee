//! What the adapter for GitLab promises beyond the ports' suites.

use adapter_forge::gitlab_helper::{IssueFilter, IssueUpdate, IssueWanted, NewIssue, StateChange, Webhook};
use domain::{ErrorKind, RepoRef};
use futures_util::StreamExt;
use ports::conformance::forge::ChildSeed;
use ports::{Forge, Tickets};
use serde_json::json;
use testkit::gitlab::{ChildLink, FakeGitlab, LogText, Role, Scope};
use testkit::peer::{Fault, When};

use crate::{PROJECT, failed, forges, host};

#[tokio::test]
async fn nothing_is_asked_before_the_first_call() {
    let fake = FakeGitlab::start();
    let forges = forges(vec![host(&fake)]);
    assert_eq!(fake.requests(), []);
    let at = fake.open_issue(PROJECT, &[]);
    forges.ticket(&at).await.expect("reads");
    let paths: Vec<String> = fake.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/api/v4/projects/group%2Fapp/issues/1"]);
}

#[tokio::test]
async fn a_project_may_be_named_by_its_number() {
    let fake = FakeGitlab::start();
    let placed = fake.add_pipeline(PROJECT, &failed(&["test"]));
    let number = fake.with(|world| world.project(PROJECT)).to_string();
    let repo = RepoRef {
        project: number,
        ..placed.repo
    };
    let jobs = forges(vec![host(&fake)])
        .failed_jobs(&repo, placed.pipeline)
        .await
        .expect("reads");
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_huge_log_flows_through_little_memory() {
    let fake = FakeGitlab::start();
    let placed = fake.add_pipeline(PROJECT, &failed(&["loud"]));
    let piece = vec![b'x'; 64 << 10];
    let times = 3200;
    fake.with(|world| {
        let build = world.builds.get_mut(&placed.jobs[0].id).expect("the job");
        build.log = LogText::Repeated { piece, times };
    });
    let before = resident_mib();
    let mut log = forges(vec![host(&fake)])
        .log(&placed.jobs[0])
        .await
        .expect("opens");
    let (mut read, mut most) = (0_u64, before);
    let mut pieces = 0_u64;
    while let Some(piece) = log.next().await {
        read += piece.expect("reads").len() as u64;
        pieces += 1;
        if pieces.is_multiple_of(500) {
            most = most.max(resident_mib());
        }
    }
    assert_eq!(read, 200 << 20);
    assert!(most - before < 40, "grew by {} MiB", most - before);
}

/// This process's resident memory.
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    (pages * 4096) >> 20
}

#[tokio::test]
async fn a_log_that_breaks_off_is_an_error_and_no_short_log() {
    let fake = FakeGitlab::start();
    let mut seed = failed(&["test"]);
    seed.jobs[0].log = vec![b'x'; 300_000];
    let placed = fake.add_pipeline(PROJECT, &seed);
    fake.fault(&When::on("GET", "/trace"), &Fault::CutBody(100_000));
    let mut log = forges(vec![host(&fake)])
        .log(&placed.jobs[0])
        .await
        .expect("opens");
    let mut last = None;
    while let Some(piece) = log.next().await {
        last = Some(piece);
    }
    let error = last.expect("something came").expect_err("the cut shows");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains(&format!("job {}", placed.jobs[0].id)),
        "{error}"
    );
}

#[tokio::test]
async fn a_trigger_job_that_started_no_pipeline_is_told_when_nothing_else_failed() {
    let fake = FakeGitlab::start();
    let forges = forges(vec![host(&fake)]);
    for (names, found) in [(vec!["test"], 1), (vec![], 0)] {
        let placed = fake.add_pipeline(PROJECT, &failed(&names));
        fake.with(|world| {
            let pipeline = world.pipelines.get_mut(&placed.pipeline).expect("the pipeline");
            pipeline.children.push(ChildLink {
                id: 9001,
                name: "deploy elsewhere".to_owned(),
                status: "failed".to_owned(),
                pipeline: None,
            });
        });
        match forges.failed_jobs(&placed.repo, placed.pipeline).await {
            Ok(jobs) => assert_eq!(jobs.len(), found, "a job with a log comes first"),
            Err(error) => {
                assert_eq!((found, error.kind), (0, ErrorKind::Rejected), "{error}");
                let told = error.to_string();
                assert!(told.contains("`deploy elsewhere`"), "{told}");
                assert!(told.contains("downstream_pipeline_creation_failed"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn a_downstream_project_that_we_may_not_see_hides_nothing_else() {
    let fake = FakeGitlab::start();
    let forges = forges(vec![host(&fake)]);
    for (names, found) in [(vec!["test"], 1), (vec![], 0)] {
        let mut seed = failed(&names);
        seed.children.push(ChildSeed {
            pipeline: failed(&["hidden"]),
            in_another_project: true,
            points_back: false,
        });
        let placed = fake.add_pipeline(PROJECT, &seed);
        let below = fake.with(|world| world.project("group/downstream"));
        fake.fault(
            &When::on("GET", &format!("/projects/{below}/")),
            &Fault::Status(404),
        );
        match forges.failed_jobs(&placed.repo, placed.pipeline).await {
            Ok(jobs) => assert_eq!(jobs.len(), found),
            Err(error) => assert_eq!((found, error.kind), (0, ErrorKind::NotFound), "{error}"),
        }
    }
}

#[tokio::test]
async fn the_webhook_is_made_once_and_put_right_after() {
    let fake = FakeGitlab::start();
    let repo = fake.repo(PROJECT);
    fake.with(|world| world.limit_token(Scope::Api, Role::Maintainer));
    let helper = forges(vec![host(&fake)]).gitlab(&repo).expect("a GitLab project");
    let wanted = Webhook {
        url: "https://longshore.example/webhook/gitlab"
            .parse()
            .expect("an address"),
        secret: None,
    };
    let plan = helper.webhook_ensure(&wanted, true).await.expect("plans");
    assert_eq!(
        (plan["action"].as_str(), plan["dry_run"].as_bool()),
        (Some("created"), Some(true))
    );
    assert_eq!(fake.with(|world| world.hooks.len()), 0, "a plan changes nothing");

    let made = helper.webhook_ensure(&wanted, false).await.expect("makes");
    assert_eq!(made["action"], "created");
    let again = helper.webhook_ensure(&wanted, false).await.expect("looks");
    assert_eq!(again["action"], "unchanged");

    fake.with(|world| {
        world.hooks[0].events.insert("pipeline_events".to_owned(), false);
        world.hooks[0].events.insert("job_events".to_owned(), true);
    });
    let righted = helper.webhook_ensure(&wanted, false).await.expect("puts right");
    assert_eq!(righted["action"], "updated");
    let secret = Webhook {
        secret: Some("hook-secret-123".into()),
        ..wanted
    };
    let plan = helper.webhook_ensure(&secret, true).await.expect("plans");
    assert!(!plan.to_string().contains("hook-secret-123"), "{plan}");
    helper
        .webhook_ensure(&secret, false)
        .await
        .expect("sets the secret");
    fake.with(|world| {
        assert_eq!(world.hooks.len(), 1);
        let hook = &world.hooks[0];
        assert_eq!(hook.token.as_deref(), Some("hook-secret-123"));
        assert!(
            hook.events["pipeline_events"] && hook.events["job_events"],
            "others' choices stay"
        );
        assert!(!hook.events["push_events"]);
    });
}

#[tokio::test]
async fn the_helper_does_what_its_commands_say() {
    let fake = FakeGitlab::start();
    let repo = fake.repo(PROJECT);
    let helper = forges(vec![host(&fake)]).gitlab(&repo).expect("a GitLab project");
    let new = NewIssue {
        title: "Staging is down".to_owned(),
        description: "Since noon".to_owned(),
        labels: vec!["incident".to_owned(), "env::staging".to_owned()],
    };
    let plan = helper.issue_create(&new, true).await.expect("plans");
    assert_eq!(
        plan,
        json!({
            "dry_run": true,
            "request": {
                "method": "POST",
                "url": format!("{}/api/v4/projects/group%2Fapp/issues", fake.url()),
                "body": {
                    "title": "Staging is down",
                    "description": "Since noon",
                    "labels": "incident,env::staging",
                },
            },
        })
    );
    let issue = helper.issue_create(&new, false).await.expect("opens");
    let iid = issue["iid"].as_u64().expect("a number");

    let change = IssueUpdate {
        add_labels: vec!["done".to_owned()],
        remove_labels: vec!["incident".to_owned()],
        state: Some(StateChange::Close),
        ..IssueUpdate::default()
    };
    let plan = helper.issue_update(iid, &change, true).await.expect("plans");
    assert_eq!(plan["request"]["method"], "PUT");
    assert_eq!(
        helper.issue_get(iid).await.expect("reads")["state"],
        "opened",
        "a plan changes nothing"
    );
    helper.issue_update(iid, &change, false).await.expect("changes");
    let closed = helper.issue_get(iid).await.expect("reads");
    assert_eq!(closed["state"], "closed");
    assert_eq!(closed["labels"], json!(["env::staging", "done"]));
    let nothing = helper.issue_update(iid, &IssueUpdate::default(), false).await;
    assert_eq!(nothing.expect_err("nothing to do").kind, ErrorKind::Invalid);

    let note = helper
        .issue_comment(iid, "Back again", false)
        .await
        .expect("writes");
    assert_eq!(note["body"], "Back again");
    helper
        .issue_comment(iid, "Only a plan", true)
        .await
        .expect("plans");
    assert_eq!(fake.with(|world| world.notes.len()), 1);

    for number in 0..30 {
        let new = NewIssue {
            title: format!("Number {number}"),
            ..NewIssue::default()
        };
        helper.issue_create(&new, false).await.expect("opens");
    }
    let filter = IssueFilter {
        state: Some(IssueWanted::Opened),
        search: Some("number".to_owned()),
        page: Some(2),
        per_page: Some(20),
        ..IssueFilter::default()
    };
    let page = helper.issue_list(&filter).await.expect("lists");
    assert_eq!(page.as_array().map(Vec::len), Some(10));
    let labelled = IssueFilter {
        labels: vec!["done".to_owned()],
        ..IssueFilter::default()
    };
    let found = helper.issue_list(&labelled).await.expect("lists");
    assert_eq!(found.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_note_on_a_project_that_is_known_by_number_has_its_link_too() {
    let fake = FakeGitlab::start();
    let mut at = fake.open_issue(PROJECT, &[]);
    let forges = forges(vec![host(&fake)]);
    let by_path = forges.create_note(&at, "one").await.expect("written");
    at.repo.project = fake.with(|world| world.project(PROJECT)).to_string();
    let by_number = forges.create_note(&at, "two").await.expect("written");
    let without_note =
        |url: Option<String>| url.expect("a link").split_once('#').expect("a note").0.to_owned();
    assert_eq!(without_note(by_number.url), without_note(by_path.url));
    let asked = |fake: &FakeGitlab| {
        fake.requests()
            .iter()
            .filter(|request| request.method == "GET")
            .count()
    };
    let before = asked(&fake);
    forges.create_note(&at, "three").await.expect("written");
    assert_eq!(asked(&fake), before, "looked up once");
}
