//! What a release that went wrong leaves behind in HAProxy's weights.

use std::time::Duration;

use domain::Span;
use ports::{Side, TrafficRouter};
use rustix::process::Signal;

use crate::peers::{BACKENDS, Client, Site, idem, signal, until};

/// What crashes stays away for the whole test.
fn site() -> Site {
    Site::with(BACKENDS, |workload| {
        workload.restart_pause = Span::seconds(600);
        workload.longest_restart_pause = Span::seconds(600);
    })
}

async fn candidate_dies(site: &Site) {
    let candidate = site.running("v2")[0];
    signal(candidate, Signal::KILL);
    until("HAProxy sends it nothing", || async {
        site.server("shop", "candidate1").admin_state & 1 == 1
    })
    .await;
}

fn candidate_weights(site: &Site) -> Vec<u32> {
    (1..=6)
        .map(|n| site.server("shop", &format!("candidate{n}")).weight)
        .collect()
}

#[tokio::test]
async fn a_candidate_that_dies_with_all_traffic_is_seen_and_the_stable_side_gets_it_back() {
    let site = site();
    let (router, route) = (site.router(), site.route());
    site.roll_out("v1", 2).await;
    site.launch("v2", 1).await;
    site.complete().await;
    let seen = router.read(&route).await.expect("reads");
    router.set(&route, 100, &seen.mark, &idem()).await.expect("sets");
    assert_eq!(site.ask().0, "v2");
    candidate_dies(&site).await;
    let (status, _) = Client::new(site.haproxy.port()).get().expect("is answered");
    assert_eq!(status, 503, "the stable side has no weight");

    let seen = router.read(&route).await.expect("reads");
    assert_eq!(seen.candidate.percent(), 100.0, "the stable side gets nothing");
    let back = router.set(&route, 0, &seen.mark, &idem()).await.expect("sets");
    assert_eq!(back.candidate.percent(), 0.0);
    assert_eq!(site.ask().0, "v1");
    let again = router.set(&route, 0, &seen.mark, &idem()).await.expect("is so");
    assert_eq!(again, back);
}

#[tokio::test]
async fn what_is_retired_with_all_traffic_leaves_a_stable_side_that_can_be_given_it() {
    let site = site();
    let (router, route) = (site.router(), site.route());
    site.roll_out("v1", 2).await;
    site.launch("v2", 1).await;
    site.complete().await;
    let seen = router.read(&route).await.expect("reads");
    router.set(&route, 100, &seen.mark, &idem()).await.expect("sets");
    candidate_dies(&site).await;
    site.retire().await;
    until("it is gone", || async {
        site.group(Side::Candidate).await.is_none()
    })
    .await;
    let seen = router.read(&route).await.expect("reads");
    assert_eq!(
        seen.candidate.percent(),
        100.0,
        "the stable side gets nothing yet"
    );
    let back = router.set(&route, 0, &seen.mark, &idem()).await.expect("sets");
    assert_eq!((back.candidate.percent(), site.ask().0.as_str()), (0.0, "v1"));
}

#[tokio::test]
async fn what_an_earlier_candidate_weighed_is_not_for_the_next_one() {
    let site = site();
    let (router, route) = (site.router(), site.route());
    site.roll_out("v1", 2).await;
    site.launch("v2", 1).await;
    site.complete().await;
    let seen = router.read(&route).await.expect("reads");
    let set = router.set(&route, 20, &seen.mark, &idem()).await.expect("sets");
    assert!(candidate_weights(&site).iter().all(|weight| *weight > 0));
    candidate_dies(&site).await;
    let now = router.read(&route).await.expect("reads");
    assert_eq!(
        now.candidate.percent(),
        0.0,
        "the stable side serves everything meanwhile"
    );
    assert_eq!(now.mark, set.mark);
    site.retire().await;
    until("it is gone", || async {
        site.group(Side::Candidate).await.is_none()
    })
    .await;
    assert_eq!(candidate_weights(&site), [0; 6]);

    // The same where nobody retires the one before the next comes.
    site.launch("v2", 1).await;
    site.complete().await;
    let seen = router.read(&route).await.expect("reads");
    router.set(&route, 20, &seen.mark, &idem()).await.expect("sets");
    site.launch("v3", 1).await;
    site.complete().await;
    let now = router.read(&route).await.expect("reads");
    assert_eq!(now.candidate.percent(), 0.0, "nobody gave it anything");
    assert_eq!(candidate_weights(&site), [0; 6]);
    for _ in 0..100 {
        assert_eq!(site.ask().0, "v1");
    }
    // More of the same is no new one: what it was given stays.
    let set = router.set(&route, 20, &now.mark, &idem()).await.expect("sets");
    site.launch("v3", 2).await;
    site.complete().await;
    assert_eq!(router.read(&route).await.expect("reads").mark, set.mark);
}

/// A router is not the only way to part traffic: what haproxy.cfg gives a candidate it has from the start.
#[tokio::test]
async fn a_candidate_has_the_weight_of_haproxy_cfg_where_nobody_gives_it_another() {
    let both = "backend shop
  server-template stable 3 127.0.0.1:1 weight 10 disabled
  server-template candidate 3 127.0.0.1:1 weight 10 disabled
";
    let site = Site::with(both, |_| {});
    site.roll_out("v1", 1).await;
    site.launch("v2", 1).await;
    site.complete().await;
    let traffic = site.router().read(&site.route()).await.expect("reads");
    assert_eq!(traffic.candidate.percent(), 50.0);
    site.retire().await;
    site.complete().await;
    assert_eq!(site.server("shop", "candidate1").weight, 10);
}

#[tokio::test]
async fn nothing_is_nothing_also_of_servers_in_maintenance() {
    let haproxy = testkit::Haproxy::start(
        "backend shop\n  server stable1 127.0.0.1:1 weight 204\n  server candidate1 127.0.0.1:1 weight 52\n",
    );
    let config = adapter_host::HaproxyConfig {
        timeout: Span(Duration::from_secs(5)),
        ..adapter_host::HaproxyConfig::new(adapter_host::Address::Unix(haproxy.socket("admin")))
    };
    let router = adapter_host::HaproxyRouter::new(&config).expect("usable");
    let route = ports::RouteRef {
        target: "edge".to_owned(),
        name: "shop".to_owned(),
    };
    haproxy.ask("set server shop/candidate1 state maint");
    let seen = router.read(&route).await.expect("reads");
    assert_eq!(seen.candidate.percent(), 0.0);
    let set = router.set(&route, 0, &seen.mark, &idem()).await.expect("sets");
    haproxy.ask("set server shop/candidate1 state ready");
    let after = router.read(&route).await.expect("reads");
    assert_eq!((after.candidate.percent(), &after.mark), (0.0, &set.mark));
}
