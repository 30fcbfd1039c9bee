//! How a keeper begins: a process that is nobody's child, or a unit.

use std::process::Stdio;
use std::time::{Duration, Instant};

use domain::{Error, Result};
use tokio::process::Command;

use crate::config::KeeperCommand;
use crate::files::Folder;
use crate::systemd::{Systemd, Unit, begun_by, unit_name};

/// As long may a unit of the same name take to end, or systemd to start it again itself.
const BEFORE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn alone(keeper: &KeeperCommand, folder: &Folder) -> Result<()> {
    // The shell ends at once and leaves the keeper to the system: the worker has no child to wait for.
    const LEAVE_ALONE: &str = r#"log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &"#;
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", LEAVE_ALONE, "longshore-keeper"])
        .arg(folder.keeper_log())
        .arg(&keeper.program)
        .args(&keeper.args)
        .args(["--begun-by", &begun_by(None)])
        .arg(folder.path())
        // Our environment holds secrets that no replica should get.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let ended = shell
        .status()
        .await
        .map_err(|error| Error::unavailable("/bin/sh did not run").because(&error))?;
    if !ended.success() {
        return Err(Error::unavailable(format!("its shell ended with {ended}")));
    }
    Ok(())
}

/// Done when the unit runs, or the workload is kept: a keeper that was killed is started again by systemd too.
pub(crate) async fn as_unit(
    systemd: &Systemd,
    keeper: &KeeperCommand,
    folder: &Folder,
    workload: &str,
) -> Result<()> {
    let mut command = vec![keeper.program.to_string_lossy().into_owned()];
    command.extend(keeper.args.iter().cloned());
    // Systemd starts it again with the same words, whatever the setting is then.
    command.extend(["--begun-by".to_owned(), begun_by(Some(systemd))]);
    command.push(folder.path().to_string_lossy().into_owned());
    let unit = Unit {
        name: &unit_name(workload, &["keeper"], folder.path()),
        description: format!("longshore: keeps {workload}"),
        properties: vec![
            "Restart=on-failure".to_owned(),
            // No shell's `>>`: a daemon-reload makes other words of a transient unit's script.
            format!("StandardOutput=append:{}", folder.keeper_log().display()),
        ],
        folder: "/".as_ref(),
        env: None,
        command,
    };
    let deadline = Instant::now() + BEFORE;
    let mut in_the_way = true;
    loop {
        let Err(error) = systemd.start(&unit).await else {
            return Ok(());
        };
        if folder.is_kept()? {
            return Ok(());
        }
        if Instant::now() > deadline || !in_the_way {
            return Err(error);
        }
        // One that has just gone was in the way too.
        in_the_way = systemd.has(unit.name).await.unwrap_or(false);
        tokio::time::sleep(PAUSE).await;
    }
}
