//! What HAProxy may do to its router beyond the suite of the port.

use std::time::Duration;

use adapter_host::{Address, HaproxyConfig, HaproxyRouter};
use domain::{ErrorKind, Idem, Span};
use ports::{Granularity, RouteRef, TrafficRouter};
use testkit::Haproxy;

use crate::peers::Gate;

fn at(name: &str) -> RouteRef {
    RouteRef {
        target: "edge".to_owned(),
        name: name.to_owned(),
    }
}

fn idem() -> Idem {
    Idem::new("task/run/weight".to_owned())
}

fn router(socket: Address) -> HaproxyRouter {
    HaproxyRouter::new(&HaproxyConfig {
        timeout: Span::seconds(1),
        ..HaproxyConfig::new(socket)
    })
    .expect("usable")
}

const BACKENDS: &str = "backend shop
  server-template stable 3 127.0.0.1:1 weight 100
  server candidate1 127.0.0.1:1 weight 0
backend fixed
  balance static-rr
  server stable1 127.0.0.1:1 weight 100
  server candidate1 127.0.0.1:1 weight 100
backend plain
  server web 127.0.0.1:1
backend without
  server stable1 127.0.0.1:1
  server candidate1 127.0.0.1:1 weight 0 disabled
";

#[tokio::test]
async fn a_restart_forgets_weights_and_the_mark_says_so() {
    let mut haproxy = Haproxy::start(BACKENDS);
    let router = router(Address::Unix(haproxy.socket("admin")));
    let seen = router.read(&at("shop")).await.expect("reads").mark;
    let set = router.set(&at("shop"), 40, &seen, &idem()).await.expect("sets");
    assert_eq!(router.granularity(&at("shop")).await, Ok(Granularity::Parts(85)));
    assert_eq!((set.candidate.part, set.candidate.of), (102, 255));
    haproxy.restart();
    let after = router.read(&at("shop")).await.expect("reads");
    assert_eq!(after.candidate.percent(), 0.0, "haproxy.cfg says so");
    assert_eq!(after.mark, seen);
    let error = router
        .set(&at("shop"), 60, &set.mark, &idem())
        .await
        .expect_err("forgot");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_drained_server_has_no_part_and_the_rest_is_parted_anew() {
    let haproxy = Haproxy::start(BACKENDS);
    let router = router(Address::Unix(haproxy.socket("admin")));
    let seen = router.read(&at("shop")).await.expect("reads").mark;
    let set = router.set(&at("shop"), 50, &seen, &idem()).await.expect("sets");
    assert_eq!(
        (set.candidate.part, set.candidate.of),
        (129, 255),
        "43 of 85 parts"
    );
    for server in ["stable1", "stable2"] {
        haproxy.ask(&format!("set server shop/{server} state drain"));
    }
    let drained = router.read(&at("shop")).await.expect("reads");
    assert_eq!(drained.mark, set.mark, "nobody wished for other weights");
    assert!(drained.candidate.percent() > 75.0, "{drained:?}");
    let again = router
        .set(&at("shop"), 50, &set.mark, &idem())
        .await
        .expect("sets");
    assert_eq!(again.candidate.percent(), 50.0);
    haproxy.ask("set server shop/candidate1 state maint");
    let gone = router.read(&at("shop")).await.expect("reads");
    assert_eq!(gone.candidate.percent(), 0.0);
    let error = router
        .set(&at("shop"), 50, &gone.mark, &idem())
        .await
        .expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let haproxy = Haproxy::start(BACKENDS);
    let admin = router(Address::Unix(haproxy.socket("admin")));
    let seen = |name: &'static str| {
        let admin = admin.clone();
        async move { admin.read(&at(name)).await.expect("reads").mark }
    };

    let error = admin.set(&at("fixed"), 10, &seen("fixed").await, &idem()).await;
    let error = error.expect_err("cannot");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("balance roundrobin"), "{error}");

    let error = admin.read(&at("plain")).await.expect_err("has no sides");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("server-template stable"), "{error}");

    let error = admin
        .set(&at("without"), 10, &seen("without").await, &idem())
        .await;
    assert_eq!(error.expect_err("nobody there").kind, ErrorKind::Unavailable);

    let error = admin
        .read(&at("shop;set weight shop/stable1 0"))
        .await
        .expect_err("two commands");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(
        admin.read(&at("shop")).await.expect("reads").mark,
        seen("shop").await
    );

    let operator = router(Address::Unix(haproxy.socket("operator")));
    let error = operator.set(&at("shop"), 10, &seen("shop").await, &idem()).await;
    let error = error.expect_err("may not");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("level admin"), "{error}");

    let error = router(Address::Unix(haproxy.dir().join("none.sock")))
        .read(&at("shop"))
        .await;
    let error = error.expect_err("no socket");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("there is no such socket"), "{error}");
}

#[tokio::test]
async fn what_does_not_answer_is_given_up_in_time() {
    let haproxy = Haproxy::start(BACKENDS);
    let gate = Gate::open(haproxy.dir());
    gate.hang();
    let router = router(Address::Unix(gate.path().to_owned()));
    let begun = std::time::Instant::now();
    let error = router.read(&at("shop")).await.expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_runtime_api_may_stand_on_a_port() {
    let haproxy = Haproxy::start(BACKENDS);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let socket = haproxy.socket("admin");
    let relay = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::UnixStream::connect(&socket)
                .await
                .expect("HAProxy listens");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let router = router(address.parse().expect("an address"));
    let seen = router.read(&at("shop")).await.expect("reads").mark;
    let set = router.set(&at("shop"), 100, &seen, &idem()).await.expect("sets");
    assert_eq!(set.candidate.percent(), 100.0);
    relay.abort();
}
