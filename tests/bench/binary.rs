//! `longshore` as a process of its own, as it is shipped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// The binary in the folder that this program stands in.
pub fn beside_us() -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let binary = ours.with_file_name("longshore");
    match binary.is_file() {
        true => Ok(binary),
        false => Err(format!(
            "there is no {}; scripts/bench builds it, or name one with --binary",
            binary.display()
        )
        .into()),
    }
}

/// A running worker; killed when dropped.
pub struct Process {
    child: Child,
    _home: tempfile::TempDir,
    log: PathBuf,
}

impl Process {
    /// `longshore worker`, with these variables and no others.
    pub fn worker(binary: &Path, env: &[(&str, &str)]) -> Result<Self> {
        Self::start(binary, &["worker"], env)
    }

    /// Starts it in an empty folder, so that no configuration is found. Its input is closed when this process ends.
    pub fn start(binary: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let log = home.path().join("log");
        let out = std::fs::File::create(&log)?;
        let child = Command::new(binary)
            .args(args)
            .current_dir(home.path())
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        Ok(Self {
            child,
            _home: home,
            log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Fails with what it wrote when it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                Err(format!("a worker ended by itself ({status}):\n{said}").into())
            }
        }
    }

    /// Memory that it holds, in MB (10⁶ bytes).
    pub fn resident_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        Ok(resident_kib(&status).ok_or("/proc tells no VmRSS")? as f64 * 1024.0 / 1e6)
    }

    /// Processor time that it used so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        Ok(cpu_ticks(&stat).ok_or("/proc tells no times")? as f64 / TICKS)
    }
}

/// USER_HZ, which Linux tells processes to be 100 on every platform that it shares with us.
const TICKS: f64 = 100.0;

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time; the command's name before them may hold anything, up to the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read_as_it_writes() {
        let stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 111 22 0 0 20 0 5 0";
        assert_eq!(cpu_ticks(stat), Some(133));
        assert_eq!(cpu_ticks("4711"), None);
        assert_eq!(
            resident_kib("Name:\tx\nVmRSS:\t   23456 kB\nRssAnon:\t 1 kB\n"),
            Some(23_456)
        );
        assert_eq!(resident_kib("Name:\tx\n"), None);
    }

    #[test]
    fn our_own_process_is_there_to_be_read() {
        let us = std::process::id();
        let status = std::fs::read_to_string(format!("/proc/{us}/status")).expect("our own status");
        assert!(resident_kib(&status) > Some(100));
        let stat = std::fs::read_to_string(format!("/proc/{us}/stat")).expect("our own times");
        assert!(cpu_ticks(&stat).is_some());
    }
}
