//! Processes that outlive who started them, and are known again.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use domain::{Error, Result};
use rustix::process::{Pid, Signal, getpid, kill_process_group, test_kill_process};

use crate::files::broken;

/// A replica's process, started by this keeper or by one before it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Where it was started by this keeper.
    child: Option<Child>,
    began: Began,
}

/// When a process began, counted from the start of the host: two processes of one number differ in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Began {
    boot: String,
    at: String,
}

/// What is started writes down who it is, and only then claims its run: when no process has, a later keeper claims it
/// instead and knows that none ever will. There is no moment at which a process runs that nobody can find; one that
/// could not write itself down, on a full disk, ends. `env` may have set another PATH.
const CLAIM_AND_RUN: &str = r#"
    run=$1; shift
    {
        echo $$ &&
        IFS= read -r line </proc/sys/kernel/random/boot_id && echo "$line" &&
        IFS= read -r line </proc/$$/stat && echo "$line"
    } >"$run/pid" || exit 75
    /bin/mkdir "$run/claimed" || exit 75
    exec "$@""#;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Start<'a> {
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) folder: &'a Path,
    pub(super) run: &'a Path,
    pub(super) log: &'a Path,
}

/// Whether a process can be told from a later one of its number here. Without, none may be kept: what is signalled or
/// taken over could be anybody's.
pub(super) fn can_be_told_apart() -> Result<()> {
    began(getpid()).map(drop).ok_or_else(|| {
        Error::unavailable(format!(
            "no process can be told from a later one of its number here: {BOOT} or /proc/PID/stat cannot be read"
        ))
        .next("Let it see all of /proc: ProcSubset=all in its systemd unit, as hosts.conf has it")
    })
}

impl Process {
    pub(super) fn start(start: &Start<'_>) -> Result<Self> {
        fs::create_dir_all(start.run).map_err(|error| broken("make", start.run, &error))?;
        let log = OpenOptions::new().create(true).append(true).open(start.log);
        let log = log.map_err(|error| broken("open", start.log, &error))?;
        let said = log
            .try_clone()
            .map_err(|error| broken("open", start.log, &error))?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", CLAIM_AND_RUN, "longshore-replica"])
            .arg(start.run)
            .args(&start.command)
            .env_clear()
            .env("PATH", PATH)
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(start.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(said)
            // A group of its own: what it starts itself is ended with it.
            .process_group(0);
        let mut child = shell.spawn().map_err(|error| {
            Error::unavailable(format!("could not start a process in {}", start.folder.display()))
                .because(&error)
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // It is ours until we have waited for it, so its number is nobody else's yet.
        let Some((pid, began)) = pid.and_then(|pid| Some((pid, began(pid)?))) else {
            if let Some(pid) = pid {
                _ = kill_process_group(pid, Signal::KILL);
            }
            _ = child.wait();
            return Err(can_be_told_apart()
                .err()
                .unwrap_or_else(|| Error::internal("the system did not tell when a process began")));
        };
        Ok(Self {
            pid,
            child: Some(child),
            began,
        })
    }

    /// The process of a run that an earlier keeper started; none when it has ended or never began. What one that has
    /// ended left behind is ended too.
    pub(super) fn find(run: &Path) -> Option<Self> {
        if fs::create_dir(run.join("claimed")).is_ok() {
            return None;
        }
        let text = fs::read_to_string(run.join("pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok().and_then(Pid::from_raw)?;
        let (boot, stat) = lines.next().zip(lines.next())?;
        let found = Self {
            pid,
            child: None,
            began: Began {
                boot: boot.to_owned(),
                at: started(stat)?,
            },
        };
        if !found.runs() {
            found.signal(Signal::KILL);
            return None;
        }
        Some(found)
    }

    /// None as long as it runs; else how it ended, where that can be known.
    pub(super) fn ended(&mut self) -> Option<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(Some(status)),
                Err(_) => Some(None),
            },
            None => (!self.runs()).then_some(None),
        }
    }

    /// To the process and all that it started, also when itself has gone. A later process of its number hears nothing.
    pub(super) fn signal(&self, signal: Signal) {
        let is_it = match began(self.pid) {
            Some(now) => now == self.began,
            // As long as any of its group lives, the system gives its number to nobody.
            None => !exists(self.pid) && boot().as_ref() == Some(&self.began.boot),
        };
        if is_it {
            _ = kill_process_group(self.pid, signal);
        }
    }

    fn runs(&self) -> bool {
        began(self.pid).as_ref() == Some(&self.began) && !is_zombie(self.pid)
    }
}

fn exists(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// None where the system does not tell, or there is no such process.
fn began(pid: Pid) -> Option<Began> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(Began {
        boot: boot()?,
        at: started(&stat)?,
    })
}

fn boot() -> Option<String> {
    Some(fs::read_to_string(BOOT).ok()?.trim().to_owned())
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Field 22 of `/proc/PID/stat`; the second is the program's name and may hold anything, brackets too.
fn started(stat: &str) -> Option<String> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(dir: &Path, script: &str, env: &[(&str, &str)]) -> Process {
        let started = Process::start(&Start {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            folder: dir,
            run: &dir.join("run"),
            log: &dir.join("log"),
        });
        started.expect("starts")
    }

    fn end(process: &mut Process) -> ExitStatus {
        process.child.as_mut().expect("a child").wait().expect("ends")
    }

    #[test]
    fn what_cannot_write_down_who_it_is_does_not_run() {
        let dir = tempfile::tempdir().expect("a folder");
        // As on a full disk: the file can be opened, and nothing can be written.
        fs::create_dir(dir.path().join("run")).expect("makes");
        std::os::unix::fs::symlink("/dev/full", dir.path().join("run/pid")).expect("links");
        let mut process = start(dir.path(), "echo it runs", &[]);
        assert_eq!(end(&mut process).code(), Some(75));
        let said = fs::read_to_string(dir.path().join("log")).expect("reads");
        assert!(!said.contains("it runs"), "{said}");
        assert!(!dir.path().join("run/claimed").exists());
    }

    #[test]
    fn another_path_of_its_own_keeps_nothing_from_running() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut process = start(dir.path(), "echo $PATH", &[("PATH", "/opt/none")]);
        assert!(end(&mut process).success());
        let said = fs::read_to_string(dir.path().join("log")).expect("reads");
        assert_eq!(said, "/opt/none\n");
    }

    #[test]
    fn what_cannot_be_told_apart_is_neither_taken_over_nor_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let (run, line) = (dir.path().join("run"), "read -r line");
        // It waits for a line that nobody writes, from a pipe that it holds open itself.
        let script = format!("mkfifo pipe && exec 3<>pipe && echo up >up && {line} <&3");
        let mut process = start(dir.path(), &script, &[]);
        while !dir.path().join("up").exists() {
            std::thread::yield_now();
        }
        let noted = fs::read_to_string(run.join("pid")).expect("reads");
        let found = Process::find(&run).expect("runs");
        assert_eq!(found.began, process.began);
        let (pid, rest) = noted.split_once('\n').expect("lines");
        let (boot, stat) = rest.split_once('\n').expect("lines");
        let other_start = stat.replace(&process.began.at, "1");
        for strange in [
            format!("{pid}\n"),
            format!("{pid}\nanother-boot\n{stat}"),
            format!("{pid}\n{boot}\n{other_start}"),
        ] {
            fs::write(run.join("pid"), &strange).expect("writes");
            assert!(Process::find(&run).is_none(), "{strange}");
            assert!(process.runs() && process.ended().is_none(), "{strange}");
        }
        process.signal(Signal::KILL);
        end(&mut process);
        let reaped = process.pid;
        assert!(!exists(reaped));
    }
}
