//! The service unit and what it is added to, run by a real systemd: what a worker keeps outlives it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use testkit::{Machine, Ports};

use crate::peers::{longshore, root};

/// Who the worker is in a machine, and who starts what it keeps there.
struct As {
    /// Added to the worker's unit.
    drop_in: String,
    supervisor: &'static str,
    user: &'static str,
    /// To ask whoever starts units.
    systemctl: &'static [&'static str],
}

/// The systemd of a user that lingers, without a session to be told of.
const USERS: &str = r"[Service]
User=%i
Type=notify
Environment=XDG_RUNTIME_DIR=/run/user/%i SYSTEMD_LOG_TARGET=console SYSTEMD_GENERATOR_PATH=/none
Environment=SYSTEMD_UNIT_PATH=/etc/systemd/user:/run/user/%i/systemd/transient SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/none
ExecStartPre=+/bin/install --directory --owner=%i --mode=0700 /run/user/%i
ExecStart=/lib/systemd/systemd --user --unit=default.target
Delegate=yes
KillMode=mixed
";

const WISHES: &str = r#"{"made": 1, "stable": {"made": 1, "since": 1, "version": "v1", "replicas": 2, "paused": false, "pace": null},
"candidate": null, "retired": 0, "revisions": []}"#;

const BINARY: &str = "/usr/local/bin/longshore";

fn setup(of: &As, database: &str, ports: [u16; 2]) -> String {
    let (binary, unit) = (
        longshore(),
        root().join("deploy/systemd/longshore-worker.service"),
    );
    let config = format!(
        "[hosts.web]
state = \"/var/lib/longshore/hosts/web\"
supervisor = \"{}\"
[hosts.web.workloads.shop]
versions = \"/srv/shop\"
command = [\"{BINARY}\", \"demo-shop\", \"{{port}}\"]
ports = [{}, {}]
ready = {{ check = \"http\", path = \"/healthz\" }}
",
        of.supervisor, ports[0], ports[1]
    );
    format!(
        "touch {BINARY}
mount --bind '{binary}' {BINARY}
echo 'longshore:x:990:990::/var/lib/longshore:/usr/sbin/nologin' >>/etc/passwd
echo 'longshore:x:990:' >>/etc/group
cd /etc/systemd/system
cp '{unit}' .
mkdir longshore-worker.service.d
cat >longshore-worker.service.d/units.conf <<'END'
{drop_in}
END
printf '[Service]\\nStandardError=append:/var/lib/worker.log\\n' >longshore-worker.service.d/log.conf
cat >user@.service <<'END'
{USERS}
END
mkdir -p /etc/longshore /srv/shop/v1 /var/lib/longshore/hosts/web/shop
cat >/etc/longshore/longshore.toml <<'END'
{config}
END
echo 'DATABASE_URL={database}' >/etc/longshore/environment
chmod 600 /etc/longshore/environment
echo '{{\"version\": \"v1\", \"error_every\": 0, \"answers_in_ms\": 1}}' >/srv/shop/v1/shop.json
mkdir /var/lib/longshore/hosts/web/shop/runs /var/lib/longshore/hosts/web/shop/logs
cat >/var/lib/longshore/hosts/web/shop/wishes.json <<'END'
{WISHES}
END
chown -R {user}: /var/lib/longshore",
        binary = binary.display(),
        unit = unit.display(),
        drop_in = of.drop_in,
        user = of.user,
    )
}

fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")?;
    // It keeps a connection for as long as its other end does.
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn what_runs_outlives_its_worker(of: As) {
    let database = testkit::postgres::database().await;
    let taken = Ports::take();
    let ports = [taken.first(), taken.first() + 1];
    let machine = Machine::start(&setup(&of, database.url(), ports));
    if of.user == "longshore" {
        machine.said(&["systemctl", "start", "user@990.service"]);
    }
    machine.said(&["systemctl", "start", "longshore-worker.service"]);
    let serves = || {
        let answers = ports.map(|port| ask(port).unwrap_or_default());
        answers.iter().all(|answer| answer.contains("shop v1"))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !serves() {
        assert!(
            Instant::now() < deadline,
            "nothing serves; the worker said:\n{}\n{}",
            machine.said(&["cat", "/var/lib/worker.log"]),
            machine.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let main = |systemctl: &[&str], unit: &str| {
        let show = ["show", "--value", "--property=MainPID", unit];
        let pid: u32 = machine.said(&[systemctl, &show].concat()).parse().unwrap();
        assert!(pid > 0, "{unit} does not run");
        pid
    };
    let kept = || {
        let list = ["list-units", "--plain", "--no-legend", "longshore-shop-*.service"];
        let listed = machine.said(&[of.systemctl, &list].concat());
        let units = listed.lines().filter_map(|line| line.split_whitespace().next());
        let kept: Vec<_> = units
            .map(|unit| (unit.to_owned(), main(of.systemctl, unit)))
            .collect();
        assert_eq!(kept.len(), 3, "two replicas and their keeper: {kept:?}");
        kept
    };
    let worker = || main(&["systemctl"], "longshore-worker.service");
    let (before, first) = (kept(), worker());
    machine.said(&["systemctl", "restart", "longshore-worker.service"]);
    let second = worker();
    assert_ne!(first, second);
    assert!(serves());
    assert_eq!(kept(), before, "all goes on as it was");
    // And whoever kills it: everything that its unit holds.
    machine.said(&[
        "systemctl",
        "kill",
        "--kill-whom=all",
        "--signal=KILL",
        "longshore-worker.service",
    ]);
    assert!(serves());
    assert_eq!(kept(), before);
    machine.said(&["systemctl", "stop", "longshore-worker.service"]);
    assert!(serves());
    assert_eq!(kept(), before);

    let looked = machine.run(&[
        "setpriv",
        &format!("--reuid={}", of.user),
        &format!("--regid={}", of.user),
        "--clear-groups",
        "env",
        "-i",
        &format!("DATABASE_URL={}", database.url()),
        BINARY,
        "doctor",
        "--config",
        "/etc/longshore/longshore.toml",
    ]);
    let looked = String::from_utf8_lossy(&looked.stdout);
    let line = looked.lines().find(|line| line.contains("versions run as"));
    let line = line.unwrap_or_else(|| panic!("{looked}"));
    assert!(
        line.starts_with("ok ") && line.contains("web: versions run as units of systemd"),
        "{line}"
    );
    assert!(!looked.contains("no unit"), "{looked}");
}

#[tokio::test]
async fn units_of_its_user_outlive_the_worker_as_it_is_shipped() {
    let units = root().join("deploy/systemd/longshore-worker.service.d/units.conf");
    what_runs_outlives_its_worker(As {
        drop_in: fs::read_to_string(units).unwrap(),
        supervisor: "systemd-user",
        user: "longshore",
        systemctl: &[
            "setpriv",
            "--reuid=longshore",
            "--regid=longshore",
            "--clear-groups",
            "env",
            "XDG_RUNTIME_DIR=/run/user/990",
            "systemctl",
            "--user",
        ],
    })
    .await;
}

#[tokio::test]
async fn units_of_the_machine_outlive_a_worker_that_is_root() {
    what_runs_outlives_its_worker(As {
        drop_in: "[Service]\nUser=root\nDynamicUser=no\nStateDirectory=longshore\n".to_owned(),
        supervisor: "auto",
        user: "root",
        systemctl: &["systemctl"],
    })
    .await;
}
