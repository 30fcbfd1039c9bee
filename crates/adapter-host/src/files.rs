//! A workload's folder: what is wished for, what is so, and who may write.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest wait for who writes at the moment: a write takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder of a workload; no two names have the same.
    pub(crate) fn of(state: &Path, workload: &str) -> Self {
        Self(state.join(encode(workload)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn wishes(&self) -> PathBuf {
        self.0.join("wishes.json")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.0.join("settings.json")
    }

    pub(crate) fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    pub(crate) fn keeper_log(&self) -> PathBuf {
        self.0.join("keeper.log")
    }

    /// Who keeps it, or did last.
    pub(crate) fn keeper(&self) -> Option<i32> {
        fs::read_to_string(self.0.join("keeper.lock")).ok()?.parse().ok()
    }

    /// Where a process writes down who it is.
    pub(crate) fn run(&self, run: u64) -> PathBuf {
        self.0.join("runs").join(run.to_string())
    }

    /// Forgets a run that is over. A script of it that comes late finds no folder, not even half of one.
    pub(crate) fn forget(&self, run: u64) {
        let gone = self.0.join("runs").join("gone");
        // Of a keeper that was killed here.
        _ = fs::remove_dir_all(&gone);
        _ = fs::rename(self.run(run), &gone);
        _ = fs::remove_dir_all(&gone);
    }

    /// What replicas of a version said.
    pub(crate) fn log(&self, version: &str) -> PathBuf {
        self.logs().join(format!("{}.log", encode(version)))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(crate) fn make(&self) -> Result<()> {
        for part in ["runs", "logs"] {
            let path = self.0.join(part);
            fs::create_dir_all(&path).map_err(|error| broken("make", &path, &error))?;
        }
        Ok(())
    }

    /// The right to change wishes, until the answer is dropped.
    pub(crate) async fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file = open_lock(&path)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::unavailable(format!(
                        "somebody else holds {}",
                        path.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(broken("lock", &path, &error)),
            }
        }
    }

    /// The right to keep the workload's processes; none when somebody else keeps them.
    pub(crate) async fn lock_keeper(&self) -> Result<Option<File>> {
        let path = self.0.join("keeper.lock");
        let file = open_lock(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::Error(error)) => return Err(broken("lock", &path, &error)),
                Err(TryLockError::WouldBlock) if self.is_kept()? => return Ok(None),
                // Somebody only looked whether anybody keeps them.
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether a keeper holds the workload's processes now.
    pub(crate) fn is_kept(&self) -> Result<bool> {
        let path = self.0.join("keeper.lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(broken("read", &path, &error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(broken("lock", &path, &error)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    opened.map_err(|error| broken("open", path, &error))
}

/// None when there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken("read", path, &error)),
    };
    let read = serde_json::from_slice(&text).map_err(|error| {
        Error::rejected(format!(
            "{} does not hold what longshore writes there",
            path.display()
        ))
        .because(&error)
        .next("Undo what was changed in it by hand, or restore it")
    })?;
    Ok(Some(read))
}

/// Replaces the file as a whole: a crash at any moment, of the machine too, leaves the old or the new one. Who calls
/// holds the lock, so one name for what is unfinished is enough.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| {
        Error::internal(format!("could not write down {}", path.display())).because(&error)
    })?;
    text.push(b'\n');
    let unfinished = path.with_extension("unfinished");
    let replace = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    replace().map_err(|error| broken("write", path, &error))
}

pub(crate) fn broken(doing: &str, path: &Path, error: &io::Error) -> Error {
    let what = format!("could not {doing} {}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::denied(what).next("Give longshore's user the right to write there")
        }
        _ => Error::unavailable(what),
    }
    .because(error)
}

/// A name as that of a file: letters, digits, `-` and `_` as they are, and `.` but in front.
fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => encoded.push(char::from(byte)),
            b'.' if place > 0 => encoded.push('.'),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_workloads_share_a_folder() {
        let names = [
            "shop",
            "shop/checkout",
            "shop%2fcheckout",
            "shop+checkout",
            "../shop",
            ".shop",
            "Shop",
        ];
        let folders: std::collections::BTreeSet<_> = names.iter().map(|name| encode(name)).collect();
        assert_eq!(folders.len(), names.len());
        assert!(
            folders
                .iter()
                .all(|name| !name.starts_with('.') && !name.contains('/')),
            "{folders:?}"
        );
        assert!(folders.contains("shop%2fcheckout"));
    }

    #[test]
    fn nobody_claims_a_run_that_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(dir.path());
        folder.make().expect("makes");
        // What a keeper left that was killed while it forgot another.
        fs::create_dir_all(dir.path().join("runs/gone/claimed")).expect("makes");
        fs::create_dir_all(folder.run(7).join("claimed")).expect("makes");
        folder.forget(7);
        folder.forget(8);
        assert!(fs::create_dir(folder.run(7).join("claimed")).is_err());
        let left = fs::read_dir(dir.path().join("runs")).expect("lists");
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn what_is_broken_by_hand_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("wishes.json");
        assert_eq!(read::<u32>(&path), Ok(None));
        write(&path, &7).expect("writes");
        assert_eq!(read::<u32>(&path), Ok(Some(7)));
        fs::write(&path, "7 or so").expect("writes");
        let error = read::<u32>(&path).expect_err("no number");
        assert!(error.to_string().contains("wishes.json"), "{error}");
        assert_eq!(
            fs::read_dir(dir.path()).expect("lists").count(),
            1,
            "nothing unfinished stays"
        );
    }
}
