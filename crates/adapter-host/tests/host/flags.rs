//! Flags in a file that flagd reads: the port's suite, and what is special to files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter_host::FlagFile;
use async_trait::async_trait;
use domain::{ErrorKind, Idem};
use ports::conformance::Breakage;
use ports::conformance::flags::FlagWorld;
use ports::{FlagRef, FlagStore};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    path: PathBuf,
    file: FlagFile,
    made: AtomicUsize,
}

fn start() -> World {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("flags.json");
    let flags = json!({
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": { "somebody-elses": flag(&json!({ "fractional": [["on", 80], ["off", 20]] })) },
    });
    fs::write(&path, flags.to_string()).expect("writes");
    World {
        file: FlagFile::new(&path),
        dir,
        path,
        made: AtomicUsize::new(0),
    }
}

fn flag(targeting: &Value) -> Value {
    json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting })
}

fn at(key: &str) -> FlagRef {
    FlagRef {
        store: "shop".to_owned(),
        key: key.to_owned(),
        scope: None,
    }
}

fn idem() -> Idem {
    Idem::new("task/run/flag")
}

impl World {
    fn flags(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.path).expect("reads")).expect("is JSON")
    }

    /// As an editor writes.
    fn put(&self, key: &str, percent: u32) {
        let mut flags = self.flags();
        flags["flags"][key] = flag(&json!({ "fractional": [["on", percent], ["off", 100 - percent]] }));
        fs::write(&self.path, flags.to_string()).expect("writes");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Of a folder that is closed nothing can be removed.
        _ = fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755));
    }
}

#[async_trait]
impl FlagWorld for World {
    fn port(&self) -> &dyn FlagStore {
        &self.file
    }
    async fn flag(&self, percent: u32) -> FlagRef {
        let key = format!("new-checkout-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.put(&key, percent);
        at(&key)
    }
    fn missing(&self) -> FlagRef {
        at("never-made")
    }
    async fn meddle(&self, at: &FlagRef, percent: u32) {
        self.put(&at.key, percent);
    }
    async fn foreign(&self, at: &FlagRef) -> String {
        let mut flags = self.flags();
        flags["flags"][&at.key]["targeting"].take();
        let beside = fs::read_dir(self.dir.path()).expect("lists").count();
        format!("{flags} among {beside}")
    }
    /// A file that was replaced is another one.
    async fn changes(&self) -> usize {
        use std::os::unix::fs::MetadataExt as _;
        let file = fs::metadata(&self.path).expect("is there");
        file.ino().try_into().expect("a number")
    }
    async fn deny_writes(&self) {
        // Root may write everywhere but for this: the right is this thread's.
        let mut rights = capabilities(None).expect("are told");
        rights.effective.remove(CapabilitySet::DAC_OVERRIDE);
        set_capabilities(None, rights).expect("may be given up");
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o555)).expect("closes the folder");
    }
    async fn break_next(&self, _: Breakage) {
        unreachable!("a file has no connection to break");
    }
}

ports::flags_conformance!(local start());

#[tokio::test]
async fn a_link_stays_one_and_the_file_keeps_its_mode() {
    let world = start();
    let at = world.flag(0).await;
    fs::set_permissions(&world.path, fs::Permissions::from_mode(0o640)).expect("sets");
    let link = world.dir.path().join("current.json");
    symlink("flags.json", &link).expect("links");
    let file = FlagFile::new(&link);
    file.check().expect("is in order");
    let seen = file.read(&at).await.expect("reads").mark;
    file.set(&at, 30, &seen, &idem()).await.expect("sets");
    assert!(link.is_symlink());
    assert_eq!(
        fs::metadata(&world.path).expect("is there").permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(world.file.read(&at).await.expect("reads").percent, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_change_flags_of_one_file_lose_neither_change() {
    let world = start();
    let flags = [world.flag(0).await, world.flag(0).await];
    let roll_out = |at: FlagRef| {
        let file = world.file.clone();
        tokio::spawn(async move {
            let mut seen = file.read(&at).await.expect("reads").mark;
            for percent in 1..=50 {
                seen = file.set(&at, percent, &seen, &idem()).await.expect("sets").mark;
            }
        })
    };
    for over in flags.clone().map(roll_out) {
        over.await.expect("no conflict");
    }
    for at in &flags {
        assert_eq!(world.file.read(at).await.expect("reads").percent, 50);
    }
}

#[tokio::test]
async fn what_is_no_file_of_flags_is_told() {
    let world = start();
    fs::write(&world.path, "flags: {}").expect("writes");
    let told = world.file.check().expect_err("is YAML").to_string();
    assert!(told.contains("flags.json does not hold flags"), "{told}");
    fs::remove_file(&world.path).expect("removes");
    let error = world.file.read(&at("any")).await.expect_err("is gone");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.to_string().contains("there is no file"), "{error}");
}
