use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use adapter_host::{
    Address, HaproxyConfig, HaproxyRouter, HostConfig, HostFleet, KeeperCommand, Ready, Supervisor,
    WorkloadConfig,
};
use domain::{Idem, Span};
use ports::{Fleet, Group, Launch, Mark, Pace, Portion, RollOut, RouteRef, Side, WorkloadRef};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{Haproxy, Ports, Systemd, end_kept, kept_processes};

use super::{Client, until};

/// Who starts what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Processes,
    Units,
}

/// A host of the test's own: versions, a HAProxy, keepers. All of it ends with this value.
pub struct Site {
    pub haproxy: Haproxy,
    pub config: HostConfig,
    pub fleet: HostFleet,
    pub keeper: KeeperCommand,
    systemd: Option<Systemd>,
    dir: tempfile::TempDir,
    /// Keeps the ports for this test alone.
    _ports: Ports,
}

pub struct Server {
    pub is_down: bool,
    pub admin_state: u32,
    pub weight: u32,
    pub port: u16,
}

pub const NAME: &str = "shop/checkout";
/// Systemd could take that for a pattern, and for two words.
const STATE: &str = "state [1]";

pub fn idem() -> Idem {
    Idem::new("task/run/step".to_owned())
}

/// Six servers on either side; the candidate's get nothing until somebody says so.
pub const BACKENDS: &str = "backend shop
  balance roundrobin
  server-template stable 6 127.0.0.1:1 weight 100 disabled
  server-template candidate 6 127.0.0.1:1 weight 0 disabled
  server spare 127.0.0.1:1 backup
backend other
  server stable1 127.0.0.1:9 weight 30
";

impl Site {
    pub fn start() -> Self {
        Self::start_by(Way::Processes)
    }

    pub fn start_by(way: Way) -> Self {
        Self::with_by(way, BACKENDS, |_| {})
    }

    pub fn with(backends: &str, change: impl FnOnce(&mut WorkloadConfig)) -> Self {
        Self::with_by(Way::Processes, backends, change)
    }

    pub fn with_by(way: Way, backends: &str, change: impl FnOnce(&mut WorkloadConfig)) -> Self {
        let systemd = (way == Way::Units).then(Systemd::start);
        let haproxy = Haproxy::start(backends);
        let dir = tempfile::Builder::new()
            .prefix("site-")
            .tempdir()
            .expect("a folder");
        let versions = dir.path().join("versions");
        for version in ["v1", "v2", "v3", "crashing", "hanging"] {
            fs::create_dir_all(versions.join(version)).expect("makes a version");
        }
        let ports = Ports::take();
        let peer = env!("CARGO_BIN_EXE_adapter-host-peer");
        let test = std::process::id().to_string();
        let command = [peer, "serve", &test, "{port}", "{version}"];
        let mut workload = WorkloadConfig {
            versions,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::new(),
            address: "127.0.0.1".to_owned(),
            ports: (ports.first(), ports.last()),
            ready: Ready::Http {
                path: "/ready".to_owned(),
            },
            ready_interval: Span::seconds(1),
            backend: Some("shop".to_owned()),
            drain_limit: Span::seconds(20),
            stop_grace: Span::seconds(10),
            restart_pause: Span(Duration::from_millis(50)),
            longest_restart_pause: Span::seconds(5),
            pace: Pace {
                max_unavailable: Portion::Percent(25),
                max_surge: Portion::Percent(25),
            },
        };
        change(&mut workload);
        let config = HostConfig {
            state: dir.path().join(STATE),
            supervisor: match way {
                Way::Processes => Supervisor::Process,
                Way::Units => Supervisor::SystemdUser,
            },
            haproxy: Some(HaproxyConfig::new(Address::Unix(haproxy.socket("admin")))),
            workloads: BTreeMap::from([(NAME.to_owned(), workload)]),
        };
        let mut keeper = Self::keeper();
        if let Some(systemd) = &systemd {
            keeper.runtime_dir = systemd.runtime_dir();
        }
        Self {
            fleet: HostFleet::new(&config, keeper.clone()).expect("usable"),
            keeper,
            systemd,
            haproxy,
            config,
            dir,
            _ports: ports,
        }
    }

    /// As `longshore` starts it, by another program's name.
    pub fn keeper() -> KeeperCommand {
        KeeperCommand {
            program: env!("CARGO_BIN_EXE_adapter-host-peer").into(),
            args: vec!["keep".to_owned(), std::process::id().to_string()],
            runtime_dir: "/nowhere".into(),
        }
    }

    pub fn systemd(&self) -> &Systemd {
        self.systemd.as_ref().expect("it runs units")
    }

    pub fn at(&self) -> WorkloadRef {
        WorkloadRef {
            target: "here".to_owned(),
            name: NAME.to_owned(),
            container: None,
        }
    }

    pub fn route(&self) -> RouteRef {
        RouteRef {
            target: "here".to_owned(),
            name: "shop".to_owned(),
        }
    }

    pub fn router(&self) -> HaproxyRouter {
        HaproxyRouter::new(self.config.haproxy.as_ref().expect("a HAProxy")).expect("usable")
    }

    /// The workload's own folder.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join(STATE).join("shop%2fcheckout")
    }

    pub fn versions(&self) -> PathBuf {
        self.dir.path().join("versions")
    }

    pub async fn group(&self, side: Side) -> Option<Group> {
        self.fleet.observe(&self.at(), side).await.expect("observes")
    }

    pub async fn stable(&self) -> Group {
        self.group(Side::Stable).await.expect("something stands")
    }

    pub async fn roll_out(&self, version: &str, replicas: u32) -> Mark {
        let seen = self.group(Side::Stable).await.map(|group| group.mark);
        let wanted = RollOut {
            version: version.to_owned(),
            replicas,
            pace: None,
        };
        let rolled = self
            .fleet
            .roll_out(&self.at(), &wanted, seen.as_ref(), &idem())
            .await;
        rolled.expect("rolls out")
    }

    pub async fn launch(&self, version: &str, replicas: u32) -> Mark {
        let seen = self.group(Side::Candidate).await.map(|group| group.mark);
        let wanted = Launch {
            version: version.to_owned(),
            replicas,
        };
        let launched = self
            .fleet
            .launch(&self.at(), &wanted, seen.as_ref(), &idem())
            .await;
        launched.expect("launches")
    }

    pub async fn retire(&self) {
        let seen = self.group(Side::Candidate).await.map(|group| group.mark);
        let retired = self.fleet.retire(&self.at(), seen.as_ref(), &idem()).await;
        retired.expect("retires");
    }

    /// Until all that is wished for is there and nothing else.
    pub async fn complete(&self) {
        until("everything wished for is there", || async {
            let stable = self.group(Side::Stable).await;
            let candidate = self.group(Side::Candidate).await;
            stable.is_none_or(|group| group.is_complete())
                && candidate.is_none_or(|group| group.is_complete())
        })
        .await;
    }

    /// Version and process of who answers over a new connection.
    pub fn ask(&self) -> (String, i32) {
        let (status, body) = Client::new(self.haproxy.port()).get().expect("is served");
        assert_eq!(status, 200, "{body}");
        let (version, process) = body.split_once(' ').expect("a version and a process");
        (version.to_owned(), process.parse().expect("a number"))
    }

    /// The keeper that is at work: it writes down who it is soon after it has begun.
    pub async fn keeper_pid(&self) -> i32 {
        let written = || {
            let text = fs::read_to_string(self.folder().join("keeper.lock")).expect("reads");
            text.parse().ok().filter(|pid| lives(*pid))
        };
        until("a keeper is at work", || async { written().is_some() }).await;
        written().expect("still lives")
    }

    pub async fn kill_keeper(&self) {
        let pid = self.keeper_pid().await;
        signal(pid, Signal::KILL);
        // Its other threads may outlive the first by a moment, and its lock with them. Where systemd sees to it, another
        // may hold it already.
        let path = self.folder().join("keeper.lock");
        let lock = File::open(&path).expect("is there");
        until("the keeper is gone", || async {
            let another = || fs::read_to_string(&path).is_ok_and(|now| now != pid.to_string());
            !lives(pid) && (lock.try_lock_shared().is_ok() || another())
        })
        .await;
    }

    /// The processes of replicas that live, whoever keeps them.
    pub fn processes(&self) -> Vec<i32> {
        kept_processes(&self.folder())
            .into_iter()
            .filter(|pid| lives(*pid))
            .collect()
    }

    /// A server of HAProxy as it is now.
    pub fn server(&self, backend: &str, name: &str) -> Server {
        let table = self.haproxy.ask(&format!("show servers state {backend}"));
        let rows = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut rows = rows.filter(|cells| cells.get(3) == Some(&name));
        let cells = rows.next().expect("there is such a server");
        let number = |place: usize| cells[place].parse().expect("a number");
        Server {
            is_down: number(5) == 0,
            admin_state: number(6),
            weight: number(7),
            port: cells[18].parse().expect("a port"),
        }
    }

    /// Who runs any version of this site, as the system has it.
    pub fn running_here(&self) -> usize {
        self.running("").len()
    }

    /// Who runs that version.
    pub fn running(&self, version: &str) -> Vec<i32> {
        let marker = self.versions().join(version);
        let is_ours =
            |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&marker));
        let entries = fs::read_dir("/proc").expect("lists processes").flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(is_ours).filter(|pid| lives(*pid)).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It would start again what is ended.
        drop(self.systemd.take());
        _ = fs::set_permissions(self.folder(), fs::Permissions::from_mode(0o755));
        end_kept(&self.folder());
    }
}

pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process"), signal).expect("is there");
}

pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}
