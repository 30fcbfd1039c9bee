//! A worker of the version before this one on this version's tables, alone and beside this version's workers: who
//! upgrades migrates first and changes the workers one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use testkit::peer::{Fault, When};

use crate::bench::{Bench, LONG};
use crate::worker::{self, Process};

/// Names the commit that is the previous version.
const NAMED_IN: &str = "tests/previous-version";

/// Asks nothing of the outside.
const SIMPLE: &str = "INSERT INTO tasks (task_type, priority, payload)
    SELECT 'fix_build', 5, '{\"log\": \"make: *** [all] Error 2\"}' FROM generate_series(1, 40)";

/// Its retry waits until a quota has refilled: the task parks.
const QUOTA: &str = "ERROR: Job failed: failed to pull image \"ubuntu:latest\" with specified policies [always]: \
    Error response from daemon: toomanyrequests: You have reached your pull rate limit.\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the repository")
}

fn git(args: &[&str]) -> Output {
    let out = Command::new("git").args(args).current_dir(root()).output();
    out.unwrap_or_else(|error| panic!("git {args:?}: {error}; this test needs git"))
}

/// The commit; or what is wrong with this clone.
fn commit() -> Result<String, String> {
    let named = fs::read_to_string(root().join(NAMED_IN)).map_err(|error| format!("{NAMED_IN}: {error}"))?;
    let is_comment = |line: &&str| !line.starts_with('#') && !line.is_empty();
    let commit = named
        .lines()
        .find(is_comment)
        .ok_or(format!("{NAMED_IN} names no commit"))?;
    if git(&["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .status
        .success()
    {
        return Ok(commit.to_owned());
    }
    let shallow = git(&["rev-parse", "--is-shallow-repository"])
        .stdout
        .starts_with(b"true");
    Err(match shallow {
        true => format!(
            "this clone is shallow and lacks {commit} (named in {NAMED_IN}); run: git fetch --unshallow"
        ),
        false => format!(
            "there is no commit {commit} here (named in {NAMED_IN}); clone the repository with its history, or name there \
             the last released commit"
        ),
    })
}

/// The binary of the previous version, built from this repository's history into this target folder, where the crates of
/// others stand already. Its own crates have another version there, and the binary another name, lest they
/// take the place of ours.
fn previous() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let commit = commit().unwrap_or_else(|wrong| panic!("{wrong}"));
        let test = std::env::current_exe().expect("a test knows its own path");
        let target = test.ancestors().nth(3).expect("TARGET/PROFILE/deps/TEST");
        let sources = target.join("previous-version").join(&commit);
        if !sources.is_dir() {
            unpack(&commit, &sources);
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--workspace", "--bin", "longshore-previous"])
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", target)
            .output()
            .expect("run cargo");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(
            built.status.success(),
            "the previous version ({commit}) cannot be built:\n{said}"
        );
        target.join("debug/longshore-previous")
    })
}

/// The commit's files, put in place in one move: a test that is killed leaves no half of them.
fn unpack(commit: &str, to: &Path) {
    let unfinished = to.with_extension(std::process::id().to_string());
    fs::create_dir_all(&unfinished).expect("a folder for the sources");
    let mut archive = Command::new("git")
        .args(["archive", "--format=tar", commit])
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run git");
    let taken = Command::new("tar")
        .args(["-x", "-C"])
        .arg(&unfinished)
        .stdin(archive.stdout.take().expect("git's output"))
        .status()
        .expect("run tar");
    assert!(
        taken.success() && archive.wait().expect("git's end").success(),
        "git archive {commit} | tar -x"
    );
    edit(
        &unfinished.join("Cargo.toml"),
        "version = \"0.",
        "version = \"0.0.0-previous.",
    );
    edit(
        &unfinished.join("crates/daemon/Cargo.toml"),
        "[[bin]]\nname = \"longshore\"",
        "[[bin]]\nname = \"longshore-previous\"",
    );
    // Another test may have been faster.
    if fs::rename(&unfinished, to).is_err() {
        assert!(to.is_dir(), "could not put the sources in {}", to.display());
        fs::remove_dir_all(&unfinished).expect("remove the sources");
    }
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(text.contains(from), "{} holds no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).expect("write the manifest");
}

/// The two versions, each with the other: who is first, and who comes after.
fn both_ways() -> [(&'static Path, &'static Path); 2] {
    [(previous(), worker::binary()), (worker::binary(), previous())]
}

/// All builds dealt with and told of, whichever versions worked on them, and so many jobs run again.
async fn all_done_once(bench: &Bench, retries: usize) {
    let came = bench.done().await;
    assert_eq!(came.retries, retries, "{came:#?}");
    // One that parks is told of while it waits too, in a note of its own.
    assert_eq!(came.notes, [1, 1, 2][..came.notes.len()], "{came:#?}");
    let of = |kind: &str| came.tasks.iter().filter(|task| task.starts_with(kind)).count();
    assert_eq!(of("implement_fix"), 1, "{came:#?}");
    assert_eq!(
        bench
            .value("SELECT count(*) FROM tasks WHERE worker_id IS NOT NULL")
            .await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_version_claims_parks_retries_and_finishes_on_these_tables() {
    let mut bench = Bench::new().await;
    bench.add("pull", QUOTA, 7).await;
    bench.sql(SIMPLE).await;
    // Its first looks at the logs fail, and pass later.
    bench
        .gitlab
        .faults(3, &When::on("GET", "/trace"), &Fault::Status(503));
    let short = [
        ("LONGSHORE_FIX_BUILD_QUOTA_WAIT_S", "1"),
        ("LONGSHORE_WORKER_LEASE", LONG),
    ];
    let _worker = bench.worker_of(previous(), &short);
    all_done_once(&bench, 2).await;
    let waited = bench
        .value("SELECT count(*) FROM longshore.task_events WHERE kind = 'retried'")
        .await;
    assert!(waited.parse::<u32>().is_ok_and(|times| times >= 1), "{waited}");
    let parked = bench
        .value("SELECT count(*) FROM longshore.task_events WHERE kind = 'parked'")
        .await;
    assert!(parked.parse::<u32>().is_ok_and(|times| times >= 1), "{parked}");
    let simple = "FROM tasks WHERE priority = 5 AND task_type = 'fix_build' AND status = 'completed' AND result IS NOT NULL";
    assert_eq!(bench.value(&format!("SELECT count(*) {simple}")).await, "40");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_version_obeys_a_cancel_on_these_tables() {
    let bench = Bench::new().await;
    bench.gitlab.faults(100, &When::on("GET", "/trace"), &Fault::Hang);
    let _worker = bench.worker_of(previous(), &[("LONGSHORE_WORKER_LEASE", LONG)]);
    let running = "EXISTS (SELECT FROM tasks WHERE priority = 9 AND worker_id IS NOT NULL)";
    bench.until_holds("it runs a task", running).await;
    bench.sql("UPDATE tasks SET status = 'cancelled'").await;
    bench
        .until_holds(
            "both are cancelled for good",
            "count(*) = 2 FROM tasks WHERE status = 'cancelled' AND worker_id IS NULL AND wait IS NULL
                AND (completed_at IS NOT NULL OR priority = 8)",
        )
        .await;
    assert_eq!(bench.gitlab.retries(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_version_takes_over_from_the_other() {
    for (first, second) in both_ways() {
        let bench = Bench::new().await;
        bench.gitlab.fault(&When::on("GET", "/trace"), &Fault::Hang);
        let patient = [
            ("LONGSHORE_GITLAB_TIMEOUT", "10m"),
            ("LONGSHORE_WORKER_LEASE", LONG),
        ];
        let mut dies = bench.worker_of(first, &patient);
        bench.until_reading().await;
        dies.kill();
        bench.bury().await;
        let _next = bench.worker_of(second, &[("LONGSHORE_WORKER_LEASE", LONG)]);
        all_done_once(&bench, 1).await;
        assert_eq!(
            bench.value("SELECT max(crashes) FROM tasks").await,
            "1",
            "{first:?}, then {second:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_at_one_table_do_each_task_once() {
    let bench = Bench::new().await;
    bench
        .sql(
            "CREATE TABLE test_runs (task_id text, worker_id text);
             CREATE FUNCTION test_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO test_runs VALUES (NEW.id, NEW.worker_id); RETURN NULL;
             END $$;
             CREATE TRIGGER test_run AFTER UPDATE ON tasks FOR EACH ROW
                 WHEN (NEW.worker_id IS NOT NULL AND NEW.attempt <> OLD.attempt) EXECUTE FUNCTION test_run();",
        )
        .await;
    let steady = [("LONGSHORE_WORKER_LEASE", LONG)];
    let workers: Vec<Process> = [previous(), worker::binary()]
        .map(|binary| bench.worker_of(binary, &steady))
        .into();
    bench
        .until_holds("both are ready", "count(*) = 2 FROM longshore.workers")
        .await;
    for _ in 0..3 {
        bench.sql(SIMPLE).await;
    }
    all_done_once(&bench, 1).await;
    let simple = "FROM test_runs r JOIN tasks t ON t.id = r.task_id WHERE t.priority = 5 AND t.task_type = 'fix_build'";
    let runs = bench
        .value(&format!(
            "SELECT count(*) || ' of ' || count(DISTINCT task_id) {simple}"
        ))
        .await;
    assert_eq!(runs, "120 of 120");
    for worker in &workers {
        let share = format!(
            "SELECT count(*) FROM test_runs r JOIN longshore.workers w ON w.id = r.worker_id WHERE w.pid = {}",
            worker.pid()
        );
        assert_ne!(bench.value(&share).await, "0", "one of them did nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_version_leaves_a_newer_schema_as_it_is() {
    let bench = Bench::new().await;
    // Whatever this version added, the next one adds more.
    bench
        .sql(
            "INSERT INTO longshore.migrations (version, description, success, checksum, execution_time)
             VALUES (99990101, 'of the next version', true, '\\x00', 0)",
        )
        .await;
    let schema = "SELECT md5(string_agg(c::text, '' ORDER BY c::text)) FROM information_schema.columns c
                   WHERE table_schema IN ('public', 'longshore')";
    let before = bench.value(schema).await;
    let mut migrate = Process::start_of(
        previous(),
        &["migrate"],
        &[("DATABASE_URL", bench.database.url())],
    );
    let status = migrate.ended().await;
    let said = migrate.said();
    assert!(!status.success(), "{said}");
    assert!(
        said.contains("does not know") && said.contains("newer longshore"),
        "{said}"
    );
    assert_eq!(bench.value(schema).await, before);
    let _worker = bench.worker_of(previous(), &[("LONGSHORE_WORKER_LEASE", LONG)]);
    all_done_once(&bench, 1).await;
}
