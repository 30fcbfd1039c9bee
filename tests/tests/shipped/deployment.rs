//! docker-compose.yml, the Dockerfile and the service unit, each read by the tool that will read it for real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::peers::{from_venv, longshore, root, run_well};

fn compose() -> Value {
    let text = run_well(
        from_venv("docker-compose")
            .args(["--file", "docker-compose.yml", "config", "--format=json"])
            .env_remove("COMPOSE_FILE")
            .env("POSTGRES_PASSWORD", "from-the-shell"),
    );
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn compose_starts_the_worker_after_a_healthy_and_migrated_database() {
    let services = &compose()["services"];
    assert_eq!(
        services["migrate"]["depends_on"]["postgres"]["condition"],
        "service_healthy"
    );
    for service in ["worker", "api"] {
        assert_eq!(
            services[service]["depends_on"]["migrate"]["condition"], "service_completed_successfully",
            "{service}"
        );
        let url = services[service]["environment"]["DATABASE_URL"].as_str().unwrap();
        assert_eq!(url, "postgres://longshore:from-the-shell@postgres:5432/longshore");
    }
    for service in ["postgres", "api"] {
        assert!(services[service]["healthcheck"]["test"].is_array(), "{service}");
        for port in services[service]["ports"].as_array().unwrap() {
            assert_eq!(
                port["host_ip"], "127.0.0.1",
                "{service} is published beyond this machine"
            );
        }
    }
    assert_eq!(services["postgres"]["volumes"][0]["type"], "volume");
}

#[test]
fn compose_sets_only_keys_that_the_configuration_knows() {
    let known = fs::read_to_string(root().join("config/longshore.toml")).unwrap();
    for (name, value) in compose()["services"]["api"]["environment"].as_object().unwrap() {
        let Some(rest) = name.strip_prefix("LONGSHORE_") else {
            continue;
        };
        let (section, key) = rest.split_once('_').unwrap();
        let (_, body) = known
            .split_once(&format!("[{}]", section.to_lowercase()))
            .unwrap_or_else(|| panic!("{name}={value} names no section of config/longshore.toml"));
        let body = body.split("\n[").next().unwrap_or_default();
        let key = key.to_lowercase();
        let is_key = |line: &str| {
            line.trim_start_matches('#')
                .split_once(" = ")
                .is_some_and(|(name, _)| name.trim() == key)
        };
        assert!(
            body.lines().any(is_key),
            "{name} names no key of config/longshore.toml"
        );
    }
}

/// Cargo writes beside the binary what it was made of.
#[test]
fn the_container_is_sent_all_that_it_is_built_from() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let kept: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    assert_eq!(ignored.lines().next(), Some("*"));
    let sources = fs::read_to_string(longshore().with_extension("d")).unwrap();
    let (_, sources) = sources.split_once(": ").expect("TARGET: SOURCES");
    let root = root().canonicalize().unwrap();
    let sources = sources
        .split_whitespace()
        .map(|path| Path::new(path).canonicalize().unwrap());
    let sources: Vec<PathBuf> = sources
        .filter_map(|path| path.strip_prefix(&root).map(Path::to_owned).ok())
        .chain(["Cargo.toml", "Cargo.lock", "tests/Cargo.toml"].map(PathBuf::from))
        .collect();
    assert!(
        sources.contains(&"migrations/0001_tables.sql".into()),
        "{sources:?}"
    );
    for source in &sources {
        assert!(
            kept.iter().any(|kept| source.starts_with(kept)),
            "{} is needed and .dockerignore leaves it out",
            source.display()
        );
    }
}

#[test]
fn the_dockerfile_is_clean_and_does_not_run_as_root() {
    run_well(from_venv("hadolint").args(["--failure-threshold=style", "deploy/Dockerfile"]));
    let dockerfile = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let (_, run_stage) = dockerfile.rsplit_once("\nFROM ").expect("a stage that runs");
    assert!(run_stage.contains("\nUSER 10001"), "the last stage names no user");
    let wanted = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let rust = wanted
        .lines()
        .find_map(|l| l.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    assert!(
        dockerfile.contains(&format!("FROM rust:{rust}-")),
        "it builds with another Rust than {rust}"
    );
}

fn unit() -> String {
    fs::read_to_string(root().join("deploy/systemd/longshore-worker.service")).unwrap()
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_well_confined() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore-worker.service");
    // The check wants the program to exist; any will do.
    fs::write(&path, unit().replace("/usr/local/bin/longshore", "/bin/true")).unwrap();
    verify(&path);
    // Exposure from 0.0 (none) to 10.0, times ten; the network is most of what is left.
    run_well(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
            .arg(&path),
    );
}

/// The unit with an addition of ours at its end.
fn with_addition(name: &str) -> String {
    let addition = root()
        .join("deploy/systemd/longshore-worker.service.d")
        .join(name);
    let both =
        unit().replace("/usr/local/bin/longshore", "/bin/true") + &fs::read_to_string(addition).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore-worker.service");
    fs::write(&path, &both).unwrap();
    verify(&path);
    both
}

/// What is kept is in no unit of the worker's, so that one is confined as it is without hosts.
#[test]
fn systemd_accepts_what_units_add_to_the_worker_s_and_that_is_little() {
    let both = with_addition("units.conf");
    let (_, added) = both.rsplit_once("[Service]\n").unwrap();
    let added: Vec<_> = added.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        added,
        [
            "DynamicUser=no",
            "StateDirectory=longshore",
            "ProtectHome=read-only"
        ]
    );
}

#[test]
fn systemd_accepts_what_hosts_add_to_the_unit() {
    let both = with_addition("hosts.conf");
    // Of a setting that stands twice the last counts.
    let last = |key: &str| {
        let settings = both.lines().filter_map(|line| line.split_once('='));
        let mut values = settings.filter(|(name, _)| *name == key);
        values.next_back().map(|(_, value)| value)
    };
    for (key, value, why) in [
        ("KillMode", "process", "replicas end with the worker"),
        ("DynamicUser", "no", "the user of what runs goes with the worker"),
        (
            "PrivateTmp",
            "no",
            "/tmp of what runs is deleted with the worker's",
        ),
        (
            "ReadWritePaths",
            "/tmp /var/tmp",
            "ProtectSystem=strict makes /tmp read-only",
        ),
        ("RemoveIPC", "no", "shared memory of what runs is removed"),
        ("ProtectHome", "read-only", "nobody gets from here to units.conf"),
        ("OOMPolicy", "continue", "one replica's hunger ends the worker"),
        (
            "ProcSubset",
            "all",
            "no process is known again without its boot_id",
        ),
    ] {
        assert_eq!(last(key), Some(value), "{key}: {why}");
    }
}

fn verify(unit: &Path) {
    let said = run_well(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(unit),
    );
    let about_ours: Vec<_> = said.lines().filter(|l| l.contains("longshore")).collect();
    assert!(about_ours.is_empty(), "{about_ours:?}");
}

fn seconds(text: &str) -> Duration {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(&text[digits.len()..], "s", "{text}");
    Duration::from_secs(digits.parse().unwrap())
}

#[test]
fn whoever_stops_the_worker_waits_longer_than_its_grace_period() {
    let config = fs::read_to_string(root().join("config/longshore.toml")).unwrap();
    let grace = config
        .lines()
        .find_map(|l| l.strip_prefix("grace = "))
        .expect("worker.grace");
    let least = seconds(grace.trim_matches('"')) + Duration::from_secs(10);
    let unit = unit();
    let systemd = unit
        .lines()
        .find_map(|l| l.strip_prefix("TimeoutStopSec="))
        .expect("TimeoutStopSec");
    assert!(seconds(systemd) >= least, "systemd kills after {systemd}");
    let compose = compose();
    let compose = compose["services"]["worker"]["stop_grace_period"]
        .as_str()
        .expect("stop_grace_period");
    assert!(seconds(compose) >= least, "compose kills after {compose}");
}

/// The database may come hours after the worker; ten starts would be over in minutes.
#[test]
fn the_unit_is_started_until_the_database_is_there() {
    let unit = unit();
    let says = |line: &str| unit.lines().any(|l| l == line);
    assert!(
        says("StartLimitIntervalSec=0") && says("Restart=on-failure"),
        "{unit}"
    );
    assert!(says("RestartPreventExitStatus=2"), "{unit}");
}
