//! Where the programs of a cluster come from, and how one is started so that it ends with us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STOP: Duration = Duration::from_secs(10);
const HOW: &str = "scripts/test sees to it. By hand: put kube-apiserver and kube-controller-manager into a folder \
                   (setup-envtest does) and name it in KUBEBUILDER_ASSETS; `apt-get install etcd-server` brings etcd";

/// Paths of what a cluster consists of.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub etcd: PathBuf,
    pub api_server: PathBuf,
    pub controller_manager: PathBuf,
}

impl Programs {
    pub fn find() -> Self {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let folder = assets.unwrap_or_else(unpacked);
        let program = |name: &str| {
            let path = folder.join(name);
            assert!(path.is_file(), "there is no {}. {HOW}", path.display());
            path
        };
        let etcd = [folder.join("etcd"), "/usr/local/bin/etcd".into()];
        let etcd = etcd.into_iter().find(|path| path.is_file());
        Self {
            etcd: etcd.unwrap_or_else(|| "etcd".into()),
            api_server: program("kube-apiserver"),
            controller_manager: program("kube-controller-manager"),
        }
    }

    /// The second number of `Kubernetes v1.20.2`.
    pub fn minor(&self) -> u32 {
        let said = Command::new(&self.controller_manager)
            .arg("--version")
            .output()
            .expect("run kube-controller-manager --version");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let minor = said.split('.').nth(1).and_then(|minor| minor.parse().ok());
        minor.unwrap_or_else(|| panic!("kube-controller-manager says it is {said:?}"))
    }
}

/// Unpacks what lies packed in the shared folder, once for each target folder.
fn unpacked() -> PathBuf {
    let shared = std::env::var_os("LONGSHORE_SHARED").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let packed = shared.unwrap_or_else(beside).join("testcluster");
    let program = std::env::current_exe().expect("our own path");
    // target/debug/deps/PROGRAM
    let target = program.ancestors().nth(3).expect("a target folder");
    let folder = target.join("testcluster");
    fs::create_dir_all(&folder).expect("make a folder for the cluster's programs");
    for name in ["kube-apiserver", "kube-controller-manager"] {
        if !folder.join(name).is_file() {
            unpack(&packed.join(format!("{name}.xz")), &folder.join(name));
        }
    }
    folder
}

fn unpack(from: &Path, to: &Path) {
    let mine = to.with_extension(std::process::id().to_string());
    let done = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(from)
        .stdout(fs::File::create(&mine).expect("make a file"))
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "{} could not be unpacked. {HOW}",
        from.display()
    );
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&mine, runs).expect("make it a program");
    // Whole at once: another test may look at the same time.
    fs::rename(&mine, to).expect("put it in its place");
}

/// A running program. Dropping it kills it, and so does the end of this process, however it comes.
pub(crate) struct Running {
    shell: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(program: &Path, args: &[String], log: &Path) -> Self {
        // The shell's input stays open as long as this process lives; it sees its end and takes the program with it.
        const UNTIL_OUR_END: &str = r#"
            exec 3<&0
            "$@" </dev/null 3<&- &
            read -r _ <&3
            kill -KILL $! 2>/dev/null
            wait $!"#;
        let said = fs::File::create(log).expect("make a log");
        let shell = Command::new("/bin/sh")
            .args(["-c", UNTIL_OUR_END, "longshore-cluster"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("share the log"))
            .stderr(said)
            .spawn()
            .expect("start a shell for a program of the cluster");
        Self {
            shell,
            log: log.to_owned(),
        }
    }

    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of what it said, or what it died of, for a failed assertion.
    pub fn last_words(&self) -> String {
        const LINES: usize = 30;
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let died = |line: &&str| line.starts_with("panic: ") || line.starts_with("fatal error: ");
        let from = lines.iter().position(died);
        let from = from.unwrap_or(lines.len().saturating_sub(LINES));
        lines[from..lines.len().min(from + LINES)].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub(crate) fn free_port() -> io::Result<u16> {
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(probe.local_addr()?.port())
}
