//! Transient units of systemd, by its own commands: these are what it promises to keep. Its private socket is not, and a bus
//! to call it over is not everywhere.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Error, Result};
use rustix::process::geteuid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::Supervisor;
use crate::wishes::sum;

/// Who starts processes, and ends what they leave behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Systemd {
    /// The machine's own.
    System,
    /// That of our user, by its runtime folder.
    User(PathBuf),
}

/// A service that is to be started.
pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: String,
    pub(crate) properties: Vec<String>,
    pub(crate) folder: &'a Path,
    /// What [`environment`] made, in a file that nobody else can read.
    pub(crate) env: Option<&'a Path>,
    /// Taken by the word: nothing in it is filled in.
    pub(crate) command: Vec<String>,
}

/// Where what we run finds its programs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder where systemd is the machine's first process: sd_booted(3).
pub(crate) const BOOTED: &str = "/run/systemd/system";
pub(crate) const SLICE: &str = "longshore.slice";
/// What units and their files are to nobody but their user, as what the worker makes is.
const UMASK: &str = "--property=UMask=0077";
/// How it says that nobody is there, or that we may not.
const NOT_LET_IN: [&str; 5] = [
    "failed to connect",
    "bus connection",
    "access denied",
    "permission denied",
    "authentication required",
];
/// It answers in some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest name of a unit is 255, and of its parts a workload and a version are long.
const PART: usize = 80;

/// Where systemd puts the runtime folder of our user.
pub fn runtime_dir() -> PathBuf {
    PathBuf::from(format!("/run/user/{}", geteuid().as_raw()))
}

/// The name of a unit of a workload: for people, and nobody else's. What may not stand in such a name is a `-` there; of
/// what is too long the end is left out, of each part by itself.
pub(crate) fn unit_name(workload: &str, what: &[&str], folder: &Path) -> String {
    let part = |text: &str| -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "_.".contains(c) {
                c
            } else {
                '-'
            }
        };
        text.chars().map(plain).take(PART).collect()
    };
    // Workloads of one name may stand in several folders, of another worker's too.
    let whose = sum(folder.as_os_str().as_bytes()) >> 32;
    let what: Vec<_> = what.iter().copied().map(part).collect();
    format!(
        "longshore-{}-{}-{whose:08x}.service",
        part(workload),
        what.join("-")
    )
}

/// Text of a file for `EnvironmentFile=`: between quotes all but these stands as it is, ends of lines too.
pub(crate) fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let line = |(name, value): (&str, &str)| {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{quoted}\"\n")
    };
    variables.into_iter().map(line).collect()
}

/// A path where systemd takes a pattern.
fn taken_by_the_letter(path: &Path) -> String {
    let mut taken = String::new();
    for c in path.to_string_lossy().chars() {
        if "*?[\\".contains(c) {
            taken.push('\\');
        }
        taken.push(c);
    }
    taken
}

/// How a keeper is told who begins it.
pub(crate) fn begun_by(systemd: Option<&Systemd>) -> String {
    match systemd {
        None => "process".to_owned(),
        Some(Systemd::System) => "systemd".to_owned(),
        Some(Systemd::User(runtime_dir)) => format!("systemd-user:{}", runtime_dir.display()),
    }
}

impl Systemd {
    /// What the configuration asks for on this machine, as it is now; none where processes are started by us.
    pub(crate) fn of(supervisor: Supervisor, runtime_dir: &Path) -> Option<Self> {
        let booted = Path::new(BOOTED).is_dir();
        Self::choose(supervisor, runtime_dir, booted, geteuid().is_root())
    }

    fn choose(supervisor: Supervisor, runtime_dir: &Path, booted: bool, root: bool) -> Option<Self> {
        let user = || Self::User(runtime_dir.to_owned());
        match supervisor {
            Supervisor::Process => None,
            Supervisor::Systemd => Some(Self::System),
            Supervisor::SystemdUser => Some(user()),
            Supervisor::Auto if !booted => None,
            Supervisor::Auto if root => Some(Self::System),
            Supervisor::Auto => runtime_dir.join("systemd").is_dir().then(user),
        }
    }

    /// Answers when its program runs. After an error that is no refusal it may still begin.
    pub(crate) async fn start(&self, unit: &Unit<'_>) -> Result<()> {
        let mut run = self.command("systemd-run");
        // One that has ended, well or not, is forgotten: its name is free, and nothing piles up.
        run.args(["--quiet", "--no-ask-password", "--collect", "--service-type=exec"])
            .arg(format!("--slice={SLICE}"))
            .arg(format!("--unit={}", unit.name))
            .arg(format!("--description={}", unit.description))
            .arg(format!("--working-directory={}", unit.folder.display()))
            .args(
                unit.properties
                    .iter()
                    .map(|property| format!("--property={property}")),
            )
            .args(
                unit.env
                    .map(|path| format!("--property=EnvironmentFile={}", taken_by_the_letter(path))),
            )
            .arg(UMASK)
            .arg("--")
            .args(unit.command.iter().map(|word| word.replace('$', "$$")));
        let started = self.said(run).await;
        started
            .map(drop)
            .map_err(|error| error.context(format!("{} was not started", unit.name)))
    }

    /// Whether it knows a unit of that name.
    pub(crate) async fn has(&self, unit: &str) -> Result<bool> {
        let mut show = self.command("systemctl");
        show.args(["show", "--property=LoadState", "--value", unit]);
        Ok(self.said(show).await?.trim() == "loaded")
    }

    pub(crate) async fn version(&self) -> Result<String> {
        let mut show = self.command("systemctl");
        show.args(["show", "--property=Version", "--value"]);
        Ok(self.said(show).await?.trim().to_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).kill_on_drop(true);
        if let Self::User(runtime_dir) = self {
            command.env("XDG_RUNTIME_DIR", runtime_dir).arg("--user");
        }
        command
    }

    async fn said(&self, mut command: Command) -> Result<String> {
        let whose = self.whose();
        let asked = timeout(PATIENCE, command.output()).await.map_err(|_| {
            Error::timeout(format!(
                "{whose} has not answered within {} s",
                PATIENCE.as_secs()
            ))
        })?;
        let output = asked.map_err(|error| {
            Error::unavailable(format!("{whose} could not be asked"))
                .because(&error)
                .next("Install systemd, or let longshore keep processes by itself: supervisor = \"process\"")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let why = if lines.is_empty() {
            output.status.to_string()
        } else {
            lines.join("; ")
        };
        Err(self.refused(&why))
    }

    fn refused(&self, why: &str) -> Error {
        let error = Error::unavailable(format!("{} refused: {why}", self.whose()));
        let why = why.to_ascii_lowercase();
        if !NOT_LET_IN.iter().any(|words| why.contains(words)) {
            return error;
        }
        match self {
            Self::System => error
                .next("Only root may start units there; other users have `supervisor = \"systemd-user\"`"),
            Self::User(runtime_dir) => error.next(format!(
                "Does it run (`loginctl enable-linger` for the worker's user), and does the worker see {}?",
                runtime_dir.display()
            )),
        }
    }

    pub(crate) fn whose(&self) -> &'static str {
        match self {
            Self::System => "systemd",
            Self::User(_) => "systemd's manager of this user",
        }
    }
}

impl Systemd {
    /// False too where nobody can tell: a manager that no session started.
    pub(crate) async fn ends_with_the_last_session(&self) -> bool {
        let Self::User(_) = self else { return false };
        let mut show = Command::new("loginctl");
        show.env_clear().env("PATH", PATH).kill_on_drop(true).args([
            "show-user",
            &geteuid().as_raw().to_string(),
            "--property=Linger",
            "--value",
        ]);
        self.said(show).await.is_ok_and(|said| said.trim() == "no")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_a_name_that_people_know_and_nobody_else_has() {
        let name = unit_name("shop/checkout", &["v1.2+build@7", "12"], Path::new("/var/lib/a"));
        let shown = name
            .strip_prefix("longshore-shop-checkout-v1.2-build-7-12-")
            .expect("reads well");
        assert_eq!(shown.len(), "01234567.service".len(), "{name}");
        assert_ne!(
            name,
            unit_name("shop/checkout", &["v1.2+build@7", "12"], Path::new("/var/lib/b"))
        );
        let long = "v".repeat(300);
        let run = |run: u64| unit_name(&long, &[&long, &run.to_string()], Path::new("/"));
        assert!(run(u64::MAX).len() <= 255, "{}", run(u64::MAX));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn what_to_do_is_told_of_who_is_not_let_in_alone() {
        let user = Systemd::User("/run/user/7".into());
        for why in [
            "Failed to connect to bus: No such file or directory",
            "Failed to start transient service unit: Access denied",
            "Failed to start transient service unit: Interactive authentication required.",
        ] {
            let told = user.refused(why).to_string();
            assert!(
                told.contains(why) && told.contains("loginctl enable-linger"),
                "{told}"
            );
            let told = Systemd::System.refused(why).to_string();
            assert!(told.contains("Only root"), "{told}");
        }
        let told = user.refused("Unknown assignment: Nonsense=1").to_string();
        assert!(!told.contains("linger") && told.contains("Nonsense=1"), "{told}");
    }

    #[test]
    fn what_is_asked_for_by_name_is_not_looked_for_and_the_rest_is() {
        let (nowhere, dir) = (Path::new("/nowhere"), tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(dir.path().join("systemd")).expect("makes");
        let user = |of: &Path| Some(Systemd::User(of.to_owned()));
        for (booted, root) in [(false, false), (false, true), (true, false), (true, true)] {
            let choose = |supervisor| Systemd::choose(supervisor, nowhere, booted, root);
            assert_eq!(choose(Supervisor::Process), None);
            assert_eq!(choose(Supervisor::Systemd), Some(Systemd::System));
            assert_eq!(choose(Supervisor::SystemdUser), user(nowhere));
        }
        let auto = |of, booted, root| Systemd::choose(Supervisor::Auto, of, booted, root);
        assert_eq!(auto(dir.path(), false, true), None, "systemd does not run here");
        assert_eq!(auto(dir.path(), true, true), Some(Systemd::System));
        assert_eq!(auto(dir.path(), true, false), user(dir.path()));
        assert_eq!(auto(nowhere, true, false), None, "our user has none");
    }
}
