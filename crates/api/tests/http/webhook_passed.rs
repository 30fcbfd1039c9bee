//! Pipelines that passed, and the deployments that the branch map of their repository asks for.

use serde_json::{Value, json};

use crate::served::Served;
use crate::{webhook, webhook_github};

const SHA: &str = "bcbb5ec396a2c0f828686f14fac9b80b780504f2";

async fn repo(served: &Served, provider: &str, project: &str, environments: &Value) {
    let settings = json!({ "environments": environments });
    let insert = format!(
        "INSERT INTO repos (id, name, provider, gitlab_project_id, settings) VALUES ('r1', 'shop', '{provider}', '{project}', '{settings}')"
    );
    served.database.sql(&insert).await;
}

fn map() -> Value {
    json!({
        "development": {"from": {"branches": ["feature/*", "main"]}},
        "staging": {"from": {"branches": ["main"], "version": "registry.example/shop:${short_sha}"}},
        "production": {"from": {"tags": ["v*"]}},
    })
}

fn passed(git_ref: &str, is_tag: bool, pipeline: u64) -> Value {
    let mut body = webhook::failed_pipeline();
    let attributes = &mut body["object_attributes"];
    attributes["status"] = "success".into();
    attributes["sha"] = SHA.into();
    attributes["source"] = "push".into();
    attributes["ref"] = git_ref.into();
    attributes["tag"] = is_tag.into();
    attributes["id"] = pipeline.into();
    body
}

async fn deliver(served: &Served, body: &Value) -> (u16, Value) {
    webhook::deliver(served, "Pipeline Hook", "u", "hook-secret", body).await
}

async fn deployments(served: &Served) -> Vec<Vec<String>> {
    let rows = served
        .database
        .sql(
            "SELECT task_type, repo_id, status, assigned_to, created_by, payload->>'environment', payload->>'version',
                    payload->>'commit', coalesce(payload->>'ref', 'tag ' || (payload->>'tag'))
               FROM tasks ORDER BY payload->>'environment'",
        )
        .await;
    rows.into_iter()
        .map(|row| row.into_iter().map(Option::unwrap_or_default).collect())
        .collect()
}

#[tokio::test]
async fn a_passed_pipeline_deploys_its_commit_to_each_environment_of_its_branch_once() {
    let served = Served::new().await;
    repo(&served, "gitlab", "g/t", &map()).await;
    let (status, made) = deliver(&served, &passed("main", false, 31)).await;
    assert_eq!(
        (status, made["status"].as_str()),
        (201, Some("created")),
        "{made}"
    );
    let tasks = made["deployments"].as_array().expect("the deployments");
    assert_eq!((tasks.len(), &made["task_id"]), (2, &tasks[0]));
    let common = ["deploy", "r1", "pending", "devops", "gitlab-webhook"];
    let of = |environment: &str, version: &str| {
        let own = [environment, version, SHA, "main"];
        common
            .iter()
            .chain(&own)
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        of("development", SHA),
        of("staging", "registry.example/shop:bcbb5ec3"),
    ];
    assert_eq!(deployments(&served).await, expected);
    // The same event, and another pipeline of the same commit after all is over.
    served.database.sql("UPDATE tasks SET status = 'completed'").await;
    for pipeline in [31, 32] {
        let (status, known) = deliver(&served, &passed("main", false, pipeline)).await;
        assert_eq!(
            (status, known["status"].as_str()),
            (200, Some("known")),
            "{known}"
        );
        assert_eq!(known["deployments"], made["deployments"]);
    }
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 2);
}

#[tokio::test]
async fn a_tag_goes_to_production_and_a_branch_of_its_name_does_not() {
    let served = Served::new().await;
    repo(&served, "gitlab", "g/t", &map()).await;
    let (status, ignored) = deliver(&served, &passed("v1.4.2", false, 31)).await;
    assert_eq!(
        (status, ignored["status"].as_str()),
        (200, Some("ignored")),
        "{ignored}"
    );
    assert_eq!(
        ignored["reason"],
        "the pipeline passed, and no environment of shop takes v1.4.2 by itself"
    );
    let (status, made) = deliver(&served, &passed("v1.4.2", true, 32)).await;
    assert_eq!(status, 201, "{made}");
    let made = deployments(&served).await;
    assert_eq!(made[0][5..], ["production", "v1.4.2", SHA, "tag v1.4.2"]);
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_named_and_stop_no_other_environment() {
    let served = Served::new().await;
    let map = json!({
        "development": {"from": {"branch": "main"}},
        "staging": {"from": {"branches": ["main"]}},
    });
    repo(&served, "gitlab", "g/t", &map).await;
    let (status, made) = deliver(&served, &passed("main", false, 31)).await;
    assert_eq!((status, deployments(&served).await.len()), (201, 1));
    let next = made["next"].as_str().expect("a hint");
    assert!(
        next.contains("settings.environments.development") && next.contains("`branch`"),
        "{next}"
    );
}

#[tokio::test]
async fn a_project_that_nobody_registered_is_deployed_nowhere_and_the_answer_says_how_to() {
    let served = Served::new().await;
    let (status, answer) = deliver(&served, &passed("main", false, 31)).await;
    assert_eq!(
        (status, answer["status"].as_str()),
        (200, Some("ignored")),
        "{answer}"
    );
    assert!(
        answer["next"]
            .as_str()
            .expect("a hint")
            .contains("repos add --project g/t")
    );
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 1);
}

#[tokio::test]
async fn the_runs_of_the_other_forge_deploy_as_well_and_its_tags_are_to_be_made_sure_of() {
    let served = Served::new().await;
    let mut map = map();
    map["staging"]["from"]["workflow"] = "Build".into();
    map["development"]["from"]["workflow"] = "Lint".into();
    repo(&served, "github", "octo-org/octo-repo", &map).await;
    let mut body = webhook_github::failed_run();
    body["workflow_run"]["conclusion"] = "success".into();
    body["workflow_run"]["head_sha"] = SHA.into();
    let (status, made) = webhook_github::deliver(&served, "workflow_run", &body).await;
    assert_eq!(
        (status, made["status"].as_str()),
        (201, Some("created")),
        "{made}"
    );
    assert_eq!(deployments(&served).await[0][4..6], ["github-webhook", "staging"]);
    body["workflow_run"]["id"] = 5.into();
    assert_eq!(
        webhook_github::deliver(&served, "workflow_run", &body).await.0,
        200
    );
    body["workflow_run"]["head_branch"] = "v1.4.2".into();
    assert_eq!(
        webhook_github::deliver(&served, "workflow_run", &body).await.0,
        201
    );
    let made = deployments(&served).await;
    assert_eq!(made.len(), 2);
    assert_eq!(made[0][5..], ["production", "v1.4.2", SHA, "tag v1.4.2"]);
}
