//! What goes wrong around a keeper, and what it does all the same.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_host::HostFleet;
use domain::Span;
use ports::{Fleet, Side};
use rustix::process::Signal;

use crate::peers::{BACKENDS, NAME, Site, Way, both_ways, lives, signal, until};

both_ways! {
    what_died_gets_no_requests_though_nothing_can_be_written_down
    a_log_is_kept_short_while_its_replica_runs
    what_a_process_left_behind_between_two_keepers_is_ended
    a_crashed_replica_whose_port_is_taken_gets_another
    a_check_that_hangs_holds_up_nobody
}

async fn what_died_gets_no_requests_though_nothing_can_be_written_down(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let dying = site.processes()[0];
    // As on a full disk: no new file can be made in the place of the old one.
    let in_the_way = site.folder().join("status.unfinished");
    fs::create_dir(&in_the_way).expect("makes");
    signal(dying, Signal::KILL);
    until("one of two servers is in maintenance", || async {
        let open = |n: u32| site.server("shop", &format!("stable{n}")).admin_state & 1 == 0;
        (1..=6).filter(|n| open(*n)).count() == 1
    })
    .await;
    for _ in 0..10 {
        assert_eq!(site.ask().0, "v1");
    }
    assert_eq!(
        site.running_here(),
        1,
        "nothing is started that nobody could find"
    );
    fs::remove_dir(&in_the_way).expect("removes");
    until("another took its place", || async {
        site.stable().await.restarts == 1
    })
    .await;
    site.complete().await;
    assert_eq!(site.running_here(), 2);
}

async fn a_log_is_kept_short_while_its_replica_runs(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let log = site.folder().join("logs/v1.log");
    let mut writes = OpenOptions::new().append(true).open(&log).expect("opens");
    writes
        .write_all(&vec![b'.'; (16 << 20) + 1])
        .expect("writes much");
    // The next keeper looks as soon as it begins.
    site.kill_keeper().await;
    let processes = site.processes();
    assert!(site.stable().await.is_complete());
    until("it was cut", || async {
        fs::metadata(&log).expect("is there").len() < 1000
    })
    .await;
    let kept = fs::metadata(site.folder().join("logs/v1.log.1")).expect("is kept");
    assert_eq!(kept.len(), 16 << 20);
    assert_eq!(site.processes(), processes);
}

async fn what_a_process_left_behind_between_two_keepers_is_ended(way: Way) {
    let site = Site::with_by(way, BACKENDS, |workload| {
        let serve = workload.command.join(" ");
        let script = format!("sleep 1000 & exec {serve}");
        workload.command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    });
    site.roll_out("v1", 1).await;
    site.complete().await;
    let (main, all) = (site.processes()[0], site.running("v1"));
    let left = *all.iter().find(|pid| **pid != main).expect("it started another");
    site.kill_keeper().await;
    signal(main, Signal::KILL);
    until("it is gone", || async { !lives(main) }).await;
    // Systemd waits for no keeper.
    assert!(way == Way::Units || lives(left));
    until("another took its place", || async {
        site.stable().await.restarts == 1
    })
    .await;
    until("what was left is gone", || async { !lives(left) }).await;
    site.complete().await;
    assert_eq!(site.running_here(), 2);
}

async fn a_crashed_replica_whose_port_is_taken_gets_another(way: Way) {
    // Longer than it takes to take the port.
    let site = Site::with_by(way, BACKENDS, |workload| {
        workload.restart_pause = Span::seconds(2)
    });
    site.roll_out("v1", 1).await;
    site.complete().await;
    let port = site.server("shop", "stable1").port;
    site.kill_keeper().await;
    let old = site.processes()[0];
    signal(old, Signal::KILL);
    until("it is gone", || async { !lives(old) }).await;
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("is free now");
    until("another took its place", || async {
        site.stable().await.restarts == 1
    })
    .await;
    site.complete().await;
    assert_ne!(site.server("shop", "stable1").port, port);
    assert_eq!((site.ask().0.as_str(), site.stable().await.restarts), ("v1", 1));
}

#[tokio::test]
async fn a_backend_that_is_another_now_leaves_none_behind() {
    let two = "backend shop
  server-template stable 3 127.0.0.1:1 weight 100 disabled
backend shop2
  server-template stable 3 127.0.0.1:1 weight 100 disabled
";
    let site = Site::with(two, |_| {});
    site.roll_out("v1", 2).await;
    site.complete().await;
    let mut config = site.config.clone();
    config.workloads.get_mut(NAME).expect("is there").backend = Some("shop2".to_owned());
    let fleet = HostFleet::new(&config, Site::keeper()).expect("usable");
    fleet.revive().await.expect("tells the keeper");
    let open = |backend: &str| {
        let open = |n: u32| site.server(backend, &format!("stable{n}")).admin_state & 1 == 0;
        (1..=3).filter(|n| open(*n)).count()
    };
    until("the other has them", || async {
        (open("shop"), open("shop2")) == (0, 2)
    })
    .await;
    let group = fleet.observe(&site.at(), Side::Stable).await.expect("observes");
    assert_eq!(group.expect("stands").restarts, 0);
}

#[tokio::test]
async fn what_haproxy_itself_finds_down_is_not_available() {
    let checked = "backend shop
  option httpchk GET /ready
  http-check expect status 500
  server-template stable 3 127.0.0.1:1 weight 100 check inter 50ms fall 1 rise 1 disabled
";
    let site = Site::with(checked, |_| {});
    site.roll_out("v1", 1).await;
    until("HAProxy finds it down", || async {
        let server = site.server("shop", "stable1");
        server.admin_state & 1 == 0 && server.is_down
    })
    .await;
    let what = "replica 2 of v1 is ready, and HAProxy's own check of shop/stable1 fails";
    until("it is told", || async {
        site.stable().await.trouble == [what.to_owned()]
    })
    .await;
    assert_eq!(site.stable().await.available, 0);
    site.haproxy.ask("disable health shop/stable1");
    // A check that is under way ends all the same.
    until("it is available", || async {
        site.haproxy.ask("set server shop/stable1 health up");
        site.stable().await.is_complete()
    })
    .await;
    assert_eq!(site.stable().await.trouble, Vec::<String>::new());
}

async fn a_check_that_hangs_holds_up_nobody(way: Way) {
    const INTERVAL: Duration = Duration::from_secs(20);
    let site = Site::with_by(way, BACKENDS, |workload| workload.ready_interval = Span(INTERVAL));
    site.roll_out("v1", 2).await;
    site.complete().await;
    let begun = Instant::now();
    site.launch("hanging", 1).await;
    until("it runs", || async { !site.running("hanging").is_empty() }).await;
    signal(site.running("v1")[0], Signal::KILL);
    until("another took its place", || async {
        let stable = site.stable().await;
        stable.restarts == 1 && stable.ready == 2
    })
    .await;
    assert!(begun.elapsed() < INTERVAL, "{:?}", begun.elapsed());
    assert_eq!(site.group(Side::Candidate).await.expect("stands").ready, 0);
}

#[tokio::test]
async fn what_is_never_ready_is_asked_ever_less_often() {
    let site = Site::with(BACKENDS, |workload| {
        workload.command = ["sleep", "1000"].map(str::to_owned).to_vec();
    });
    site.roll_out("v1", 1).await;
    until("it runs", || async { !site.running("v1").is_empty() }).await;
    // In its place, somebody who counts.
    let (port, _) = site.config.workloads[NAME].ports;
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("is free");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            notes.lock().expect("no panic").push(Instant::now());
            _ = stream.read(&mut [0; 1024]);
            _ = stream.write_all(b"HTTP/1.1 503 Not Yet\r\n\r\n");
        }
    });
    let begun = Instant::now();
    until("two seconds went by", || async {
        begun.elapsed() > Duration::from_secs(2)
    })
    .await;
    let asked = asked.lock().expect("no panic").len();
    assert!((1..=20).contains(&asked), "{asked} times");
}
