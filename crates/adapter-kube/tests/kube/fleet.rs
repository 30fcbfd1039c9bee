//! What people and the cluster may do to a workload beyond the suite of the port.

use std::sync::Arc;

use domain::ErrorKind;
use ports::conformance::Scene;
use ports::{Fleet, Launch, Pace, Portion, RevisionId, RollOut, Side};
use serde_json::json;
use testkit::cluster::{Cluster, until};

use crate::site::{SIDE, Site, idem, image, meddle};

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    crate::site::scenes!(cluster,
        who_writes_something_else_at_the_same_time_is_no_hindrance
        a_wish_between_our_look_and_our_write_is_a_conflict
        what_vanishes_under_a_write_is_told
        an_undo_brings_back_all_that_belongs_to_a_version
        what_is_wrong_is_told_in_the_clusters_words
        an_autoscalers_replicas_are_nobodys_wish
        somebody_elses_deployment_in_the_candidates_place_is_left_alone
        a_candidate_that_somebody_holds_is_in_the_way_of_the_next
        another_version_takes_the_candidates_place
        both_sides_are_told_apart_by_their_pods_labels
        what_replaces_all_pods_at_once_goes_on_doing_so
    )
}

fn to(version: &str) -> RollOut {
    RollOut {
        version: image(version),
        replicas: 1,
        pace: None,
    }
}

fn one(version: &str) -> Launch {
    Launch {
        version: image(version),
        replicas: 1,
    }
}

async fn who_writes_something_else_at_the_same_time_is_no_hindrance(site: Site) {
    site.make("checkout", "v1", 1).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let (admin, path) = (site.admin().clone(), site.deployment("checkout"));
    let note = json!({ "metadata": { "annotations": { "example.com/note": "written meanwhile" } } });
    site.before_next_write(async move {
        admin.merge(&path, &note).await;
    });
    let rolled = site
        .fleet
        .roll_out(&site.at(), &to("v2"), Some(&seen), &idem())
        .await;
    let mark = rolled.expect("rolls out all the same");
    let statuses: Vec<_> = site.gate().requests().iter().filter_map(|it| it.status).collect();
    assert!(statuses.contains(&409), "it did meet the other's: {statuses:?}");
    let after = site
        .admin()
        .get(&site.deployment("checkout"))
        .await
        .expect("stands");
    assert_eq!(
        after["metadata"]["annotations"]["example.com/note"],
        "written meanwhile"
    );
    assert_eq!(
        after["spec"]["template"]["spec"]["containers"][1]["image"],
        image("v2")
    );
    let managers: Vec<_> = after["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned())
        .collect();
    for manager in ["gitops", "longshore"] {
        assert!(managers.iter().any(|it| it == manager), "{managers:?}");
    }
    assert_eq!(
        site.group("checkout", Side::Stable).await.expect("stands").mark,
        mark
    );
}

async fn a_wish_between_our_look_and_our_write_is_a_conflict(site: Site) {
    site.make("checkout", "v1", 1).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let (admin, path) = (site.admin().clone(), site.deployment("checkout"));
    site.before_next_write(async move { meddle(&admin, &path, "v3").await });
    let error = site
        .fleet
        .roll_out(&site.at(), &to("v2"), Some(&seen), &idem())
        .await;
    let error = error.expect_err("somebody wished for v3");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(
        error.to_string().contains("last written to by kubectl"),
        "{error}"
    );
    let now = site.group("checkout", Side::Stable).await.expect("stands");
    assert_eq!(now.version, image("v3"));
}

async fn what_vanishes_under_a_write_is_told(site: Site) {
    for wants in ["roll_out", "pause"] {
        site.make("checkout", "v1", 1).await;
        let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
        let (admin, path) = (site.admin().clone(), site.deployment("checkout"));
        site.before_next_write(async move { admin.delete(&path).await });
        let (error, kind) = match wants {
            "roll_out" => {
                let rolled = site
                    .fleet
                    .roll_out(&site.at(), &to("v2"), Some(&seen), &idem())
                    .await;
                (rolled, ErrorKind::Conflict)
            }
            _ => (
                site.fleet.pause(&site.at(), true, &seen, &idem()).await,
                ErrorKind::NotFound,
            ),
        };
        let error = error.expect_err("is gone");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(&site.at().name), "{error}");
        let pods = site.path("api/v1", "pods");
        until("its pods are gone too", || async {
            site.admin().list(&pods).await.is_empty()
        })
        .await;
    }
}

async fn an_undo_brings_back_all_that_belongs_to_a_version(site: Site) {
    site.make("checkout", "v1", 1).await;
    let path = site.deployment("checkout");
    let before = site.admin().get(&path).await.expect("stands")["spec"]["template"].clone();
    let change = json!({ "spec": { "template": {
        "metadata": { "annotations": { "example.com/added": "yes" } },
        "spec": { "containers": [
            { "name": "web", "image": image("v2"), "env": [{ "name": "REGION", "value": "us" }] },
            { "name": "third", "image": "third:1" },
        ] },
    } } });
    site.admin().merge_by_name(&path, &change).await;
    site.complete("checkout").await;
    let revisions = site.fleet.revisions(&site.at()).await.expect("lists");
    assert_eq!(revisions.len(), 2);
    assert!(revisions[1].at.is_some());
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    site.fleet
        .undo(&site.at(), &revisions[1].id, &seen, &idem())
        .await
        .expect("goes back");
    site.complete("checkout").await;
    let after = site.admin().get(&path).await.expect("stands")["spec"]["template"].clone();
    assert_eq!(after, before, "what was added is gone, too");
    let unknown = RevisionId("checkout-000".to_owned());
    let error = site.fleet.undo(&site.at(), &unknown, &seen, &idem()).await;
    assert_eq!(error.expect_err("was never there").kind, ErrorKind::NotFound);
}

async fn what_is_wrong_is_told_in_the_clusters_words(site: Site) {
    site.make("checkout", "v1", 1).await;
    let mut seen = None;
    for (version, restarts, said) in [
        (
            "v2-oom",
            3,
            "web: CrashLoopBackOff (it ended with OOMKilled, exit code 137): back-off 40s",
        ),
        ("v2-bad", 0, "web: ImagePullBackOff: Back-off pulling image"),
        (
            "v2-crash",
            3,
            "web: CrashLoopBackOff (it ended with Error, exit code 1): back-off 40s",
        ),
        ("v2-unready", 0, ""),
    ] {
        let mark = site
            .fleet
            .launch(&site.at(), &one(version), seen.as_ref(), &idem())
            .await;
        seen = Some(mark.expect("launches"));
        until("it has been tried", || async {
            let group = site.group("checkout", Side::Candidate).await.expect("stands");
            group.observed
                && group.updated == 1
                && group.restarts == restarts
                && (said.is_empty() || group.trouble.first().is_some_and(|first| first.contains(said)))
        })
        .await;
        let group = site.group("checkout", Side::Candidate).await.expect("stands");
        assert!(!group.is_complete() && group.ready == 0, "{group:?}");
    }
    seen = site
        .fleet
        .launch(&site.at(), &one("v3-crash"), seen.as_ref(), &idem())
        .await
        .ok();
    assert!(seen.is_some());
    until("the warning is told, too", || async {
        let group = site.group("checkout", Side::Candidate).await.expect("stands");
        let warning = "BackOff: Back-off restarting failed container";
        group
            .trouble
            .iter()
            .any(|said| said.contains(warning) && said.starts_with("Pod checkout-candidate-"))
    })
    .await;
}

async fn an_autoscalers_replicas_are_nobodys_wish(site: Site) {
    site.make("checkout", "v1", 2).await;
    let path = site.path("apis/autoscaling/v1", "horizontalpodautoscalers");
    let scaler = json!({
        "metadata": { "name": "any" },
        "spec": {
            "maxReplicas": 5,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout" },
        },
    });
    site.admin().create(&path, &scaler).await;
    let mark = || async { site.group("checkout", Side::Stable).await.expect("stands").mark };
    let scale = |replicas: u32| json!({ "spec": { "replicas": replicas } });
    let before = mark().await;
    site.admin().merge(&site.deployment("checkout"), &scale(3)).await;
    assert_eq!(mark().await, before);
    let rolled = site
        .fleet
        .roll_out(&site.at(), &to("v2"), Some(&before), &idem())
        .await;
    assert_eq!(rolled.expect("nobody wished otherwise"), mark().await);

    site.admin().delete(&format!("{path}/any")).await;
    let before = mark().await;
    site.admin().merge(&site.deployment("checkout"), &scale(1)).await;
    assert_ne!(mark().await, before, "without it replicas are somebody's wish");
    let error = site
        .fleet
        .scale(&site.at(), Side::Stable, 4, &before, &idem())
        .await;
    assert_eq!(error.expect_err("somebody scaled it").kind, ErrorKind::Conflict);
}

async fn somebody_elses_deployment_in_the_candidates_place_is_left_alone(site: Site) {
    site.make("checkout", "v1", 1).await;
    let path = site.path("apis/apps/v1", "deployments");
    let theirs = json!({
        "metadata": { "name": "checkout-candidate" },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": "theirs" } },
            "template": {
                "metadata": { "labels": { "app": "theirs" } },
                "spec": { "containers": [{ "name": "web", "image": "theirs:1" }] },
            },
        },
    });
    site.admin().create(&path, &theirs).await;
    let launched = site
        .fleet
        .launch(&site.at(), &one("v2"), None, &idem())
        .await
        .map(drop);
    let retired = site.fleet.retire(&site.at(), None, &idem()).await;
    let observed = site.fleet.observe(&site.at(), Side::Candidate).await.map(drop);
    for refused in [launched, retired, observed] {
        let error = refused.expect_err("is somebody else's");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("was made by somebody else"), "{error}");
    }
    assert_eq!(site.changes(), 0);
}

async fn a_candidate_that_somebody_holds_is_in_the_way_of_the_next(site: Site) {
    site.make("checkout", "v1", 1).await;
    let mark = site.launch("checkout", "v2").await;
    let path = site.deployment("checkout-candidate");
    let held = json!({ "metadata": { "finalizers": ["example.com/audit"] } });
    site.admin().merge(&path, &held).await;
    site.fleet
        .retire(&site.at(), Some(&mark), &idem())
        .await
        .expect("retires");
    site.fleet
        .retire(&site.at(), Some(&mark), &idem())
        .await
        .expect("again");
    assert_eq!(site.group("checkout", Side::Candidate).await, None);
    let error = site.fleet.launch(&site.at(), &one("v3"), None, &idem()).await;
    let error = error.expect_err("it is still there");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("metadata.finalizers"), "{error}");
    site.admin()
        .merge(&path, &json!({ "metadata": { "finalizers": null } }))
        .await;
    site.launch("checkout", "v3").await;
}

async fn another_version_takes_the_candidates_place(site: Site) {
    site.make("checkout", "v1", 1).await;
    let seen = site.launch("checkout", "v2").await;
    let wanted = Launch {
        replicas: 2,
        ..one("v3")
    };
    let mark = site.fleet.launch(&site.at(), &wanted, Some(&seen), &idem()).await;
    let mark = mark.expect("takes its place");
    until("it stands", || async {
        let group = site.group("checkout", Side::Candidate).await.expect("stands");
        group.is_complete() && group.wanted == 2 && group.version == image("v3") && group.mark == mark
    })
    .await;
}

async fn both_sides_are_told_apart_by_their_pods_labels(site: Site) {
    site.make("checkout", "v1", 1).await;
    site.launch("checkout", "v2").await;
    let pods = site.path("api/v1", "pods");
    for (side, version) in [("stable", "v1"), ("candidate", "v2")] {
        let found = site
            .admin()
            .list(&format!("{pods}?labelSelector={SIDE}={side}"))
            .await;
        let images: Vec<_> = found
            .iter()
            .map(|pod| pod["spec"]["containers"][1]["image"].clone())
            .collect();
        assert_eq!(images, [json!(image(version))], "{side}");
        assert_eq!(
            found[0]["metadata"]["labels"]["app"], "checkout",
            "like the other in all else"
        );
    }
    let made = site
        .admin()
        .get(&site.deployment("checkout-candidate"))
        .await
        .expect("stands");
    assert_eq!(
        made["metadata"]["labels"]["team"],
        json!(null),
        "it is nobody's but ours"
    );
    assert_eq!(made["spec"]["selector"]["matchLabels"][SIDE], "candidate");
}

async fn what_replaces_all_pods_at_once_goes_on_doing_so(site: Site) {
    site.make("checkout", "v1", 1).await;
    let path = site.deployment("checkout");
    let recreate = json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } });
    site.admin().merge(&path, &recreate).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let paced = RollOut {
        pace: Some(Pace {
            max_unavailable: Portion::Percent(25),
            max_surge: Portion::Replicas(1),
        }),
        ..to("v2")
    };
    let rolled = site
        .fleet
        .roll_out(&site.at(), &paced, Some(&seen), &idem())
        .await;
    rolled.expect("rolls out");
    site.complete("checkout").await;
    let after = site.admin().get(&path).await.expect("stands");
    assert_eq!(after["spec"]["strategy"], json!({ "type": "Recreate" }));
}
