//! Commands of the worker's configuration as checks.

use std::collections::BTreeMap;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use domain::{Error, Result, nearest};
use ports::Seen;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::{span, unwell};
use crate::config::CommandConfig;

/// Where commands are found whose `env` says nothing of it. The worker's own environment stays with the worker: it holds
/// its secrets.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How much of the end of what a command writes is kept, in bytes, and shown, in lines and characters.
const KEPT: usize = 16 * 1024;
const LINES: usize = 10;
const CHARS: usize = 1000;
/// How long the output of a command that has ended is waited for: what left its process group may hold it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The commands that may be run, by name.
pub(super) struct Commands(BTreeMap<String, CommandConfig>);

/// A command's process group. Dropped, nothing of it runs any more.
struct Group(Option<Pid>);

impl Group {
    fn end(&self) {
        if let Some(pid) = self.0 {
            // One that is empty already is what is wanted.
            _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

impl Commands {
    pub(super) fn new(commands: &BTreeMap<String, CommandConfig>) -> Result<Self> {
        for (name, command) in commands {
            let wrong = |what: &str, next: &str| {
                Err(Error::invalid(format!("the command `{name}` of the checks {what}")).next(next))
            };
            if !command.program.is_absolute() {
                return wrong(
                    "names no whole path as its `program`",
                    "Write it from the root, like /opt/checks/smoke.sh",
                );
            }
            if command.timeout.is_zero() {
                return wrong("has a `timeout` of 0", "Give it a second or more");
            }
            let holds_nul = |text: &str| text.contains('\0');
            let in_env = |(key, value): (&String, &secrecy::SecretString)| {
                key.is_empty() || key.contains(['=', '\0']) || holds_nul(value.expose_secret())
            };
            if command.args.iter().any(|arg| holds_nul(arg)) || command.env.iter().any(in_env) {
                return wrong(
                    "has an argument or a variable that no process can be given",
                    "Take `=` out of the names and NUL out of everything",
                );
            }
        }
        Ok(Self(commands.clone()))
    }

    pub(super) async fn run(
        &self,
        name: &str,
        values: &BTreeMap<String, String>,
        limit: Option<Duration>,
    ) -> Result<Seen> {
        let config = self.find(name)?;
        let limit = limit.map_or(config.timeout, |limit| limit.min(config.timeout));
        if let Some((key, _)) = values.iter().find(|(_, value)| value.contains('\0')) {
            return Err(Error::invalid(format!(
                "the command `{name}` cannot be told {key}: it holds a NUL character"
            )));
        }
        let (mut child, output) = start(name, config, values)?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let began = Instant::now();
        let mut kept = Vec::new();
        let ended = timeout(limit, until_the_end(&mut child, &output, &mut kept)).await;
        // What it left running would outlive the look that it belongs to.
        group.end();
        if ended.is_err() {
            // The group is killed, so that this is its end; it is not left a zombie.
            _ = child.wait().await;
        }
        _ = timeout(LAST_WORDS, rest(&output, &mut kept)).await;
        let took = span(began.elapsed());
        let said = config.shown(&kept);
        let said = if said.is_empty() {
            said
        } else {
            format!(": {said}")
        };
        Ok(match ended {
            Err(_) => unwell(format!("not done within {}{said}", span(limit))),
            Ok(Err(error)) => {
                return Err(
                    Error::unavailable(format!("the command `{name}` was lost sight of")).because(&error),
                );
            }
            Ok(Ok(status)) => Seen {
                well: status.success(),
                what: format!("{} in {took}{said}", end(status)),
            },
        })
    }

    fn find(&self, name: &str) -> Result<&CommandConfig> {
        self.0.get(name).ok_or_else(|| {
            let near = nearest(name, self.0.keys().map(String::as_str));
            let next = match near {
                Some(near) => format!("Did you mean `{near}`?"),
                None => "Add it to the commands of the checks in the worker's configuration".to_owned(),
            };
            Error::invalid(format!("this worker has no command called `{name}`")).next(next)
        })
    }
}

fn start(name: &str, config: &CommandConfig, values: &BTreeMap<String, String>) -> Result<(Child, Receiver)> {
    let failed = |error: io::Error| {
        let what = format!("the command `{name}` could not be started");
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::ExecutableFileBusy => Error::invalid(what)
                .because(&error)
                .next("Check its `program` and `folder` in the worker's configuration"),
            // No process number, no memory: it may go better later.
            _ => Error::unavailable(what).because(&error),
        }
    };
    // One pipe for both, so that what was written stands in its order.
    let (ours, its) = io::pipe().map_err(failed)?;
    let mut command = Command::new(&config.program);
    command
        .args(&config.args)
        .env_clear()
        .env("PATH", PATH)
        .envs(config.env.iter().map(|(key, value)| (key, value.expose_secret())))
        .envs(values)
        .stdin(Stdio::null())
        .stdout(its.try_clone().map_err(failed)?)
        .stderr(its)
        .kill_on_drop(true)
        .process_group(0);
    if let Some(folder) = &config.folder {
        command.current_dir(folder);
    }
    // The command holds our copy of its end of the pipe, and goes with this function.
    let child = command.spawn().map_err(failed)?;
    let output = Receiver::from_owned_fd(ours.into()).map_err(failed)?;
    Ok((child, output))
}

async fn until_the_end(child: &mut Child, output: &Receiver, kept: &mut Vec<u8>) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => status,
        // The pipe is closed before the command ends, or by it.
        () = rest(output, kept) => child.wait().await,
    }
}

/// Reads to the end; of much only the last is kept.
async fn rest(output: &Receiver, kept: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    loop {
        if output.readable().await.is_err() {
            return;
        }
        match output.try_read(&mut piece) {
            Ok(0) => return,
            Ok(length) => {
                kept.extend_from_slice(&piece[..length]);
                if kept.len() > 2 * KEPT {
                    kept.drain(..kept.len() - KEPT);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

impl CommandConfig {
    /// The last lines of what it wrote, without what was given to it as secret.
    fn shown(&self, output: &[u8]) -> String {
        let secrets = self.env.values().map(|value| value.expose_secret());
        // Shorter ones (a port, a level) are no secrets, and words of any text.
        let mut secrets: Vec<&str> = secrets.filter(|secret| secret.len() >= 6).collect();
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        let text = plain(&String::from_utf8_lossy(output));
        let masked = |text: String, secret: &str| text.replace(secret, "[secret]");
        let text = secrets.into_iter().fold(text, masked);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let shown = lines[lines.len().saturating_sub(LINES)..].join(" | ");
        match shown.char_indices().nth_back(CHARS) {
            Some((cut, _)) => format!("…{}", &shown[cut..]),
            None => shown,
        }
    }
}

/// Without colours and other controls, which no ticket shows.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                // A control sequence ends with its first letter (ECMA-48, 5.4).
                _ = rest.by_ref().find(|end| ('@'..='~').contains(end));
            }
            '\r' | '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            next if next.is_control() => {}
            next => plain.push(next),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> CommandConfig {
        let mut config = CommandConfig::new("/bin/true".into());
        config.env.insert("TOKEN".to_owned(), "geheim-token".into());
        config.env.insert("LEVEL".to_owned(), "info".into());
        config
    }

    #[test]
    fn the_last_lines_are_shown_without_colours_and_secrets() {
        let said = config().shown(b"\x1b[31mred\x1b[0m\r\n\n used geheim-token\tat info\x07\n");
        assert_eq!(said, "red | used [secret] at info");
        let many: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let said = config().shown(many.as_bytes());
        assert!(
            said.starts_with("line 90 | ") && said.ends_with("line 99"),
            "{said}"
        );
        let long = config().shown("é".repeat(5000).as_bytes());
        assert!(
            long.starts_with('…') && long.chars().count() <= CHARS + 2,
            "{}",
            long.len()
        );
    }

    #[test]
    fn a_command_that_can_never_run_is_refused_at_the_start() {
        let wrong: [&dyn Fn(&mut CommandConfig); 4] = [
            &|config| config.program = "smoke.sh".into(),
            &|config| config.timeout = Duration::ZERO,
            &|config| config.args.push("a\0b".to_owned()),
            &|config| _ = config.env.insert("A=B".to_owned(), "geheim".into()),
        ];
        for change in wrong {
            let mut config = config();
            change(&mut config);
            let error = Commands::new(&BTreeMap::from([("smoke".to_owned(), config)])).err();
            let error = error.expect("is refused");
            assert!(error.to_string().contains("`smoke`"), "{error}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
