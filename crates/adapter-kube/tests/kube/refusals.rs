//! What is told when a cluster says no, or nothing at all.

use std::sync::Arc;
use std::time::Duration;

use adapter_kube::{Checked, Connection, KubeConfig, KubeFleet, Registries, RegistryConfig};
use domain::ErrorKind;
use ports::conformance::Scene;
use ports::{Fleet, RollOut, Side, WorkloadRef};
use serde_json::json;
use testkit::Registry;
use testkit::cluster::Cluster;
use testkit::peer::{Fault, When};

use crate::site::{Site, idem, image};

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    crate::site::scenes!(cluster,
        names_may_leave_out_what_is_plain
        targets_of_one_kubeconfig_differ_by_context
        every_refusal_says_what_happened_and_what_to_do
        what_a_server_forbids_that_reads_its_rules_is_not_forbidden
        a_check_says_what_may_not_be_done
        a_version_that_its_registry_does_not_have_is_refused_and_the_way_back_asks_nobody
    )
}

async fn names_may_leave_out_what_is_plain(site: Site) {
    let labels = json!({ "app": "single" });
    let single = json!({
        "metadata": { "name": "single" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "only", "image": "shop/single:v1" }] },
            },
        },
    });
    site.admin()
        .create(&site.path("apis/apps/v1", "deployments"), &single)
        .await;
    let namespace = site.namespace.clone();
    let connection = site
        .connected(&site.token, |config| config.namespace = Some(namespace))
        .await;
    let fleet = KubeFleet::new(&connection);
    let at = |container: Option<&str>| WorkloadRef {
        target: "cluster".to_owned(),
        name: "single".to_owned(),
        container: container.map(str::to_owned),
    };
    assert_eq!(
        fleet.resolve(&at(None), "v2").await.as_deref(),
        Ok("shop/single:v2")
    );
    let error = fleet
        .resolve(&at(Some("onyl")), "v2")
        .await
        .expect_err("none of that name");
    assert!(error.to_string().ends_with("Did you mean only?"), "{error}");
}

async fn targets_of_one_kubeconfig_differ_by_context(site: Site) {
    site.make("checkout", "v1", 1).await;
    let elsewhere = format!("{}-elsewhere", site.namespace);
    site.cluster.make_namespace(&elsewhere).await;
    let stranger = site.cluster.token(&elsewhere, "longshore").await;
    let context = |name: &str, namespace: &str| json!({ "name": name, "context": { "cluster": "gate", "user": name, "namespace": namespace } });
    let user = |name: &str, token: &str| json!({ "name": name, "user": { "token": token } });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "gate", "cluster": { "server": site.gate().url() } }],
        "users": [user("production", &site.token), user("staging", &stranger)],
        "contexts": [context("production", &site.namespace), context("staging", &elsewhere)],
        "current-context": "staging",
    });
    let path = site.cluster.dir().join(format!("{elsewhere}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).expect("writes a kubeconfig");
    let fleet = |context: Option<&str>| {
        let config = KubeConfig {
            kubeconfig: Some(path.clone()),
            context: context.map(str::to_owned),
            ..KubeConfig::default()
        };
        async move { KubeFleet::new(&Connection::open(&config).await.expect("is usable")) }
    };
    // Names are in the context's own namespace.
    let at = WorkloadRef {
        name: "checkout".to_owned(),
        ..site.at()
    };
    let found = fleet(Some("production")).await.observe(&at, Side::Stable).await;
    assert_eq!(found.expect("observes").expect("stands").version, image("v1"));
    for other in [Some("staging"), None] {
        let error = fleet(other).await.observe(&at, Side::Stable).await;
        let error = error.expect_err("that user has no role there");
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("in the namespace \"{elsewhere}\"")),
            "{error}"
        );
    }
}

async fn every_refusal_says_what_happened_and_what_to_do(site: Site) {
    site.make("checkout", "v1", 1).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let empty = RollOut {
        version: String::new(),
        replicas: 1,
        pace: None,
    };
    let error = site
        .fleet
        .roll_out(&site.at(), &empty, Some(&seen), &idem())
        .await;
    let error = error.expect_err("an image has a name");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(
        error
            .to_string()
            .contains("spec.template.spec.containers[1].image"),
        "{error}"
    );

    site.gate().fault(
        &When::on("GET", "/deployments/"),
        &Fault::RateLimited(Duration::from_secs(2)),
    );
    let error = site
        .fleet
        .observe(&site.at(), Side::Stable)
        .await
        .expect_err("is refused");
    assert_eq!(
        (error.kind, error.retry_after()),
        (ErrorKind::RateLimited, Some(Duration::from_secs(2)))
    );

    for (fault, kind) in [
        (Fault::Status(503), ErrorKind::Unavailable),
        (Fault::Status(500), ErrorKind::Timeout),
        (Fault::Cut, ErrorKind::Timeout),
    ] {
        site.break_next(&fault);
        let error = site.fleet.pause(&site.at(), true, &seen, &idem()).await;
        assert_eq!(error.expect_err("is broken").kind, kind, "{fault:?}");
    }
    let hasty = site
        .connected(&site.token, |config| {
            config.timeout = domain::Span(Duration::from_millis(700))
        })
        .await;
    let hasty = KubeFleet::new(&hasty);
    site.gate().fault(&When::on("PATCH", ""), &Fault::DoneThenHang);
    let error = hasty
        .pause(&site.at(), true, &seen, &idem())
        .await
        .expect_err("no answer");
    assert!(
        error.is_in_doubt() && error.to_string().contains("no answer "),
        "{error}"
    );
    let paused = hasty.pause(&site.at(), true, &seen, &idem()).await;
    assert_ne!(paused.expect("finds it done"), seen);

    let stranger = KubeFleet::new(&site.connected("a-token-of-nobody", |_| ()).await);
    let error = stranger
        .observe(&site.at(), Side::Stable)
        .await
        .expect_err("is nobody");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(
        error.to_string().contains("credentials that the cluster takes"),
        "{error}"
    );
}

async fn what_a_server_forbids_that_reads_its_rules_is_not_forbidden(site: Site) {
    site.make("checkout", "v1", 1).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let forbids = |path: &str| site.gate().fault(&When::on("GET", path), &Fault::Status(403));
    let at = site.at();
    let look = || site.fleet.observe(&at, Side::Stable);
    // It has read them by the time it says that it is ready.
    forbids("/deployments/");
    forbids("/readyz");
    let found = look().await.expect("may be read after all").expect("stands");
    assert_eq!(found.mark, seen);
    site.gate()
        .fault(&When::on("PATCH", "/deployments/"), &Fault::Status(401));
    let paused = site.fleet.pause(&site.at(), true, &seen, &idem()).await;
    assert_ne!(paused.expect("is done once it may be"), seen);
    // It says that it is not ready: whoever asks comes back.
    forbids("/deployments/");
    site.gate()
        .fault(&When::on("GET", "/readyz"), &Fault::Status(500));
    let error = look().await.expect_err("has no rules yet");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().ends_with("the API server is not ready yet"),
        "{error}"
    );
}

async fn a_check_says_what_may_not_be_done(site: Site) {
    let namespace = Some(site.namespace.as_str());
    let checked = site.connection.check(namespace).await.expect("answers");
    assert!(checked.version.starts_with("v1."), "{checked:?}");
    assert!(
        checked.missing.is_empty() && checked.complete().is_ok(),
        "the role has it all: {checked:?}"
    );
    site.deny_writes().await;
    let checked = site.connection.check(namespace).await.expect("answers");
    let on = |verb: &str| format!("may not {verb} deployments in {}", site.namespace);
    assert_eq!(checked.missing, ["create", "patch", "delete"].map(on));
    let error = checked.complete().expect_err("is incomplete");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("docs/kubernetes.md"), "{error}");
    let nowhere: Checked = site.connection.check(Some("elsewhere")).await.expect("answers");
    assert_eq!(nowhere.missing.len(), 9, "{nowhere:?}");
}

async fn a_version_that_its_registry_does_not_have_is_refused_and_the_way_back_asks_nobody(site: Site) {
    let registry = Registry::start().await;
    registry.push("shop/web", "v1").await;
    let image = |tag: &str| format!("{}/shop/web:{tag}", registry.host());
    site.make("checkout", "v1", 1).await;
    let seen = site.group("checkout", Side::Stable).await.expect("stands").mark;
    let ours = RegistryConfig {
        host: registry.host(),
        login: Some((Registry::USER.to_owned(), Registry::PASSWORD.into())),
        ca_file: Some(registry.certificate.certificate.clone()),
        plain_http: false,
        timeout: Duration::from_secs(10),
    };
    let registries = Registries::new([ours]).expect("is usable");
    let fleet = KubeFleet::new(&site.connection).with_registries(registries);
    let named = fleet.resolve(&site.at(), &image("v1")).await;
    assert_eq!(named, Ok(image("v1")));
    let error = fleet
        .resolve(&site.at(), &image("v2"))
        .await
        .expect_err("is not there");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let to = RollOut {
        version: image("v1"),
        replicas: 1,
        pace: None,
    };
    let rolled = fleet.roll_out(&site.at(), &to, Some(&seen), &idem()).await;
    rolled.expect("rolls out");
    site.complete("checkout").await;
    let (v1, v2) = (image("v1"), image("v2"));
    drop(registry);
    assert_eq!(fleet.resolve(&site.at(), &v1).await, Ok(v1.clone()));
    let error = fleet.resolve(&site.at(), &v2).await.expect_err("nobody says");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}
