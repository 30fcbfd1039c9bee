//! What people may do to the fleet beyond the suite of the port.

use std::fs;

use adapter_host::{HostConfig, HostFleet};
use domain::ErrorKind;
use ports::{Fleet, WorkloadRef};

use crate::peers::{Site, idem};

#[tokio::test]
async fn an_alias_is_the_version_that_it_stands_for() {
    let site = Site::start();
    std::os::unix::fs::symlink("v2", site.versions().join("latest")).expect("links");
    let full = site.fleet.resolve(&site.at(), "latest").await.expect("resolves");
    assert_eq!(full, "v2");
    for wrong in ["../versions/v1", "..", "", ".hidden", "v1/.."] {
        let error = site
            .fleet
            .resolve(&site.at(), wrong)
            .await
            .expect_err("no version");
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
}

#[tokio::test]
async fn a_wish_changed_by_hand_has_another_mark_and_a_broken_one_is_told() {
    let site = Site::start();
    let mark = site.roll_out("v1", 1).await;
    site.complete().await;
    let path = site.folder().join("wishes.json");
    let text = fs::read_to_string(&path).expect("reads");
    fs::write(&path, text.replace("\"replicas\": 1", "\"replicas\": 2")).expect("writes");
    let error = site.fleet.pause(&site.at(), true, &mark, &idem()).await;
    assert_eq!(error.expect_err("changed").kind, ErrorKind::Conflict);
    site.complete().await;
    assert_eq!(site.stable().await.ready, 2, "and is followed");

    let processes = site.processes();
    fs::write(&path, "{").expect("writes");
    let error = site
        .fleet
        .observe(&site.at(), ports::Side::Stable)
        .await
        .expect_err("broken");
    assert!(error.to_string().contains("wishes.json does not hold"), "{error}");
    assert_eq!(site.processes(), processes, "what runs goes on");
}

#[tokio::test]
async fn a_wrong_name_or_setting_is_told_before_anything_is_touched() {
    let site = Site::start();
    let near = WorkloadRef {
        name: "shop/chekout".to_owned(),
        ..site.at()
    };
    let error = site
        .fleet
        .resolve(&near, "v1")
        .await
        .expect_err("no such workload");
    assert!(
        error.to_string().contains("Did you mean shop/checkout?"),
        "{error}"
    );
    let part = WorkloadRef {
        container: Some("web".to_owned()),
        ..site.at()
    };
    let error = site.fleet.resolve(&part, "v1").await.expect_err("has none");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(!site.folder().exists(), "nothing was touched");

    let wrong = |change: fn(&mut HostConfig)| {
        let mut config = site.config.clone();
        change(&mut config);
        HostFleet::new(&config, Site::keeper())
            .expect_err("is refused")
            .to_string()
    };
    let told = [
        wrong(|config| config.haproxy = None),
        wrong(|config| config.workloads.values_mut().for_each(|w| w.command.clear())),
        wrong(|config| config.workloads.values_mut().for_each(|w| w.ports = (9, 8))),
        wrong(|config| {
            config
                .workloads
                .values_mut()
                .for_each(|w| w.backend = Some("a;b".to_owned()))
        }),
    ];
    let kept = "the workload shop/checkout cannot be kept as configured: ";
    assert_eq!(
        told,
        [
            format!("{kept}it names a `backend`, and the target has no `haproxy`"),
            format!("{kept}`command` names no program"),
            format!("{kept}`ports` is not a first and a last port"),
            format!(
                "{kept}`a;b` cannot be the name of a backend in HAProxy. \
                 Use letters, digits and `-`, `_`, `.`, `:` only"
            ),
        ]
    );
}

#[tokio::test]
async fn a_configuration_is_read_as_it_is_written() {
    let config: HostConfig = serde_json::from_value(serde_json::json!({
        "state": "/var/lib/longshore/host",
        "haproxy": { "socket": "/run/haproxy/admin.sock", "timeout": "2500ms" },
        "workloads": { "shop": {
            "versions": "/srv/shop",
            "command": ["./server", "--port", "{port}"],
            "ports": [8000, 8019],
            "ready": { "check": "http", "path": "/healthz" },
            "backend": "shop",
            "drain_limit": "20s"
        } }
    }))
    .expect("reads");
    let shop = &config.workloads["shop"];
    assert_eq!(
        (
            shop.ports,
            shop.drain_limit.0.as_secs(),
            shop.stop_grace.0.as_secs()
        ),
        ((8000, 8019), 20, 10)
    );
    let haproxy = config.haproxy.as_ref().expect("a HAProxy");
    assert_eq!(
        (haproxy.stable.as_str(), haproxy.timeout.0.as_millis()),
        ("stable", 2500)
    );
    assert!(HostFleet::new(&config, Site::keeper()).is_ok());
}
