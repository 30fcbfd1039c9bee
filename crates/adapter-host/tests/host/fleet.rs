//! What people may do to the fleet beyond the suite of the port.

use std::fs;

use adapter_host::{HostConfig, HostFleet, WorkloadConfig};
use domain::{ErrorKind, Span};
use ports::{Fleet, WorkloadRef};

use crate::peers::{NAME, Site, idem};

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
    fn both(config: &mut HostConfig, change: fn(&mut WorkloadConfig)) {
        config.workloads.values_mut().for_each(change);
    }
    let told = [
        wrong(|config| config.state = "state".into()),
        wrong(|config| config.haproxy.as_mut().expect("one").timeout = Span::seconds(0)),
        wrong(|config| both(config, |w| w.ready_interval = Span::seconds(0))),
        wrong(|config| both(config, |w| w.drain_limit = Span::seconds(86_401))),
        wrong(|config| both(config, |w| w.address = "localhost".to_owned())),
    ];
    const NAMES: &str = "A name is of letters from a to z, digits and `_`, and does not begin with a digit";
    let kept = "the workload shop/checkout cannot be kept as configured: ";
    assert_eq!(
        told,
        [
            "`state` is not a whole path: state".to_owned(),
            "`haproxy.timeout` is 0s. Write 1ms to 1d".to_owned(),
            format!("{kept}`ready_interval` is 0s. Write 1ms to 1d"),
            format!("{kept}`drain_limit` is 1d1s. Write 0s to 1d"),
            format!("{kept}`address` is no IP address: localhost"),
        ]
    );
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
        wrong(|config| both(config, |w| drop(w.env.insert("1ST".to_owned(), String::new())))),
        wrong(|config| {
            both(config, |w| {
                drop(w.env.insert("SHOP.URL".to_owned(), String::new()))
            })
        }),
        wrong(|config| {
            both(config, |w| {
                drop(w.env.insert("KEY".to_owned(), "\u{1b}[m".to_owned()))
            })
        }),
    ];
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
            format!("{kept}`env` names \"1ST\", which is no name of a variable. {NAMES}"),
            format!("{kept}`env` names \"SHOP.URL\", which is no name of a variable. {NAMES}"),
            format!(
                "{kept}the value of KEY in `env` holds a control character. \
                 Write it without; ends of lines and tabs may stand there"
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

/// Two workloads beside each other, the second changed so.
fn two(site: &Site, change: fn(&mut WorkloadConfig)) -> HostConfig {
    let mut config = site.config.clone();
    let (first, last) = config.workloads[NAME].ports;
    let half = first + (last - first) / 2;
    let shop = config.workloads.get_mut(NAME).expect("is there");
    shop.ports = (first, half);
    let mut other = shop.clone();
    (other.ports, other.backend) = ((half + 1, last), None);
    change(&mut other);
    config.workloads.insert("another".to_owned(), other);
    config
}

#[tokio::test]
async fn workloads_that_would_take_from_each_other_are_refused() {
    let site = Site::start();
    let check = |change| two(&site, change).check();
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(check(|other| other.address = "127.0.0.2".to_owned()), Ok(()));
    let (first, last) = site.config.workloads[NAME].ports;
    let half = first + (last - first) / 2;
    let error = check(|other| other.ports.0 -= 1).expect_err("one port is both's");
    assert_eq!(
        error.to_string(),
        format!(
            "the workloads another and shop/checkout have ports in common: `ports` is {half} to {last}, and {first} \
             to {half}. Give each workload ports of its own"
        )
    );
    let everywhere = |other: &mut WorkloadConfig| {
        (other.ports.0, other.address) = (other.ports.0 - 1, "0.0.0.0".to_owned());
    };
    assert!(check(everywhere).is_err());
    let error = check(|other| other.backend = Some("shop".to_owned())).expect_err("one backend");
    assert!(error.to_string().contains("have one `backend`: shop"), "{error}");

    // Hosts of one worker are all this machine.
    let together = |other: &HostConfig| {
        HostConfig::check_together([("web", &site.config), ("edge", other)])
            .map_err(|error| error.to_string())
    };
    let error = together(&site.config).expect_err("one folder");
    assert!(
        error.contains("the hosts web and edge keep their `state` in one folder"),
        "{error}"
    );
    let mut other = site.config.clone();
    other.state = site.config.state.join("inner");
    assert!(together(&other).is_err());
    other.state = "/var/lib/other".into();
    let error = together(&other).expect_err("the same ports");
    assert!(
        error.starts_with("the workloads web/shop/checkout and edge/shop/checkout have ports in common"),
        "{error}"
    );
    other.workloads.get_mut(NAME).expect("is there").ports = (1, 9);
    let error = together(&other).expect_err("the same backend");
    assert!(error.contains("have one `backend`: shop"), "{error}");
    other.workloads.get_mut(NAME).expect("is there").backend = None;
    assert_eq!(together(&other), Ok(()));
}

#[tokio::test]
async fn a_workload_that_cannot_be_kept_keeps_no_other_from_it() {
    let site = Site::start();
    let fleet = HostFleet::new(&two(&site, |_| {}), Site::keeper()).expect("usable");
    fleet.revive().await.expect("nothing is wished for");
    site.roll_out("v1", 1).await;
    site.complete().await;
    // The one that is broken comes first.
    let broken = site.config.state.join("another");
    fs::create_dir_all(&broken).expect("makes");
    fs::write(broken.join("wishes.json"), "{").expect("writes");
    let (processes, keeper) = (site.processes(), site.keeper_pid().await);
    site.kill_keeper().await;
    for _ in 0..2 {
        let error = fleet.revive().await.expect_err("one is broken").to_string();
        assert!(error.starts_with("the workload another is not kept"), "{error}");
        assert!(error.contains("wishes.json does not hold"), "{error}");
    }
    let now = site.keeper_pid().await;
    assert_ne!(now, keeper);
    fleet.revive().await.expect_err("one is broken");
    assert_eq!((site.keeper_pid().await, site.processes()), (now, processes));
}
