//! A real systemd, the manager of a user, with folders and processes of its own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

/// It ends with this value, and with the test however that ends; and with it all that it started.
///
/// Whether the machine runs systemd makes no difference: this one sees a `/run` of its own and a control group made for
/// it, in a mount namespace that ends with it. So it needs root.
pub struct Systemd {
    shell: Child,
    dir: tempfile::TempDir,
}

impl Systemd {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("systemd-")
            .tempdir()
            .expect("a folder");
        for (name, text) in UNITS {
            let units = dir.path().join("units");
            fs::create_dir_all(&units).expect("makes a folder");
            fs::write(units.join(name), text).expect("writes a unit");
        }
        fs::create_dir(dir.path().join("run")).expect("makes a folder");
        let said = File::create(dir.path().join("log")).expect("makes a log");
        let mut shell = Command::new("unshare");
        shell
            .args(["--mount", "/bin/sh", "-c", UNTIL_OUR_END, "longshore-systemd"])
            .arg(dir.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("shares the log"))
            .stderr(said);
        let shell = shell.spawn().expect("starts unshare, which is in util-linux");
        let mut started = Self { shell, dir };
        let deadline = Instant::now() + START;
        while UnixStream::connect(started.runtime_dir().join("systemd/private")).is_err() {
            let ended = started.shell.try_wait().expect("looks after it").is_some();
            assert!(
                !ended && Instant::now() < deadline,
                "no systemd of the test's own starts: it needs root, a kernel with control groups (2), and systemd, \
                 which scripts/test installs. It said:\n{}",
                fs::read_to_string(started.dir.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        started
    }

    /// `XDG_RUNTIME_DIR` for who talks to it.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// What `systemctl` answers.
    pub fn ask(&self, args: &[&str]) -> String {
        let asked = Command::new("systemctl")
            .args(["--user", "--no-pager", "--plain", "--no-legend"])
            .args(args)
            .env("XDG_RUNTIME_DIR", self.runtime_dir())
            .output()
            .expect("runs systemctl");
        assert!(
            asked.status.success(),
            "systemctl {args:?}: {}",
            String::from_utf8_lossy(&asked.stderr)
        );
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The shell around it sees the end of its input.
        drop(self.shell.stdin.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a manager needs to have reached its beginning, and its end.
const UNITS: [(&str, &str); 4] = [
    ("default.target", "[Unit]\nDescription=Default\n"),
    ("basic.target", "[Unit]\nDescription=Basic\n"),
    (
        "shutdown.target",
        "[Unit]\nDescription=Shutdown\nDefaultDependencies=no\n",
    ),
    (
        "exit.target",
        "[Unit]\nDescription=Exit\nDefaultDependencies=no\nSuccessAction=exit-force\n",
    ),
];

/// Its input stays open as long as the test lives. Systemd takes a folder in `/run` for the proof that the machine runs it.
const UNTIL_OUR_END: &str = r#"
    dir=$1
    mount -t tmpfs none /run && mkdir -p /run/systemd/system &&
        mount -t cgroup2 none /sys/fs/cgroup || exit 1
    group=/sys/fs/cgroup/longshore-test-$$
    mkdir "$group" || exit 1
    exec 3<&0
    (
        sh -c 'echo $PPID >"$1/cgroup.procs"' sh "$group" || exit 1
        exec env -i PATH="$PATH" HOME="$dir" XDG_RUNTIME_DIR="$dir/run" SYSTEMD_LOG_TARGET=console \
            SYSTEMD_UNIT_PATH="$dir/units:$dir/run/systemd/transient" SYSTEMD_GENERATOR_PATH="$dir/none" \
            SYSTEMD_ENVIRONMENT_GENERATOR_PATH="$dir/none" \
            /lib/systemd/systemd --user --unit=default.target
    ) </dev/null 3<&- &
    read -r _ <&3
    echo 1 >"$group/cgroup.kill"
    wait
    tries=0
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ $((tries += 1)) -gt 500 ]; do
        sleep 0.01
    done"#;
