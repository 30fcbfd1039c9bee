//! What replicas and keepers say, kept within bounds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A log is cut when it is longer; as much of its end is kept once beside it.
const LONGEST: u64 = 16 << 20;
const LAST: u64 = 2000;

/// The last line that was written behind that place.
pub(crate) fn last_words(log: &Path, behind: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LAST).max(behind.min(length));
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut tail = Vec::new();
    file.take(LAST).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(300).collect())
}

pub(crate) fn length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |about| about.len())
}

/// Cuts what is too long: all logs of the folder, and that one.
pub(crate) fn shorten_all(folder: &Path, and: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = entries.map(|entry| entry.path());
    let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    for log in logs.chain([and.to_owned()]) {
        if let Err(error) = shorten(&log)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(error = %error, log = %log.display(), "could not shorten a log");
        }
    }
}

/// Who writes has it open and goes on at its new end.
fn shorten(log: &Path) -> io::Result<()> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    if length <= LONGEST {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - LONGEST))?;
    let kept = log.with_extension("log.1");
    let copied = File::create(&kept).and_then(|mut to| io::copy(&mut file.take(LONGEST), &mut to));
    if let Err(error) = copied {
        // On a full disk half of it would be in the way of everything else.
        _ = fs::remove_file(&kept);
        return Err(error);
    }
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_cut_and_its_end_is_kept_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("v1.2.log");
        let mut writes = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("opens");
        writes.set_len(2 * LONGEST).expect("grows");
        writes.write_all(b"\nthe end\n\n").expect("writes");
        assert_eq!(last_words(&log, 0).as_deref(), Some("the end"));
        shorten_all(dir.path(), &dir.path().join("none.log"));
        let kept = dir.path().join("v1.2.log.1");
        assert_eq!((length(&log), length(&kept)), (0, LONGEST));
        assert_eq!(last_words(&kept, 0).as_deref(), Some("the end"));
        writes.write_all(b"goes on\n").expect("writes");
        assert_eq!(last_words(&log, 0).as_deref(), Some("goes on"));
        assert_eq!(length(&log), 8, "behind nothing");
        assert_eq!(last_words(&log, 8), None, "nothing was said behind it");
        shorten_all(dir.path(), &log);
        assert_eq!(length(&log), 8, "what is short stays");
    }

    #[test]
    fn what_cannot_be_kept_is_not_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("v1.log");
        File::create(&log)
            .expect("opens")
            .set_len(LONGEST + 1)
            .expect("grows");
        fs::create_dir(dir.path().join("v1.log.1")).expect("in the way");
        assert!(shorten(&log).is_err());
        assert_eq!(length(&log), LONGEST + 1);
    }
}
