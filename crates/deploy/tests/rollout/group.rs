//! `deploy` with the strategy `group`: several services in one task, in order, all or none.

use domain::{Autonomy, Repo, RepoRef, RepoStatus, TaskStatus, Verdict};
use ports::fake::{Answer, FleetEffect};
use ports::{DeploymentOutcome, RecordStatus, Side};
use serde_json::{Value, json};

use crate::bench::{Bench, at_workload, end, hold, task};

/// The settings of a service that runs v1 with two replicas.
pub fn service(name: &str) -> Value {
    json!({
        "target": "cluster", "workload": format!("shop/{name}"),
        "health": [{"name": "health", "url": health(name)}],
        "freeze": {"windows": []}, "approval": {"required": false},
    })
}

pub fn health(name: &str) -> String {
    format!("http://{name}.example/health")
}

pub fn add(bench: &Bench, name: &str) {
    let versions = ["v0", "v1"];
    bench
        .fleet
        .add_running(&at_workload(&format!("shop/{name}")), &versions, 2);
    bench.probe.set(&health(name), Answer::Says(200, "ok".to_owned()));
}

/// A shop of three services, each an environment of its own.
pub fn shop() -> Bench {
    let mut bench = Bench::new();
    for name in ["api", "db", "web"] {
        bench.settings["environments"][name] = service(name);
        add(&bench, name);
    }
    bench
}

/// The database first, then what uses it, then what users see.
pub fn all() -> Value {
    json!({"strategy": "group", "services": {
        "web": {"version": "v0", "after": ["api"]},
        "api": {"version": "v3", "after": ["db"]},
        "db": "v2",
    }})
}

fn stands(bench: &Bench, name: &str) -> String {
    let at = at_workload(&format!("shop/{name}"));
    let stands = bench.fleet.stands(&at, Side::Stable);
    stands.map_or_else(|| "nothing".to_owned(), |(version, _)| version)
}

fn all_stand(bench: &Bench) -> [String; 3] {
    ["db", "api", "web"].map(|name| stands(bench, name))
}

fn rolled(version: &str) -> FleetEffect {
    FleetEffect::RolledOut(version.to_owned())
}

fn undone(version: &str) -> FleetEffect {
    FleetEffect::Undone(version.to_owned())
}

#[tokio::test]
async fn services_go_out_in_the_order_in_which_they_need_each_other() {
    let bench = shop();
    let (status, report) = bench.deploy(all()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert_eq!(bench.fleet.effects(), [rolled("v2"), rolled("v3"), rolled("v0")]);
    assert_eq!(all_stand(&bench), ["v2", "v3", "v0"]);
    let log = bench.log.all();
    let ids: Vec<_> = log.iter().map(|known| known.what.id.as_str()).collect();
    assert_eq!(ids, ["task-0001/db", "task-0001/api", "task-0001/web"]);
    assert!(
        log.iter()
            .all(|known| known.outcome == Some(DeploymentOutcome::Succeeded)),
        "{log:#?}"
    );
    assert_eq!(bench.environments.records().len(), 3);
    for name in ["api", "db", "web"] {
        let lock = format!("deploy:shop/{name}");
        assert!(bench.world().queue_of(&lock).is_empty());
    }
    insta::assert_json_snapshot!("group_report", report);
}

#[tokio::test]
async fn if_one_fails_those_before_it_are_taken_back_last_first() {
    let bench = shop();
    bench.answers_with(&health("api"), "shop/api", "v3", Answer::Refuses);
    let (status, report) = bench.deploy(all()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack),
        "{report:#?}"
    );
    assert_eq!(
        bench.fleet.effects(),
        [rolled("v2"), rolled("v3"), undone("v1"), undone("v1")]
    );
    assert_eq!(all_stand(&bench), ["v1", "v1", "v1"]);
    let log = bench.log.all();
    let ended: Vec<_> = log
        .iter()
        .map(|known| (known.outcome, known.started_at.is_some(), known.failures.len()))
        .collect();
    let cancelled = Some(DeploymentOutcome::Cancelled);
    assert_eq!(
        ended,
        [
            (cancelled, true, 0),
            (Some(DeploymentOutcome::RolledBack), true, 1),
            (cancelled, false, 0)
        ],
        "one is blamed, and the last was never begun"
    );
    assert!(log[1].failures[0].recovered_at.is_some());
    assert_eq!(
        log[0].cause.as_deref(),
        Some("the group's api: the health check failed: health: connection refused")
    );
    let canceled = |at: usize| bench.environments.records()[at].2.last().copied();
    assert_eq!(
        [canceled(0), canceled(1), canceled(2)].map(|status| status.expect("a record")),
        [
            RecordStatus::Canceled,
            RecordStatus::Failed,
            RecordStatus::Canceled
        ]
    );
    insta::assert_json_snapshot!("group_taken_back_report", report);
}

#[tokio::test]
async fn a_dry_run_tells_all_plans_in_order_and_touches_nothing() {
    let bench = shop();
    let mut payload = all();
    payload["dry_run"] = json!(true);
    let (status, report) = bench.deploy(payload.clone()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded)
    );
    assert_eq!((bench.fleet.effects(), bench.log.all()), (vec![], vec![]));
    assert_eq!(report.data["order"], json!(["db", "api", "web"]));
    assert_eq!(report.data["services"]["api"]["from"], "v1");
    assert_eq!(report.evidence.len(), 3);
    let hash = report.data["hash"].clone();
    insta::assert_json_snapshot!("group_plan", report);
    let again = bench.deploy(payload.clone()).await.1;
    assert_eq!(again.data["hash"], hash);
    bench.fleet.meddle(&at_workload("shop/web"), Side::Stable, "v2");
    let moved = bench.deploy(payload).await.1;
    assert_ne!(moved.data["hash"], hash, "what stands at one is part of it");
}

#[tokio::test]
async fn one_person_approves_all_of_it_and_nothing_is_held_meanwhile() {
    let mut bench = shop();
    let approval = |names: &[&str]| json!({"required": true, "approvers": names});
    bench.settings["environments"]["api"]["approval"] = approval(&["grace", "ada"]);
    bench.settings["environments"]["web"]["approval"] = approval(&["ada", "eve"]);
    let id = bench.enqueue("deploy", all());
    bench.settle().await;
    let asked = bench.waits_for(&id);
    assert!(
        asked[0].starts_with("approval/plan ") && asked[0].ends_with(" (db v2, api v3, web v0)"),
        "{asked:?}"
    );
    assert_eq!(bench.world().told(&id)[0].who.as_deref(), Some("ada"));
    for name in ["api", "db", "web"] {
        assert!(bench.world().queue_of(&format!("deploy:shop/{name}")).is_empty());
    }
    // What one of them stands on changes: it is another plan.
    bench.fleet.meddle(&at_workload("shop/db"), Side::Stable, "v0");
    bench.answer(&id, "approved").await;
    let anew = bench.waits_for(&id);
    assert!(anew != asked && !anew.is_empty(), "{anew:?}");
    assert_eq!(bench.fleet.effects(), []);
    bench.answer(&id, "approved").await;
    assert_eq!(bench.report(&id).0, TaskStatus::Completed);
    assert_eq!(all_stand(&bench), ["v2", "v3", "v0"]);

    let mut bench = shop();
    bench.settings["environments"]["api"]["approval"] = approval(&["grace"]);
    bench.settings["environments"]["web"]["approval"] = approval(&["eve"]);
    let (status, report) = bench.deploy(all()).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("nobody may approve the whole group"),
        "{}",
        report.summary
    );
    assert_eq!(bench.fleet.effects(), []);
}

#[tokio::test]
async fn groups_and_single_deployments_wait_for_each_other_in_one_order() {
    let bench = shop();
    let [api, db] = ["deploy:shop/api", "deploy:shop/db"];
    let holder = bench.world().enqueue(task("another", json!({})));
    hold(&bench.world(), &holder, db).await;
    let group = |services: Value| json!({"strategy": "group", "services": services});
    let one = bench.enqueue(
        "deploy",
        group(json!({"db": "v2", "api": {"version": "v2", "after": "db"}})),
    );
    let two = bench.enqueue(
        "deploy",
        group(json!({"api": "v3", "db": {"version": "v3", "after": "api"}})),
    );
    let single = bench.enqueue("deploy", json!({"version": "v0", "environment": "api"}));
    while bench.turn().await {}
    let queue = |lock| bench.world().queue_of(lock);
    assert_eq!(queue(api), [one.clone(), two.clone(), single.clone()]);
    assert_eq!(queue(db), [holder.clone(), one.clone()]);
    end(&bench.world(), &holder);
    bench.settle().await;
    for id in [&one, &two, &single] {
        assert_eq!(bench.report(id).0, TaskStatus::Completed);
    }
    assert_eq!(all_stand(&bench), ["v3", "v0", "v1"]);
}

/// A group that waits for a person in its last service.
fn waiting() -> Value {
    let mut payload = all();
    payload["services"]["web"]["strategy"] =
        json!({"name": "canary", "steps": [{"set_weight": 50}, {"pause": {}}]});
    payload
}

#[tokio::test]
async fn a_rollback_of_one_service_takes_the_whole_group_back() {
    let bench = shop();
    let id = bench.enqueue("deploy", waiting());
    bench.settle().await;
    assert_eq!(bench.waits_for(&id), ["approval/go on (web, step 3)"]);
    assert_eq!(all_stand(&bench), ["v2", "v3", "v1"]);
    let back = bench.enqueue("rollback", json!({"environment": "db"}));
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled),
        "{report:#?}"
    );
    assert_eq!(bench.report(&back).0, TaskStatus::Completed);
    assert_eq!(all_stand(&bench), ["v1", "v1", "v1"]);
    assert_eq!(
        bench.fleet.stands(&at_workload("shop/web"), Side::Candidate),
        None
    );
    let effects = bench.fleet.effects();
    assert_eq!(effects[effects.len() - 2..], [undone("v1"), undone("v1")]);
}

#[tokio::test]
async fn a_newer_deployment_of_one_service_supersedes_the_whole_group() {
    let mut bench = shop();
    bench.settings["environments"]["db"]["when_newer"] = json!("supersede");
    let id = bench.enqueue("deploy", waiting());
    bench.settle().await;
    let newer = bench.enqueue("deploy", json!({"version": "v3", "environment": "db"}));
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack),
        "{report:#?}"
    );
    assert!(
        report
            .summary
            .contains(&format!("superseded by the deployment of v3 (task {newer})")),
        "{}",
        report.summary
    );
    assert_eq!(bench.report(&newer).0, TaskStatus::Completed);
    assert_eq!(all_stand(&bench), ["v3", "v1", "v1"]);
    let superseded = |known: &ports::Deployment| known.outcome == Some(DeploymentOutcome::Superseded);
    let log = bench.log.all();
    assert!(log[..3].iter().all(superseded), "{log:#?}");
    assert!(log.iter().all(|known| known.failures.is_empty()));
}

#[tokio::test]
async fn what_a_person_leaves_as_it_is_keeps_what_it_needs() {
    let bench = shop();
    let mut payload = all();
    payload["services"]["api"] = json!({"version": "v3", "after": ["db"],
        "strategy": {"name": "canary", "steps": [{"set_weight": 50}, {"pause": {}}]}});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    assert_eq!(bench.waits_for(&id).len(), 1);
    bench.fleet.meddle(&at_workload("shop/api"), Side::Stable, "v0");
    bench.answer(&id, "approved").await;
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::Failed),
        "{report:#?}"
    );
    assert!(
        report.summary.contains("was left so while api"),
        "{}",
        report.summary
    );
    assert_eq!(all_stand(&bench), ["v2", "v0", "v1"], "its database is left too");
    assert!(
        bench
            .log
            .all()
            .iter()
            .all(|known| known.outcome.is_some() && known.ended_at.is_some())
    );
}

#[tokio::test]
async fn services_of_other_repositories_are_described_there() {
    let bench = shop();
    let at = RepoRef {
        provider: "fake".to_owned(),
        url: String::new(),
        project: "group/pay".to_owned(),
    };
    let pay = |status| Repo {
        id: "pay-id".to_owned(),
        name: "Payments".to_owned(),
        slug: Some("pay".to_owned()),
        at: at.clone(),
        default_branch: "main".to_owned(),
        autonomy_mode: Autonomy::Full,
        settings: json!({"environments": {"production": service("pay")}}),
        status,
    };
    bench.repos.put(pay(RepoStatus::Active));
    add(&bench, "pay");
    let payload = json!({"strategy": "group", "environment": "production", "version": "v3", "services": {
        "api": {"environment": "api", "after": ["pay"]}, "pay": {"repo": "pay"}}});
    let (status, report) = bench.deploy(payload.clone()).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
    assert_eq!(
        (stands(&bench, "pay"), stands(&bench, "api")),
        ("v3".to_owned(), "v3".to_owned())
    );
    let log = bench.log.all();
    assert_eq!(
        (log[0].what.repo_id.as_str(), log[0].what.environment.as_str()),
        ("pay-id", "production")
    );

    // What each asks has a name of its own, wherever it goes.
    let asks = json!({"name": "canary", "steps": [{"set_weight": 50}, {"pause": {}}]});
    let two = json!({"strategy": "group", "environment": "production", "version": "v2", "services": {
        "api": {"environment": "api", "strategy": asks, "after": ["pay"]},
        "pay": {"repo": "pay", "strategy": asks}}});
    let id = bench.enqueue("deploy", two);
    bench.settle().await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/go on (pay in production, step 3)"]
    );
    bench.answer(&id, "approved").await;
    assert_eq!(bench.waits_for(&id), ["approval/go on (api, step 3)"]);
    bench.answer(&id, "approved").await;
    assert_eq!(bench.report(&id).0, TaskStatus::Completed);

    bench.repos.put(pay(RepoStatus::Paused));
    let (status, report) = bench.deploy(payload).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("the repository Payments is paused"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn what_cannot_be_is_told_before_anything_is_touched() {
    for (services, words) in [
        (
            json!({"api": {"version": "v2", "after": ["db"]}, "db": {"version": "v2", "after": ["api"]}}),
            "in a circle: api after db after api",
        ),
        (
            json!({"api": {"version": "v2", "after": ["dbb"]}, "db": "v2"}),
            "did you mean \"db\"?",
        ),
        (
            json!({"api": {"version": "v2", "afer": ["db"]}, "db": "v2"}),
            "did you mean \"after\"?",
        ),
        (
            json!({"db": "v2", "apj": "v2"}),
            "payload.services.apj: shop has no environment \"apj\"; did you mean \"api\"?",
        ),
        (json!({"db": "v2", "api": "v9"}), "there is no version v9"),
        (
            json!({"db": "v2", "api": {"version": "v2", "repo": "pays"}}),
            "to which environment",
        ),
        (
            json!({"db": "v2", "api": {"version": "v2", "repo": "pays", "environment": "staging"}}),
            "there is no repository \"pays\"",
        ),
        (
            json!({"db": "v2", "api": {"version": "v2", "environment": "db"}}),
            "payload.services.api and payload.services.db are both db of shop",
        ),
    ] {
        let bench = shop();
        let (status, report) = bench
            .deploy(json!({"strategy": "group", "services": services}))
            .await;
        assert_eq!(status, TaskStatus::Failed, "{report:#?}");
        let said = format!("{} {}", report.summary, report.next_steps.join(" "));
        assert!(said.contains(words), "{said}");
        assert_eq!(bench.fleet.effects(), [], "{said}");
        assert!(bench.log.all().is_empty(), "{said}");
    }
    let bench = shop();
    bench.fleet.break_side(&at_workload("shop/web"), Side::Stable);
    let mut payload = all();
    payload["services"]["web"]["strategy"] = json!("canary");
    let (status, report) = bench.deploy(payload).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("nothing was touched: the group's web"),
        "the last one's plan is made before the first one is touched: {}",
        report.summary
    );
    assert_eq!(bench.fleet.effects(), []);
}
