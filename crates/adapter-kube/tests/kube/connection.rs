//! How a cluster is reached, and what is told when it is not.

use std::sync::Arc;

use adapter_kube::{Connection, KubeConfig, KubeFleet};
use domain::ErrorKind;
use ports::{Fleet, Side};
use testkit::cluster::Cluster;

use crate::site::{Site, idem};

/// Over TLS, and with the certificate checked.
pub async fn an_api_server_that_comes_and_goes(cluster: Cluster) {
    let cluster = Arc::new(cluster);
    let site = Site::start(Arc::clone(&cluster)).await;
    site.make("checkout", "v1", 1).await;
    let config = KubeConfig {
        kubeconfig: Some(cluster.kubeconfig("direct", &site.token)),
        ..KubeConfig::default()
    };
    let connection = Connection::open(&config).await.expect("is usable");
    let (fleet, at) = (KubeFleet::new(&connection), site.at());
    let before = fleet
        .observe(&at, Side::Stable)
        .await
        .expect("observes")
        .expect("stands");
    drop(site);
    let mut cluster = Arc::into_inner(cluster).expect("nobody else has it");

    cluster.stop_api();
    let read = fleet.observe(&at, Side::Stable).await.map(drop);
    let written = fleet
        .scale(&at, Side::Stable, 2, &before.mark, &idem())
        .await
        .map(drop);
    let checked = connection.check(None).await.map(drop);
    for refused in [read, written, checked] {
        let error = refused.expect_err("nobody is there");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("connection"), "{error}");
    }
    cluster.start_api().await;
    let mark = fleet.scale(&at, Side::Stable, 2, &before.mark, &idem()).await;
    let mark = mark.expect("goes on where it was");
    testkit::cluster::until("it has two replicas", || async {
        let group = fleet
            .observe(&at, Side::Stable)
            .await
            .expect("observes")
            .expect("stands");
        assert_eq!(group.mark, mark);
        group.is_complete() && group.wanted == 2
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_told_before_anything_is_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("kubeconfig");
    let told = |config: KubeConfig| async move {
        let error = Connection::open(&config).await.expect_err("is refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        error.to_string()
    };
    let config = KubeConfig {
        kubeconfig: Some(path.clone()),
        context: Some("production".to_owned()),
        connect_timeout: domain::Span::seconds(1),
        ..KubeConfig::default()
    };
    let said = told(config.clone()).await;
    assert!(
        said.contains("No such file") && said.contains("Look at `kubeconfig`"),
        "{said}"
    );
    let kubeconfig = r#"{"apiVersion": "v1", "kind": "Config", "contexts": [], "clusters": [], "users": []}"#;
    std::fs::write(&path, kubeconfig).expect("writes");
    let said = told(config.clone()).await;
    assert!(said.contains("production"), "{said}");
    let kubeconfig = r#"{
        "apiVersion": "v1", "kind": "Config", "users": [{ "name": "a", "user": {} }],
        "contexts": [{ "name": "production", "context": { "cluster": "a", "user": "a" } }],
        "clusters": [{ "name": "a", "cluster": { "server": "https://127.0.0.1:1", "proxy-url": "http://127.0.0.1:2" } }]
    }"#;
    std::fs::write(&path, kubeconfig).expect("writes");
    let said = told(config).await;
    assert!(said.contains("proxy"), "{said}");
    let said = told(KubeConfig {
        in_cluster: true,
        ..KubeConfig::default()
    })
    .await;
    assert!(said.contains("Run it in a pod with a service account"), "{said}");
    assert!(
        said.starts_with("the cluster cannot be reached as configured"),
        "{said}"
    );
}
