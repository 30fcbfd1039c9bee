//! A machine whose first process is a real systemd, as far as namespaces make one of this.

use std::fs::{self, File};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(30);

/// It has processes, control groups, `/etc`, `/run`, `/srv`, `/tmp`, `/usr/local/bin`, `/var/lib` and `/var/tmp` of its own, all
/// but `/etc` empty at first, and shares the network and all other files. It ends with this value, and with the test however that ends.
pub struct Machine {
    shell: Child,
    dir: tempfile::TempDir,
}

impl Machine {
    /// `setup` is a script that is run before systemd is; what it writes to `/etc` and the others stays here.
    pub fn start(setup: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir()
            .expect("a folder");
        let said = File::create(dir.path().join("log")).expect("makes a log");
        let mut shell = Command::new("unshare");
        shell
            .args(["--mount", "/bin/sh", "-c", UNTIL_OUR_END, "longshore-machine"])
            .arg(dir.path())
            .arg(format!("{ALONE}\n{setup}\n{BEGIN}"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("shares the log"))
            .stderr(said);
        let shell = shell.spawn().expect("starts unshare, which is in util-linux");
        let mut started = Self { shell, dir };
        let deadline = Instant::now() + START;
        while !started.is_running() {
            let ended = started.shell.try_wait().expect("looks after it").is_some();
            assert!(
                !ended && Instant::now() < deadline,
                "no machine of the test's own starts: it needs root, namespaces, a kernel with control groups (2) and overlays, \
                 and systemd, which scripts/test installs. It said:\n{}",
                started.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        started
    }

    /// A command in it, as its root.
    pub fn run(&self, command: &[&str]) -> Output {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap_or_default();
        Command::new("nsenter")
            .args(["--mount", "--pid", "--cgroup", "--target", pid.trim(), "--"])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .expect("runs nsenter, which is in util-linux")
    }

    /// What a command says that must end well.
    pub fn said(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(
            output.status.success(),
            "{command:?} ended with {}: {}{}\n{}",
            output.status,
            said(&output.stdout),
            said(&output.stderr),
            self.log()
        );
        said(&output.stdout)
    }

    /// What systemd said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn is_running(&self) -> bool {
        self.dir.path().join("pid").exists()
            && self
                .run(&["systemctl", "is-system-running"])
                .stdout
                .starts_with(b"running")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The shell around it sees the end of its input.
        drop(self.shell.stdin.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Its input stays open as long as the test lives.
const UNTIL_OUR_END: &str = r#"
    dir=$1 begin=$2
    mount -t cgroup2 none /sys/fs/cgroup || exit 1
    group=/sys/fs/cgroup/longshore-test-$$
    mkdir "$group" || exit 1
    exec 3<&0
    (
        sh -c 'echo $PPID >"$1/cgroup.procs"' sh "$group" || exit 1
        exec unshare --cgroup --pid --fork --kill-child=KILL --mount /bin/sh -euc "$begin" sh "$dir"
    ) </dev/null 3<&- &
    read -r _ <&3
    echo 1 >"$group/cgroup.kill"
    wait
    tries=0
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ $((tries += 1)) -gt 500 ]; do
        sleep 0.01
    done"#;

const ALONE: &str = r#"
    dir=$1
    # Which number we have outside is told by the /proc from there.
    read -r pid _ </proc/self/stat
    mount -t proc proc /proc
    umount /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "$dir/etc"
    mount -t tmpfs none "$dir/etc"
    mkdir "$dir/etc/upper" "$dir/etc/work"
    mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc/upper,workdir=$dir/etc/work" none /etc
    for own in /run /srv /usr/local/bin /var/lib /etc/systemd; do
        mount -t tmpfs -o mode=755 none "$own"
    done
    # The test looks into its folder, which is in /tmp as a rule.
    mkdir /run/machine
    mount --bind "$dir" /run/machine
    for own in /tmp /var/tmp; do
        mount -t tmpfs -o mode=1777 none "$own"
    done
    mkdir -p "$dir"
    mount --move /run/machine "$dir"
    rmdir /run/machine
    mkdir -p /etc/systemd/system /etc/systemd/user /run/systemd/system /run/user
    for target in basic default exit multi-user shutdown sysinit; do
        printf '[Unit]\nDefaultDependencies=no\n' | tee /etc/systemd/user/$target.target >/etc/systemd/system/$target.target
    done"#;

const BEGIN: &str = r#"
    echo "$pid" >"$dir/pid.part"
    mv "$dir/pid.part" "$dir/pid"
    exec env -i PATH="$PATH" container=longshore SYSTEMD_LOG_TARGET=console SYSTEMD_GENERATOR_PATH=/none \
        SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/transient \
        /lib/systemd/systemd --system --unit=multi-user.target"#;
