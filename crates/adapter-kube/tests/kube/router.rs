//! What people and the cluster may do to a route beyond the suite of the port.

use std::sync::Arc;

use adapter_kube::{Connection, KubeConfig, KubeRouter};
use domain::ErrorKind;
use ports::conformance::Scene;
use ports::{Fleet, Granularity, Mark, Share, TrafficRouter};
use serde_json::json;
use testkit::cluster::Cluster;

use crate::routes::Kind;
use crate::site::{SIDE, Site, idem};

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    crate::site::scenes!(cluster,
        a_service_that_sends_to_the_wrong_side_is_refused
        nobody_is_sent_to_where_nobody_is
        a_candidate_that_a_route_does_not_know_gets_nothing
        who_writes_something_else_at_the_same_time_is_no_hindrance
        what_vanishes_under_a_write_is_told
        replicas_part_what_sends_to_both_sides
        what_the_cluster_does_not_know_is_not_found
    )
}

async fn a_service_that_sends_to_the_wrong_side_is_refused(site: Site) {
    Kind::HttpRoute.set_up(&site).await;
    let both = json!({ "spec": { "selector": { SIDE: null } } });
    let services = site.path("api/v1", "services");
    site.admin().merge(&format!("{services}/checkout"), &both).await;
    let at = Kind::HttpRoute.at(&site, "checkout");
    let read = site.router.read(&at).await.map(drop);
    let asked = site.router.granularity(&at).await.map(drop);
    let switched = site
        .router
        .read(&Kind::Service.at(&site, "checkout"))
        .await
        .map(drop);
    for refused in [read, asked, switched] {
        let error = refused.expect_err("its share would be a lie");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("longshore/side=stable"), "{error}");
    }
    let wrong = json!({ "spec": { "selector": { SIDE: "candidate" } } });
    site.admin().merge(&format!("{services}/checkout"), &wrong).await;
    let error = site.router.read(&at).await.expect_err("is the wrong side");
    assert!(
        error.to_string().contains("sends to the side candidate alone"),
        "{error}"
    );
}

async fn nobody_is_sent_to_where_nobody_is(site: Site) {
    Kind::Service.set_up(&site).await;
    site.fleet
        .scale(
            &site.at(),
            ports::Side::Candidate,
            0,
            &site
                .group("checkout", ports::Side::Candidate)
                .await
                .expect("stands")
                .mark,
            &idem(),
        )
        .await
        .expect("scales");
    let at = Kind::Service.at(&site, "checkout");
    let seen = site.router.read(&at).await.expect("reads").mark;
    testkit::cluster::until("its pods are gone", || async {
        let refused = site.router.set(&at, 100, &seen, &idem()).await.map(drop);
        // Until the last pod is gone there is somebody.
        if refused.is_ok() {
            let back = site.router.read(&at).await.expect("reads").mark;
            site.router.set(&at, 0, &back, &idem()).await.expect("sets");
        }
        refused.is_err_and(|error| {
            error.kind == ErrorKind::Unavailable
                && error.to_string().contains("no pod of the candidate is ready")
        })
    })
    .await;
    assert_eq!(
        site.router.read(&at).await.expect("reads").candidate.percent(),
        0.0
    );
}

async fn a_candidate_that_a_route_does_not_know_gets_nothing(site: Site) {
    Kind::Ingress.set_up(&site).await;
    site.admin().delete(&Kind::Ingress.path(&site)).await;
    let at = Kind::Ingress.at(&site, "checkout");
    let read = site.router.read(&at).await.expect("reads");
    assert_eq!(read.candidate.percent(), 0.0);
    assert_eq!(
        site.router.set(&at, 0, &read.mark, &idem()).await,
        Ok(read.clone())
    );
    let error = site
        .router
        .set(&at, 10, &read.mark, &idem())
        .await
        .expect_err("is unknown");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(
        error
            .to_string()
            .contains("nginx.ingress.kubernetes.io/canary: \"true\""),
        "{error}"
    );
    assert!(error.to_string().contains("checkout-candidate"), "{error}");
}

async fn who_writes_something_else_at_the_same_time_is_no_hindrance(site: Site) {
    Kind::Ingress.set_up(&site).await;
    let at = Kind::Ingress.at(&site, "checkout");
    let seen = site.router.read(&at).await.expect("reads").mark;
    let (admin, path) = (site.admin().clone(), Kind::Ingress.path(&site));
    let note = json!({ "metadata": { "annotations": { "example.com/note": "written meanwhile" } } });
    site.before_next_write(async move {
        admin.merge(&path, &note).await;
    });
    let set = site
        .router
        .set(&at, 30, &seen, &idem())
        .await
        .expect("sets all the same");
    assert_eq!(set.candidate, Share { part: 30, of: 100 });
    let statuses: Vec<_> = site.gate().requests().iter().filter_map(|it| it.status).collect();
    assert!(statuses.contains(&409), "it did meet the other's: {statuses:?}");
    let after = site
        .admin()
        .get(&Kind::Ingress.path(&site))
        .await
        .expect("stands");
    assert_eq!(
        after["metadata"]["annotations"]["example.com/note"],
        "written meanwhile"
    );
}

async fn what_vanishes_under_a_write_is_told(site: Site) {
    Kind::Service.set_up(&site).await;
    let at = Kind::Service.at(&site, "checkout");
    let seen = site.router.read(&at).await.expect("reads").mark;
    let (admin, path) = (site.admin().clone(), Kind::Service.path(&site));
    site.before_next_write(async move { admin.delete(&path).await });
    let error = site
        .router
        .set(&at, 100, &seen, &idem())
        .await
        .expect_err("is gone");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&at.name), "{error}");
}

async fn replicas_part_what_sends_to_both_sides(site: Site) {
    Kind::Replicas.set_up(&site).await;
    let at = Kind::Replicas.at(&site, "checkout");
    assert_eq!(site.router.granularity(&at).await, Ok(Granularity::Replicas));
    assert_eq!(
        site.router.read(&at).await.expect("reads").candidate,
        Share { part: 1, of: 2 }
    );
    assert_eq!(Kind::Replicas.carried_out(&site).await, 50.0);
    let alone = json!({ "spec": { "selector": { SIDE: "stable" } } });
    site.admin().merge(&Kind::Replicas.path(&site), &alone).await;
    let error = site
        .router
        .read(&at)
        .await
        .expect_err("the candidate would get nothing");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("service/{}/checkout", site.namespace)),
        "{error}"
    );
}

/// Straight to the API server, which has no custom resources.
async fn what_the_cluster_does_not_know_is_not_found(site: Site) {
    let config = KubeConfig {
        kubeconfig: Some(
            site.cluster
                .kubeconfig(&format!("{}-direct", site.namespace), &site.token),
        ),
        ..KubeConfig::default()
    };
    let router = KubeRouter::new(&Connection::open(&config).await.expect("is usable"));
    let at = Kind::HttpRoute.at(&site, "checkout");
    let error = router.read(&at).await.expect_err("is unknown");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(
        error
            .to_string()
            .contains("does not know gateway.networking.k8s.io"),
        "{error}"
    );
    let nonsense = site.route("gateway/", "checkout");
    let seen = Mark(String::new());
    let error = router
        .set(&nonsense, 10, &seen, &idem())
        .await
        .expect_err("is no route");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}
