//! What is so only where systemd starts what runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use adapter_host::{HostFleet, Supervisor};
use domain::{ErrorKind, Span};
use ports::{Fleet, RollOut, Side};
use rustix::process::Signal;

use crate::peers::{BACKENDS, Site, Way, both_ways, idem, lives, signal, until};

both_ways! {
    every_word_reaches_the_program_as_it_is_written
}

/// The unit that a process is in, by the system's own word.
fn unit_of(pid: i32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("lives");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let group = group.expect("is in a control group");
    let (slice, unit) = group.rsplit_once('/').expect("a path");
    if unit.starts_with("longshore-shop") {
        assert!(slice.ends_with("/longshore.slice"), "{group}");
    }
    unit.to_owned()
}

fn umask(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("lives");
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.expect("is told").trim().to_owned()
}

fn is_unit(pid: i32) -> bool {
    unit_of(pid).starts_with("longshore-shop-checkout-")
}

fn units(site: &Site) -> Vec<String> {
    let listed = site
        .systemd()
        .ask(&["list-units", "--all", "longshore-*.service"]);
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_runs_is_known_to_systemd_by_its_name() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let listed = units(&site);
    assert_eq!(listed.len(), 3, "{listed:?}");
    let keeper = site.keeper_pid().await;
    assert!(unit_of(keeper).starts_with("longshore-shop-checkout-keeper-"));
    assert_eq!(umask(keeper), "0077");
    let runs = fs::read_dir(site.folder().join("runs")).expect("lists");
    let files: Vec<_> = runs
        .map(|run| run.expect("reads").path().join("environment"))
        .collect();
    for file in &files {
        let mode = fs::metadata(file).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(files.len(), 2);
    site.systemd().ask(&["daemon-reload"]);
    let mut described = Vec::new();
    for pid in site.processes() {
        let unit = unit_of(pid);
        assert!(
            unit.starts_with("longshore-shop-checkout-v1-") && listed.contains(&unit),
            "{unit} {listed:?}"
        );
        let show = |property: &str| {
            let said = site
                .systemd()
                .ask(&["show", "--value", "--property", property, &unit]);
            said.trim().to_owned()
        };
        assert_eq!(show("MainPID"), pid.to_string());
        assert_eq!(show("TimeoutStopUSec"), "10s");
        assert_eq!(umask(pid), "0077");
        assert!(show("EnvironmentFiles").contains("/environment "));
        assert_eq!(show("Environment"), "", "all may read it");
        described.push(show("Description"));
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("reads");
        let names: Vec<_> = environment
            .split('\0')
            .filter_map(|line| line.split('=').next())
            .collect();
        assert!(names.contains(&"PATH") && names.contains(&"PORT"), "{names:?}");
        let ours = "CARGO_MANIFEST_DIR";
        assert!(
            std::env::var_os(ours).is_some() && !names.contains(&ours),
            "{names:?}"
        );
    }
    described.sort();
    assert_eq!(
        described,
        [
            "longshore: replica 2 of shop/checkout v1",
            "longshore: replica 4 of shop/checkout v1"
        ]
    );

    // What has ended is no unit any more, whether it ended well or not.
    site.roll_out("crashing", 2).await;
    until("some crashed", || async { site.stable().await.restarts > 2 }).await;
    site.roll_out("v2", 2).await;
    site.complete().await;
    until("only what runs is known", || async { units(&site).len() == 3 }).await;
    assert!(site.processes().into_iter().all(is_unit));
}

/// A worker that systemd stops with all of its control group, as KillMode= is when nobody says otherwise.
#[tokio::test]
async fn nothing_ends_with_the_worker_that_began_it() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let config = site.versions().with_file_name("host.json");
    fs::write(&config, serde_json::to_vec(&site.config).expect("is JSON")).expect("writes");
    let runtime_dir = site.systemd().runtime_dir();
    let started = std::process::Command::new("systemd-run")
        .args(["--user", "--quiet", "--collect", "--unit=worker.service", "--"])
        .arg(&site.keeper.program)
        .args(["work", &std::process::id().to_string()])
        .args([&config, &runtime_dir])
        .env("XDG_RUNTIME_DIR", &runtime_dir)
        .status();
    assert!(started.expect("runs systemd-run").success());

    // The worker's own look starts another in the place of a keeper that somebody stopped.
    let before = site.keeper_pid().await;
    site.systemd().ask(&["stop", &unit_of(before)]);
    until("there is another keeper", || async {
        site.keeper_pid().await != before
    })
    .await;
    let (keeper, worker) = (
        site.keeper_pid().await,
        site.systemd()
            .ask(&["show", "--value", "--property=MainPID", "worker.service"]),
    );
    let worker: i32 = worker.trim().parse().expect("a number");
    assert!(is_unit(keeper) && unit_of(worker) == "worker.service");
    // And that keeper starts what is wished for.
    let old = site.processes();
    signal(old[0], Signal::KILL);
    until("another took its place", || async {
        let now = site.processes();
        now.len() == 2 && !now.contains(&old[0])
    })
    .await;
    let running = site.processes();

    site.systemd().ask(&["stop", "worker.service"]);
    assert!(!lives(worker));
    assert!(lives(keeper), "its keeper goes on");
    assert_eq!(site.processes(), running);
    assert!(running.contains(&site.ask().1), "and what runs serves");
}

#[tokio::test]
async fn a_keeper_that_dies_is_started_again_by_systemd_alone() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let (keeper, processes) = (site.keeper_pid().await, site.processes());
    site.kill_keeper().await;
    // Nobody looks at the workload.
    until("another is at work", || async {
        site.keeper_pid().await != keeper
    })
    .await;
    assert!(is_unit(site.keeper_pid().await));
    assert_eq!(site.processes(), processes);
}

/// As systemd does, with the words of before, when a keeper dies just as the setting has become another.
#[tokio::test]
async fn a_keeper_that_was_begun_another_way_than_the_setting_says_makes_room() {
    let site = Site::start();
    site.roll_out("v1", 1).await;
    site.complete().await;
    let running = site.processes();
    site.kill_keeper().await;
    let mut keeper = std::process::Command::new(&site.keeper.program)
        .args(&site.keeper.args)
        .args(["--begun-by", "systemd"])
        .arg(site.folder())
        .spawn()
        .expect("starts");
    until("it has ended", || {
        let ended = keeper.try_wait().expect("looks after it").is_some();
        async move { ended }
    })
    .await;
    assert!(keeper.wait().expect("has ended").success());
    assert_eq!(site.processes(), running);
    site.complete().await;
    assert_eq!(site.processes(), running, "a process keeps it again");
}

/// An update of any package of the machine's may have systemd read all units again.
#[tokio::test]
async fn what_systemd_reads_again_goes_on_as_before() {
    let site = Site::with_by(Way::Units, BACKENDS, |workload| {
        workload.restart_pause = Span::seconds(600);
        workload.longest_restart_pause = Span::seconds(600);
        workload.stop_grace = Span::seconds(0);
    });
    site.roll_out("v1", 1).await;
    site.complete().await;
    let (keeper, processes) = (site.keeper_pid().await, site.processes());
    site.systemd().ask(&["daemon-reload"]);
    let unit = unit_of(processes[0]);
    let show = ["show", "--value", "--property=TimeoutStopUSec", &unit];
    assert_eq!(
        site.systemd().ask(&show).trim(),
        "5s",
        "time to tell how it ended"
    );
    site.kill_keeper().await;
    until("another is at work", || async {
        site.keeper_pid().await != keeper
    })
    .await;
    assert!(is_unit(site.keeper_pid().await));
    signal(processes[0], Signal::KILL);
    until("it is told how it ended", || async {
        let told = site.stable().await.trouble;
        told.iter()
            .any(|line| line.contains("ended with signal: SIGKILL"))
    })
    .await;
}

/// As after a restart of the machine, or of its user's systemd.
#[tokio::test]
async fn what_is_gone_with_all_units_is_begun_anew() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let (keeper, processes) = (site.keeper_pid().await, site.processes());
    site.systemd().ask(&["stop", "longshore.slice"]);
    assert_eq!((site.running_here(), units(&site)), (0, Vec::new()));
    assert!(!lives(keeper));
    site.fleet.revive().await.expect("revives");
    // The first look of the new keeper tells that what was there is gone.
    until("another two run", || async {
        let now = site.processes();
        now.len() == 2 && now.iter().all(|pid| !processes.contains(pid))
    })
    .await;
    site.complete().await;
    let now = site.processes();
    assert_eq!((now.len(), site.ask().0.as_str()), (2, "v1"));
    assert!(now.iter().all(|pid| is_unit(*pid) && !processes.contains(pid)));
}

/// It leaves its process group and its session, and not its control group.
#[tokio::test]
async fn what_hides_from_its_group_is_ended_too() {
    let site = Site::with_by(Way::Units, BACKENDS, |workload| {
        let serve = workload.command.join(" ");
        let script = format!("setsid sleep 1000 & exec {serve}");
        workload.command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    });
    site.roll_out("v1", 1).await;
    site.complete().await;
    assert_eq!(site.running("v1").len(), 2);
    site.roll_out("v2", 1).await;
    site.complete().await;
    until("all of it is gone", || async { site.running("v1").is_empty() }).await;
}

async fn every_word_reaches_the_program_as_it_is_written(way: Way) {
    const ODD: &str = "a  $HOME ${PATH} $$ $0 %n %% \"b' \\x41 \\ ;& ünïcode\n\ttwo ";
    let site = Site::with_by(way, BACKENDS, |workload| {
        let serve = workload.command.join(" ");
        let script = format!("printf '%s\n' \"$1\" \"$ODD\" >odd; exec {serve}");
        workload.command = ["/bin/sh", "-c", &script, "sh", ODD].map(str::to_owned).to_vec();
        workload.env.insert("ODD".to_owned(), ODD.to_owned());
    });
    site.roll_out("v1", 1).await;
    site.complete().await;
    let heard = fs::read_to_string(site.versions().join("v1/odd")).expect("reads");
    assert_eq!(heard, format!("{ODD}\n{ODD}\n"));
}

async fn warnings(site: &Site) -> Vec<String> {
    let seen = site.config.supervision(&site.keeper.runtime_dir).await;
    let warnings = seen.expect("may start units").warnings;
    warnings.into_iter().map(|(what, _)| what).collect()
}

/// Starts wait for it as long as they may; what dies meanwhile gets no more requests.
#[tokio::test]
async fn a_systemd_that_hangs_holds_up_nothing_but_what_it_is_to_start() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let first = site.ask().1;
    let manager = parent(site.keeper_pid().await);
    signal(manager, Signal::STOP);
    let since = Instant::now();
    let mark = site.stable().await.mark;
    let scaled = site
        .fleet
        .scale(&site.at(), Side::Stable, 6, &mark, &idem())
        .await;
    scaled.expect("scales");
    until("the new ones are begun", || async {
        site.stable().await.total == 6
    })
    .await;
    signal(first, Signal::KILL);
    until("its server is closed", || async {
        (1..=2).any(|n| site.server("shop", &format!("stable{n}")).admin_state & 1 == 1)
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    signal(manager, Signal::CONT);
    site.complete().await;
    assert_eq!(site.processes().len(), 6);
}

fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.expect("is told").trim().parse().expect("a number")
}

#[tokio::test]
async fn what_runs_goes_on_as_it_was_started_when_the_setting_is_another() {
    let site = Site::start_by(Way::Units);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let (unit, keeper) = (site.processes(), site.keeper_pid().await);
    let mut config = site.config.clone();
    config.supervisor = Supervisor::Process;
    let by_us = HostFleet::new(&config, site.keeper.clone()).expect("usable");
    until("it is kept by a process of ours", || async {
        by_us.revive().await.expect("revives");
        !is_unit(site.keeper_pid().await)
    })
    .await;
    assert!(!lives(keeper));
    let look = || async {
        let seen = by_us.observe(&site.at(), Side::Stable).await;
        seen.expect("observes").expect("stands")
    };
    let scaled = by_us
        .scale(&site.at(), Side::Stable, 2, &look().await.mark, &idem())
        .await;
    scaled.expect("scales");
    until("both are there", || async { look().await.is_complete() }).await;
    let new = site.processes().into_iter().find(|pid| !unit.contains(pid));
    let new = new.expect("another");
    assert!(is_unit(unit[0]) && !is_unit(new));
    // Who looks before the keeper is replaced is told of both, and who looks then of what it left.
    let by_us_still = site.keeper_pid().await;
    assert_eq!(
        warnings(&site).await,
        [format!(
            "1 of 2 replicas of shop/checkout are no units (processes {new}), nor is their keeper (process {by_us_still}): \
             they end with the worker unless its unit has KillMode=process"
        )]
    );

    // And back.
    until("it is kept by a unit", || async {
        site.fleet.revive().await.expect("revives");
        is_unit(site.keeper_pid().await)
    })
    .await;
    assert!(lives(unit[0]) && lives(new));
    site.complete().await;
    let told = warnings(&site).await;
    assert!(
        told.len() == 1 && told[0].contains(&format!("(processes {new}): they end")),
        "{told:?}"
    );
    assert_eq!(site.stable().await.restarts, 0);
    site.roll_out("v2", 2).await;
    site.complete().await;
    assert!(!lives(unit[0]) && !lives(new));
    assert!(site.processes().into_iter().all(is_unit));
    assert!(warnings(&site).await.is_empty());
    assert_eq!(site.ask().0, "v2");
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_told() {
    let site = Site::start();
    let mut config = site.config.clone();
    config.supervisor = Supervisor::SystemdUser;
    let fleet = HostFleet::new(&config, site.keeper.clone()).expect("usable");
    let wanted = RollOut {
        version: "v1".to_owned(),
        replicas: 1,
        pace: None,
    };
    let error = fleet.roll_out(&site.at(), &wanted, None, &idem()).await;
    let error = error.expect_err("nobody starts it");
    assert_eq!(error.kind, ErrorKind::Timeout, "the wish stands");
    for part in [
        "could not be started: longshore-shop-checkout-keeper-",
        "systemd's manager of this user refused",
        "loginctl enable-linger",
        "see /nowhere?",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let told = fleet.observe(&site.at(), Side::Stable).await.expect("observes");
    let told = told.expect("is wished for").trouble;
    assert!(told[0].contains("loginctl enable-linger"), "{told:?}");
    let error = config.supervision(&site.keeper.runtime_dir).await;
    assert!(error.expect_err("is tried").to_string().contains("refused"));
    // Where it is told to keep processes itself, the same wish is followed.
    site.complete().await;
    assert_eq!(site.ask().0, "v1");
}

#[tokio::test]
async fn who_looks_is_told_what_keeps_a_host() {
    let site = Site::start_by(Way::Units);
    let seen = site.config.supervision(&site.keeper.runtime_dir).await;
    let seen = seen.expect("may start units");
    assert!(
        seen.by.starts_with("units of systemd's manager of this user 2"),
        "{seen:?}"
    );
    until("nothing is left of the look", || async {
        units(&site).is_empty()
    })
    .await;
    let mut config = site.config.clone();
    config.supervisor = Supervisor::Process;
    let seen = config.supervision(&site.keeper.runtime_dir).await.expect("is so");
    assert_eq!(
        (seen.by.as_str(), seen.warnings),
        ("processes of our own", Vec::new())
    );
}
