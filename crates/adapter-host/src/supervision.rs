//! Who keeps what runs on a host, as somebody who looks is told.

use std::fs;
use std::path::Path;

use domain::Result;

use crate::config::{HostConfig, Supervisor};
use crate::files::{self, Folder};
use crate::keeper::process::Process;
use crate::status::Status;
use crate::systemd::{BOOTED, SLICE, Systemd, Unit};

/// What keeps the processes of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// In words.
    pub by: String,
    /// Why it may not be what somebody wants, and what to do about it.
    pub warnings: Vec<(String, String)>,
}

impl HostConfig {
    /// Who keeps this host's processes, tried out, and who keeps what runs now. `runtime_dir` is our user's.
    pub async fn supervision(&self, runtime_dir: &Path) -> Result<Supervision> {
        let Some(systemd) = Systemd::of(self.supervisor, runtime_dir) else {
            let warning = (self.supervisor == Supervisor::Auto && Path::new(BOOTED).is_dir()).then(|| {
                (
                    "systemd runs this machine, and our user has no manager of its own: what runs belongs to the worker's unit"
                        .to_owned(),
                    "Let one run with `loginctl enable-linger` for the worker's user; or say `supervisor = \"process\"`, and \
                     KillMode=process in the worker's unit"
                        .to_owned(),
                )
            });
            return Ok(Supervision {
                by: "processes of our own".to_owned(),
                warnings: warning.into_iter().collect(),
            });
        };
        let version = systemd.version().await?;
        let tried = Unit {
            name: &format!("longshore-doctor-{}.service", std::process::id()),
            description: "longshore doctor: may units be started?".to_owned(),
            properties: Vec::new(),
            folder: Path::new("/"),
            env: None,
            command: vec!["/bin/true".to_owned()],
        };
        systemd.start(&tried).await?;
        let mut warnings = Vec::new();
        if systemd.ends_with_the_last_session().await {
            warnings.push((
                "our user's manager, and all that it keeps, ends with the user's last session".to_owned(),
                "Let it linger: `loginctl enable-linger` for the worker's user".to_owned(),
            ));
        }
        for name in self.workloads.keys() {
            warnings.extend(no_units(name, &Folder::of(&self.state, name))?);
        }
        Ok(Supervision {
            by: format!("units of {} {version}", systemd.whose()),
            warnings,
        })
    }
}

/// What of a workload runs as it did before the setting was another: it may end with the worker.
fn no_units(name: &str, folder: &Folder) -> Result<Option<(String, String)>> {
    let keeper = if folder.is_kept()? { folder.keeper() } else { None };
    let status: Status = files::read(&folder.status())?.unwrap_or_default();
    let runs = status.replicas.iter().map(|replica| folder.run(replica.run));
    let replicas: Vec<_> = runs.filter_map(|run| Process::lives(&run)).collect();
    let stray: Vec<_> = replicas.iter().copied().filter(|pid| !is_unit(*pid)).collect();
    let keeper = keeper.filter(|pid| !is_unit(*pid));
    let listed = |all: &[i32]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let whose = match (keeper, stray.len()) {
        (None, 0) => return Ok(None),
        (Some(keeper), 0) => format!("the keeper of {name} is no unit (process {keeper})"),
        (keeper, some) => {
            let and = keeper.map_or(String::new(), |pid| {
                format!(", nor is their keeper (process {pid})")
            });
            let (of, which) = (replicas.len(), listed(&stray));
            format!("{some} of {of} replicas of {name} are no units (processes {which}){and}")
        }
    };
    Ok(Some((
        format!("{whose}: they end with the worker unless its unit has KillMode=process"),
        "Leave hosts.conf with the worker's unit until nothing is told here; docs/hosts.md tells how to replace what runs"
            .to_owned(),
    )))
}

/// What the system says of a process that has gone, or of another's where it hides these, is nothing against it.
fn is_unit(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_or(true, |groups| groups.contains(&format!("/{SLICE}/")))
}
