//! docs/how-to/write-a-handler.md, as its reader follows it: the files are taken from the page, built, tested and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::postgres::Changes;
use tokio::time::{Instant, timeout_at};

use crate::documented::fits;
use crate::peers::{root, run_well};

const PAGE: &str = "docs/how-to/write-a-handler.md";

/// The fenced blocks of a page: what the fence says, the line before it that is not empty, and the text.
struct Block {
    info: String,
    above: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut inside, mut above) = (false, "");
    for line in page.lines() {
        match (inside, line.strip_prefix("```")) {
            (false, Some(info)) => {
                inside = true;
                found.push(Block {
                    info: info.to_owned(),
                    above: above.to_owned(),
                    text: String::new(),
                });
            }
            (true, Some(_)) => (inside, above) = (false, ""),
            (true, None) => {
                let block = found.last_mut().expect("a block is open");
                block.text += &format!("{line}\n");
            }
            (false, None) if !line.is_empty() => above = line,
            (false, None) => {}
        }
    }
    found
}

/// A line of its own, ``**`src/main.rs`**``, names the file that the block below it is.
fn file(block: &Block) -> Option<&str> {
    block.above.strip_prefix("**`")?.strip_suffix("`**")
}

fn page() -> Vec<Block> {
    blocks(&fs::read_to_string(root().join(PAGE)).unwrap())
}

/// The target folder that this test was built in.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(3).expect("TARGET/PROFILE/deps/TEST");
    target.to_owned()
}

/// The crate beside the checkout, as the page has it. Its folder stays from run to run, so that what did not change is not
/// built again.
fn lay_out() -> PathBuf {
    let beside = target().join("how-to");
    let krate = beside.join("keeper");
    fs::create_dir_all(beside.join(".cargo")).unwrap();
    let checkout = beside.join("longshore");
    if fs::read_link(&checkout).ok() != Some(root()) {
        let _ = fs::remove_file(&checkout);
        std::os::unix::fs::symlink(root(), &checkout).unwrap();
    }
    // Built as this workspace builds them, the crates of others are in the target folder already.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = workspace.parse().unwrap();
    let profiles = toml::Table::from_iter([("profile".to_owned(), workspace["profile"].clone())]);
    write(&beside.join(".cargo/config.toml"), &profiles.to_string());

    let mut wanted = vec![PathBuf::from("Cargo.lock")];
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    // Cargo takes from it what this crate needs and writes that back, so it is given to it only when it changed.
    if fs::read_to_string(beside.join("Cargo.lock.given")).ok().as_ref() != Some(&lock) {
        write(&krate.join("Cargo.lock"), &lock);
        write(&beside.join("Cargo.lock.given"), &lock);
    }
    for block in page() {
        if let Some(file) = file(&block) {
            write(&krate.join(file), &block.text);
            wanted.push(file.into());
        }
    }
    remove_others(&krate, &krate, &wanted);
    krate
}

/// A file that holds this already keeps its time, by which cargo tells what is to be built.
fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file stands in a folder")).unwrap();
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}

fn remove_others(folder: &Path, krate: &Path, wanted: &[PathBuf]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(krate).expect("a path below").to_owned();
        if path.is_dir() {
            remove_others(&path, krate, wanted);
        } else if !wanted.contains(&relative) {
            fs::remove_file(path).unwrap();
        }
    }
}

fn cargo(krate: &Path, args: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(args)
        .current_dir(krate)
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never");
    // What the test runner tells of the test's own package is not this one's.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("NEXTEST")
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Ended when dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The reader's shell.
struct Shell {
    folder: PathBuf,
    path: String,
    database_url: String,
    task: String,
    worker: Option<Worker>,
    changes: Changes,
}

impl Shell {
    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", &command.replace("TASK", &self.task)])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", &self.path)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env("USER", "ada")
            .env("DATABASE_URL", &self.database_url)
            .env("KEEPER_FOLDER", "databases");
        bash
    }

    /// Types it, again after each change of the task, until it is answered as documented: what the worker does takes its
    /// time. A task is made once.
    async fn type_in(&mut self, command: &str, answer: &str) {
        if let Some(command) = command.strip_suffix(" &") {
            let worker = self
                .bash(&format!("exec {command}"))
                .stderr(Stdio::null())
                .spawn();
            self.worker = Some(Worker(worker.expect("start the worker")));
            return;
        }
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let out = self.bash(command).output().expect("run bash");
            let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
            if out.status.success() && fits(answer, &said) {
                if let Some((_, rest)) = said.split_once("Created refresh_staging task ") {
                    let id = rest.split([',', ' ']).next().expect("an id");
                    self.task = id.to_owned();
                }
                return;
            }
            let again = match command.contains("create-task") {
                true => false,
                false => timeout_at(until, self.changes.next()).await.is_ok(),
            };
            assert!(
                again,
                "`{command}` ended with {} and said:\n{said}\ndocumented:\n{answer}",
                out.status
            );
        }
    }
}

/// `$ COMMAND` lines and the answers below them.
fn commands(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => found.push((command.to_owned(), String::new())),
            None => {
                let (_, answer) = found.last_mut().expect("a block begins with `$ command`");
                *answer += &format!("{line}\n");
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_written_from_the_page_alone_is_built_tested_and_run() {
    let krate = lay_out();
    let config = root().join("rustfmt.toml");
    run_well(cargo(&krate, &["fmt", "--check", "--", "--config-path"]).arg(config));
    let said = run_well(&mut cargo(&krate, &["test", "--offline"]));
    assert!(
        !said.contains("\nwarning"),
        "the page's code is warned of:\n{said}"
    );
    assert!(
        said.contains("test result: ok. 4 passed; 0 failed; 0 ignored"),
        "{said}"
    );

    let home = tempfile::tempdir().unwrap();
    let shop = home.path().join("databases/shop");
    for folder in ["snapshots", "copies/1"] {
        fs::create_dir_all(shop.join(folder)).unwrap();
    }
    fs::write(shop.join("snapshots/2026-01-29"), "all of it").unwrap();
    fs::write(shop.join("staging"), "1").unwrap();
    fs::copy(krate.join("longshore.toml"), home.path().join("longshore.toml")).unwrap();

    let database = testkit::postgres::database().await;
    let mut shell = Shell {
        folder: home.path().to_owned(),
        path: format!(
            "{}:{}",
            target().join("debug").display(),
            std::env::var("PATH").unwrap_or_default()
        ),
        database_url: database.url().to_owned(),
        task: String::new(),
        worker: None,
        changes: database.changes().await,
    };
    let page = page();
    let steps = page
        .iter()
        .find(|block| block.info == "console run")
        .expect("the page's last steps");
    let steps = commands(&steps.text);
    assert!(steps[0].0.starts_with("export DATABASE_URL="), "{steps:?}");
    for (command, answer) in &steps[1..] {
        shell.type_in(command, answer).await;
    }
    assert_eq!(fs::read_to_string(shop.join("staging")).unwrap(), "2");

    // What any program may do, it says: the row alone makes the task.
    let sql = page
        .iter()
        .find(|block| block.info == "sql")
        .expect("a task in SQL");
    let id = database
        .value(&format!("{} RETURNING id", sql.text.trim().trim_end_matches(';')))
        .await;
    shell.task = id.expect("an id");
    shell.type_in("keeper tasks approve TASK", "…").await;
    shell.type_in("keeper tasks watch TASK", "…").await;
    assert_eq!(fs::read_to_string(shop.join("staging")).unwrap(), "3");
}

#[test]
fn each_block_of_code_on_the_page_is_a_file_that_is_built() {
    let page = page();
    let files: Vec<_> = page.iter().filter_map(file).collect();
    for wanted in [
        "Cargo.toml",
        "longshore.toml",
        "src/main.rs",
        "src/refresh.rs",
        "tests/refresh.rs",
    ] {
        assert!(files.contains(&wanted), "{wanted} is not on the page: {files:?}");
    }
    let tree = page
        .iter()
        .find(|block| block.info == "text")
        .expect("the crate's tree");
    for block in &page {
        let code = matches!(block.info.split(' ').next(), Some("rust" | "toml"));
        assert_eq!(code, file(block).is_some(), "a block below {:?}", block.above);
        if let Some(name) = file(block).and_then(|file| file.rsplit('/').next()) {
            assert!(tree.text.contains(name), "the tree does not show {name}");
        }
    }
}

#[test]
fn blocks_are_found_with_their_names() {
    let page = "# A\n\n**`a/b.rs`**\n\n```rust\nfn f() {}\n\n```\ntext\n```console\n$ x\n```\n";
    let found: Vec<_> = blocks(page)
        .iter()
        .map(|block| {
            (
                block.info.clone(),
                file(block).map(str::to_owned),
                block.text.clone(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "rust".to_owned(),
                Some("a/b.rs".to_owned()),
                "fn f() {}\n\n".to_owned()
            ),
            ("console".to_owned(), None, "$ x\n".to_owned()),
        ]
    );
}
