//! What a keeper and its processes survive.

use std::os::unix::net::UnixStream;

use ports::{Fleet, Side};
use rustix::process::Signal;

use crate::peers::{Site, Way, both_ways, idem, lives, signal, until};

both_ways! {
    a_crashed_replica_is_started_again_and_counted
    what_crashes_says_how_and_what_it_last_said
    processes_outlive_their_keeper_and_are_taken_over
    a_keeper_that_is_killed_at_any_moment_leaves_nothing_that_nobody_knows
    a_second_keeper_leaves
    what_is_removed_is_gone_and_its_keeper_with_it
    who_does_not_end_is_ended
}

async fn a_crashed_replica_is_started_again_and_counted(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let before = site.processes();
    assert_eq!((before.len(), site.stable().await.restarts), (2, 0));
    signal(before[0], Signal::KILL);
    until("it was counted", || async { site.stable().await.restarts == 1 }).await;
    site.complete().await;
    let after = site.processes();
    assert_eq!(after.len(), 2);
    assert!(
        !after.contains(&before[0]) && after.contains(&before[1]),
        "{before:?} {after:?}"
    );
    assert_eq!(
        site.stable().await.trouble,
        Vec::<String>::new(),
        "what is mended is no trouble"
    );
}

async fn what_crashes_says_how_and_what_it_last_said(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("crashing", 1).await;
    until("it is told", || async { !site.stable().await.trouble.is_empty() }).await;
    let group = site.stable().await;
    assert_eq!(
        group.trouble[0],
        "replica 2 of crashing ended with exit status: 3, and last said: cannot open the database"
    );
    assert_eq!((group.ready, group.available), (0, 0));
}

async fn processes_outlive_their_keeper_and_are_taken_over(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let (processes, keeper) = (site.processes(), site.keeper_pid().await);
    site.kill_keeper().await;
    assert_eq!(site.processes(), processes, "they go on");
    assert!(processes.contains(&site.ask().1), "and serve");
    // The next look starts a keeper.
    let group = site.stable().await;
    assert!(group.is_complete(), "{group:?}");
    assert_ne!(site.keeper_pid().await, keeper);
    site.complete().await;
    assert_eq!(
        (site.processes(), site.stable().await.restarts),
        (processes.clone(), 0)
    );

    // One of them ends while nobody keeps it.
    site.kill_keeper().await;
    signal(processes[0], Signal::KILL);
    until("it is gone", || async { !lives(processes[0]) }).await;
    until("another took its place", || async {
        site.stable().await.restarts == 1
    })
    .await;
    site.complete().await;
    assert_eq!(site.running_here(), 2);
    assert!(site.processes().contains(&processes[1]));
}

/// The keeper is killed again and again while it rolls out; what then runs is what was wished for, and nothing else.
async fn a_keeper_that_is_killed_at_any_moment_leaves_nothing_that_nobody_knows(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 3).await;
    site.complete().await;
    let mut kills = 0;
    for (round, version) in ["v2", "v3", "v1", "v2"].into_iter().enumerate() {
        site.roll_out(version, 3).await;
        let begun = std::time::Instant::now();
        // Later and later into the roll-out.
        for step in 1..=6 {
            let at = std::time::Duration::from_millis(step * (17 + 11 * round as u64));
            until("it is that late", || async { begun.elapsed() > at }).await;
            site.kill_keeper().await;
            kills += 1;
            assert!(site.stable().await.total <= 4, "no more than three and the surge");
        }
        site.complete().await;
        let group = site.stable().await;
        assert_eq!((group.version.as_str(), group.ready), (version, 3), "{group:?}");
        assert_eq!(site.running_here(), 3, "after {kills} kills");
        assert_eq!(site.ask().0, version);
    }
    assert_eq!(kills, 24);
}

async fn a_second_keeper_leaves(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let (keeper, processes) = (site.keeper_pid().await, site.processes());
    let command = Site::keeper();
    let mut second = tokio::process::Command::new(&command.program);
    second.args(&command.args).arg(site.folder()).kill_on_drop(true);
    let ended = second.status().await.expect("ends");
    assert!(ended.success());
    assert_eq!((site.keeper_pid().await, site.processes()), (keeper, processes));
}

async fn what_is_removed_is_gone_and_its_keeper_with_it(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 2).await;
    site.launch("v2", 1).await;
    site.complete().await;
    let keeper = site.keeper_pid().await;
    site.fleet.remove(&site.at()).await.expect("removes");
    until("the keeper has ended", || async { !lives(keeper) }).await;
    assert_eq!(site.running_here(), 0);
    assert_eq!(site.group(Side::Stable).await, None);
    site.fleet.revive().await.expect("revives");
    assert_eq!(site.group(Side::Candidate).await, None, "nothing to revive");
    site.roll_out("v3", 1).await;
    site.complete().await;
    assert_eq!(site.ask().0, "v3");
}

async fn who_does_not_end_is_ended(way: Way) {
    let deaf = |workload: &mut adapter_host::WorkloadConfig| {
        let serve = workload.command.join(" ");
        let deaf = format!("trap '' TERM; exec {serve}");
        workload.command = ["/bin/sh", "-c", &deaf].map(str::to_owned).to_vec();
        workload.stop_grace = domain::Span(std::time::Duration::from_millis(300));
    };
    let site = Site::with_by(way, crate::peers::BACKENDS, deaf);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let deaf = site.processes()[0];
    let begun = std::time::Instant::now();
    site.roll_out("v2", 1).await;
    until("it was ended", || async { !lives(deaf) }).await;
    assert!(
        begun.elapsed().as_millis() >= 300,
        "it had its time: {:?}",
        begun.elapsed()
    );
    site.complete().await;
}

#[tokio::test]
async fn haproxy_is_told_anew_what_it_forgot() {
    let mut site = Site::start();
    site.roll_out("v1", 2).await;
    site.complete().await;
    site.haproxy.restart();
    until("both serve again", || async {
        let table = site.haproxy.ask("show servers state shop");
        let serving = |line: &&str| line.contains(" stable") && line.split(' ').nth(6) == Some("4");
        table.lines().filter(serving).count() == 2
    })
    .await;
    assert_eq!(site.ask().0, "v1");
    assert_eq!(site.stable().await.restarts, 0);

    site.haproxy.stop();
    assert!(UnixStream::connect(site.haproxy.socket("admin")).is_err());
    site.roll_out("v2", 2).await;
    until("it is told", || async {
        let trouble = site.stable().await.trouble;
        trouble
            .iter()
            .any(|line| line.contains("could not reach HAProxy"))
    })
    .await;
    let group = site.stable().await;
    assert!(
        group.ready == 0 && group.total <= 3,
        "nothing goes on blindly: {group:?}"
    );
    site.haproxy.restart();
    site.complete().await;
    assert_eq!(site.ask().0, "v2");
}

#[tokio::test]
async fn too_few_servers_in_haproxy_are_told() {
    let few = "backend shop\n  server-template stable 1 127.0.0.1:1 weight 100 disabled\n";
    let site = Site::with(few, |_| {});
    site.roll_out("v1", 2).await;
    until("it is told", || async {
        let trouble = site.stable().await.trouble;
        trouble
            .iter()
            .any(|line| line.contains("declare more than 1 named stable1"))
    })
    .await;
    assert_eq!(site.stable().await.ready, 1);
    let less = site.stable().await.mark;
    let scaled = site
        .fleet
        .scale(&site.at(), Side::Stable, 1, &less, &idem())
        .await;
    scaled.expect("scales");
    site.complete().await;
}
