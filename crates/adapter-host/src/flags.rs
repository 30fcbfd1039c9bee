use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{Error, Idem, Result};
use ports::{Flag, FlagRef, FlagStore, Mark};

use crate::files::broken;

/// Longest wait for who writes at the moment: a write takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// The flags in a file on this host that flagd reads.
///
/// The file is replaced as a whole, so that flagd never reads half of one, and keeps its owner and mode. Workers keep out of
/// each other's way by a lock on the folder; what an editor writes between our look and our change, a moment later, is lost.
#[derive(Clone, Debug)]
pub struct FlagFile {
    path: PathBuf,
}

impl FlagFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Whether it holds flags, and could be replaced: both are looked at, and nothing is changed.
    pub fn check(&self) -> Result<()> {
        let (path, text) = self.text()?;
        flagd::check(&text, &self.name())?;
        let folder = folder(&path);
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
            .map_err(|error| broken("write to", folder, &error.into()))?;
        self.ours(&path, folder)
            .map_err(|error| broken("look at", &path, &error))?
    }

    /// Only root gives a file away: what is not ours could not be replaced by one of the same owner.
    fn ours(&self, path: &Path, folder: &Path) -> io::Result<Result<()>> {
        use std::os::unix::fs::MetadataExt as _;

        let (file, folder) = (fs::metadata(path)?, fs::metadata(folder)?);
        let hands_on = folder.mode() & 0o2000 != 0;
        let own = rustix::process::geteuid().as_raw();
        let group = match hands_on {
            true => folder.gid(),
            false => rustix::process::getegid().as_raw(),
        };
        if own == 0 || (file.uid(), file.gid()) == (own, group) {
            return Ok(Ok(()));
        }
        let what = format!(
            "{} belongs to another user or group, and longshore could not keep that so",
            self.name()
        );
        Ok(Err(Error::denied(what).next(
            "Give it to longshore's user; for another group, give the folder that group and `chmod g+s`",
        )))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Where the file really is, and what it holds: a link stays one.
    fn text(&self) -> Result<(PathBuf, String)> {
        let read = || -> io::Result<(PathBuf, String)> {
            let path = self.path.canonicalize()?;
            let text = fs::read_to_string(&path)?;
            Ok((path, text))
        };
        read().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", self.path.display()))
                .next("Make it, with the flags in it, or correct the store's `file` in the configuration"),
            _ => broken("read", &self.path, &error),
        })
    }
}

#[async_trait]
impl FlagStore for FlagFile {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        let (_, text) = self.text()?;
        flagd::read(&text, at, &self.name())
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Flag> {
        let (path, _) = self.text()?;
        let _lock = lock(folder(&path)).await?;
        let (now, text) = self.text()?;
        if now != path {
            return Err(Error::unavailable(format!(
                "{} was replaced just now",
                self.name()
            )));
        }
        let text = match flagd::change(&text, at, &self.name(), percent, seen)? {
            None => text,
            Some(changed) => {
                replace(&path, &changed).map_err(|error| broken("write", &path, &error))?;
                changed
            }
        };
        flagd::read(&text, at, &self.name())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The right to replace files of a folder, until the answer is dropped.
async fn lock(folder: &Path) -> Result<File> {
    let opened = File::open(folder).map_err(|error| broken("open", folder, &error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(opened),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::unavailable(format!(
                    "somebody else holds {}",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(broken("lock", folder, &error)),
        }
    }
}

/// A crash at any moment, of the machine too, leaves the old or the new one. Who calls holds the lock, so one name for what
/// is unfinished is enough.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    let written =
        write_like(&unfinished, text, &fs::metadata(path)?).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // What is left of it says nothing; the next one begins anew.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    File::open(folder(path))?.sync_all()
}

fn write_like(path: &Path, text: &str, like: &Metadata) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let mut file = File::create(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(like.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
