//! Processes that outlive who started them, and are known again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use domain::{Error, Result};
use rustix::process::{Pid, Signal, getpid, kill_process_group, test_kill_process};

use crate::config::Settings;
use crate::files::{Folder, broken};
use crate::status::Replica;
use crate::systemd::{PATH, Systemd, Unit, environment, unit_name};

/// A replica's process, started by this keeper or by one before it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// Where it was started by this keeper.
    child: Option<Child>,
    began: Began,
    unit: Option<InUnit>,
}

/// The main process of a unit. Systemd ends the others of it when that has ended, and writes down how it did.
#[derive(Debug)]
struct InUnit {
    how: PathBuf,
    /// Since when the process is seen to have ended.
    ended: Option<Instant>,
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

/// What a child of ours is given by us, in a unit: its log and its folder.
const AS_A_CHILD: &str = r#"
    run=$1 log=$2 folder=$3; shift 3
    exec >>"$log" 2>&1 && cd "$folder" || exit 75
    set -- "$run" "$@""#;
/// Systemd runs it in the run's folder when the unit's processes have ended. It holds nothing that is to be quoted: a
/// daemon-reload makes `\$` of a `$` in a transient unit.
const TELL_HOW: &str = r#"ExecStopPost=/bin/sh -c "/usr/bin/printenv EXIT_CODE EXIT_STATUS >ended""#;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// As long may a unit take to claim its run, and systemd to tell how it ended: some hundredths of a second, as a rule.
const BEGIN: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_secs(1);
/// Of a unit: telling how it ended has its time of it too. The keeper itself ends a replica as soon as it is told to.
const SHORTEST_STOP: Duration = Duration::from_secs(5);

/// In a run's folder: that somebody has it, the unit that its process is in, and how that ended.
const CLAIMED: &str = "claimed";
const UNIT: &str = "unit";
const ENDED: &str = "ended";
/// Its variables: words of a command are seen by everybody, and so are those of a unit.
const ENV: &str = "environment";

pub(super) struct Start {
    command: Vec<String>,
    env: Vec<(String, String)>,
    folder: PathBuf,
    run: PathBuf,
    log: PathBuf,
    unit: Option<StartUnit>,
}

struct StartUnit {
    systemd: Systemd,
    name: String,
    description: String,
    stop_grace: Duration,
}

impl Start {
    /// The run that a replica has now.
    pub(super) fn of(replica: &Replica, settings: &Settings, folder: &Folder) -> Self {
        let workload = &settings.workload;
        let fill = |text: &String| workload.fill(text, &settings.name, &replica.version, replica.port);
        let port = ("PORT".to_owned(), replica.port.to_string());
        let env = workload
            .env
            .iter()
            .map(|(name, value)| (name.clone(), fill(value)));
        let unit = settings.systemd.as_ref().map(|systemd| StartUnit {
            systemd: systemd.clone(),
            name: unit_name(
                &settings.name,
                &[&replica.version, &replica.run.to_string()],
                folder.path(),
            ),
            description: format!(
                "longshore: replica {} of {} {}",
                replica.id, settings.name, replica.version
            ),
            stop_grace: workload.stop_grace.0,
        });
        Self {
            command: workload.command.iter().map(fill).collect(),
            env: std::iter::once(port).chain(env).collect(),
            folder: workload.versions.join(&replica.version),
            run: folder.run(replica.run),
            log: folder.log(&replica.version),
            unit,
        }
    }

    fn environment(&self) -> String {
        let own = self
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        environment(std::iter::once(("PATH", PATH)).chain(own))
    }
}

fn write_alone(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
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
    pub(super) async fn start(start: &Start) -> Result<Self> {
        fs::create_dir_all(&start.run).map_err(|error| broken("make", &start.run, &error))?;
        match &start.unit {
            Some(unit) => Self::start_unit(start, unit).await,
            None => Self::start_child(start),
        }
    }

    async fn start_unit(start: &Start, unit: &StartUnit) -> Result<Self> {
        let noted = start.run.join(UNIT);
        fs::write(&noted, &unit.name).map_err(|error| broken("write", &noted, &error))?;
        let env = start.run.join(ENV);
        write_alone(&env, &start.environment()).map_err(|error| broken("write", &env, &error))?;
        let script = format!("{AS_A_CHILD}\n{CLAIM_AND_RUN}");
        let mut command = ["/bin/sh", "-c", &script, "longshore-replica"]
            .map(str::to_owned)
            .to_vec();
        let paths = [&start.run, &start.log, &start.folder];
        command.extend(paths.map(|path| path.to_string_lossy().into_owned()));
        command.extend(start.command.iter().cloned());
        let grace = unit.stop_grace.max(SHORTEST_STOP).as_millis();
        let started = unit
            .systemd
            .start(&Unit {
                name: &unit.name,
                description: unit.description.clone(),
                properties: vec![TELL_HOW.to_owned(), format!("TimeoutStopSec={grace}ms")],
                folder: &start.run,
                env: Some(&env),
                command,
            })
            .await;
        let claimed = start.run.join(CLAIMED);
        let ended = start.run.join(ENDED);
        let deadline = Instant::now() + BEGIN;
        while started.is_ok() && !claimed.exists() && !ended.exists() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Whatever was heard of it: either it has claimed its run, or from here on it never will.
        let process = fs::create_dir(&claimed)
            .err()
            .and_then(|_| Self::noted(&start.run));
        process.ok_or_else(|| {
            let ended = || match how_it_ended(&ended) {
                Some(how) => format!("{} ended with {how} before it had begun", unit.name),
                None => format!("{} has not begun", unit.name),
            };
            let unclaimed =
                || Error::unavailable(ended()).next(format!("{} may tell why", start.log.display()));
            started.err().unwrap_or_else(unclaimed)
        })
    }

    fn start_child(start: &Start) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&start.log);
        let log = log.map_err(|error| broken("open", &start.log, &error))?;
        let said = log
            .try_clone()
            .map_err(|error| broken("open", &start.log, &error))?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", CLAIM_AND_RUN, "longshore-replica"])
            .arg(&start.run)
            .args(&start.command)
            .env_clear()
            .env("PATH", PATH)
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&start.folder)
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
            unit: None,
        })
    }

    /// The process of a run that an earlier keeper started; none when it has ended or never began. What one that has
    /// ended left behind is ended too.
    pub(super) fn find(run: &Path) -> Option<Self> {
        if fs::create_dir(run.join(CLAIMED)).is_ok() {
            return None;
        }
        let found = Self::noted(run)?;
        if !found.runs() {
            found.signal(Signal::KILL);
            return None;
        }
        Some(found)
    }

    /// The process that claimed a run, whether or not it still runs.
    fn noted(run: &Path) -> Option<Self> {
        let text = fs::read_to_string(run.join("pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok().and_then(Pid::from_raw)?;
        let (boot, stat) = lines.next().zip(lines.next())?;
        let unit = run.join(UNIT).exists().then(|| InUnit {
            how: run.join(ENDED),
            ended: None,
        });
        Some(Self {
            pid,
            child: None,
            began: Began {
                boot: boot.to_owned(),
                at: started(stat)?,
            },
            unit,
        })
    }

    /// The number of a run's process while that lives.
    pub(crate) fn lives(run: &Path) -> Option<i32> {
        let process = Self::noted(run).filter(Self::runs)?;
        Some(process.pid.as_raw_nonzero().get())
    }

    /// None as long as it runs; else how it ended, where that can be known.
    pub(super) fn ended(&mut self) -> Option<Option<String>> {
        if let Some(child) = &mut self.child {
            return match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(Some(status.to_string())),
                Err(_) => Some(None),
            };
        }
        if self.runs() {
            return None;
        }
        let Some(unit) = &mut self.unit else {
            return Some(None);
        };
        let since = *unit.ended.get_or_insert_with(Instant::now);
        let how = how_it_ended(&unit.how);
        (how.is_some() || since.elapsed() > MOMENT).then_some(how)
    }

    /// It was seen to have ended, however that was.
    pub(super) fn is_gone(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.ended.is_some())
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

/// What [`TELL_HOW`] wrote down: `exited` and a status, or `killed` or `dumped` and a signal.
fn how_it_ended(told: &Path) -> Option<String> {
    let told = fs::read_to_string(told).ok()?;
    let (how, which) = told.strip_suffix('\n')?.split_once('\n')?;
    Some(match how {
        "exited" => format!("exit status: {which}"),
        "dumped" => format!("signal: SIG{which} (core dumped)"),
        _ => format!("signal: SIG{which}"),
    })
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
        fs::create_dir_all(dir.join("run")).expect("makes");
        let started = Process::start_child(&Start {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            folder: dir.to_owned(),
            run: dir.join("run"),
            log: dir.join("log"),
            unit: None,
        });
        started.expect("starts")
    }

    fn end(process: &mut Process) -> std::process::ExitStatus {
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
