//! Processes that outlive who started them, and are known again.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use domain::{Error, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

use crate::files::broken;

/// A replica's process, started by this keeper or by one before it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Where it was started by this keeper.
    child: Option<Child>,
    /// When it began, counted from the start of the host: two processes of one number differ in it.
    began: Option<Began>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Began {
    boot: String,
    at: String,
}

/// What is started writes down who it is, and only then claims its run: when no process has, a later keeper claims it
/// instead and knows that none ever will. There is no moment at which a process runs that nobody can find.
const CLAIM_AND_RUN: &str = r#"
    run=$1; shift
    {
        echo $$
        { IFS= read -r line </proc/sys/kernel/random/boot_id; } 2>/dev/null && echo "$line"
        { IFS= read -r line </proc/$$/stat; } 2>/dev/null && echo "$line"
    } >"$run/pid"
    mkdir "$run/claimed" || exit 75
    exec "$@""#;

/// Logs of a version are cut at this length; what stood there before is kept once.
const LONGEST_LOG: u64 = 16 << 20;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Start<'a> {
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) folder: &'a Path,
    pub(super) run: &'a Path,
    pub(super) log: &'a Path,
}

impl Process {
    pub(super) fn start(start: &Start<'_>) -> Result<Self> {
        fs::create_dir_all(start.run).map_err(|error| broken("make", start.run, &error))?;
        shorten(start.log);
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
        let child = shell.spawn().map_err(|error| {
            Error::unavailable(format!("could not start a process in {}", start.folder.display()))
                .because(&error)
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::internal("the system gave a process no number"))?;
        Ok(Self {
            pid,
            child: Some(child),
            began: began(pid),
        })
    }

    /// The process of a run that an earlier keeper started; none when it has ended or never began.
    pub(super) fn find(run: &Path) -> Option<Self> {
        if fs::create_dir(run.join("claimed")).is_ok() {
            return None;
        }
        let text = fs::read_to_string(run.join("pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok().and_then(Pid::from_raw)?;
        let noted = lines.next().zip(lines.next()).and_then(|(boot, stat)| {
            Some(Began {
                boot: boot.to_owned(),
                at: started(stat)?,
            })
        });
        let found = Self {
            pid,
            child: None,
            began: noted,
        };
        found.runs().then_some(found)
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

    /// To the process and all that it started. One that has gone hears nothing.
    pub(super) fn signal(&self, signal: Signal) {
        if self.began.is_none() || self.began == began(self.pid) || !exists(self.pid) {
            _ = kill_process_group(self.pid, signal);
        }
    }

    fn runs(&self) -> bool {
        match &self.began {
            Some(noted) => began(self.pid).as_ref() == Some(noted) && !is_zombie(self.pid),
            None => exists(self.pid),
        }
    }
}

/// The last thing that replicas of a version said.
pub(super) fn last_words(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let tail = String::from_utf8_lossy(text.get(text.len().saturating_sub(2000)..)?).into_owned();
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(300).collect())
}

fn shorten(log: &Path) {
    let cut = || -> io::Result<()> {
        if fs::metadata(log)?.len() > LONGEST_LOG {
            fs::copy(log, log.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(log)?.set_len(0)?;
        }
        Ok(())
    };
    if let Err(error) = cut()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(error = %error, log = %log.display(), "could not shorten a log");
    }
}

fn exists(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// None where the system does not tell, or there is no such process.
fn began(pid: Pid) -> Option<Began> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Began {
        boot: boot.trim().to_owned(),
        at: started(&stat)?,
    })
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
