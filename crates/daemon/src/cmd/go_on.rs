//! The command that goes on where one from a file was cut off.

use std::path::Path;

use url::Url;

use crate::cli::Global;
use crate::output::quoted;

/// What of the first command the next one must repeat, as a shell reads it.
#[derive(Default)]
pub struct GoOn {
    /// None where it was standard input.
    file: Option<String>,
    /// Whatever says where the tasks go: another place would be the wrong one.
    flags: String,
    /// An address was shown without its user and password.
    hides: bool,
}

impl GoOn {
    pub fn of(from: &Path, url: Option<&str>, global: &Global) -> Self {
        let mut go_on = Self::default();
        if from != Path::new("-") {
            let name = from.display().to_string();
            // `tail` takes a name that begins with a dash for a flag.
            let dash = if name.starts_with('-') { "./" } else { "" };
            go_on.file = Some(word(&format!("{dash}{name}")));
        }
        if let Some(config) = &global.config {
            go_on.flag("--config", &config.display().to_string());
        }
        for (name, address) in [
            ("--database-url", global.database_url.as_deref()),
            ("--dashboard-url", url),
        ] {
            if let Some(address) = address {
                let shown = without_secrets(address);
                go_on.hides |= shown != address;
                go_on.flag(name, &shown);
            }
        }
        go_on
    }

    #[cfg(test)]
    pub fn at(file: &str) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::default()
        }
    }

    fn flag(&mut self, name: &str, value: &str) {
        self.flags.push_str(&format!(" {name} {}", word(value)));
    }

    /// What to do where the lines up to one are in, after what is to be done `first`.
    pub fn after(&self, lines: usize, first: &str) -> String {
        match (lines, &self.file) {
            (0, _) => format!("None of the tasks is in: {first}run the command again"),
            (_, None) => format!("Lines 1-{lines} are in: {first}send what follows them"),
            (_, Some(file)) => {
                let add = if self.hides {
                    ", with the user and password in the address"
                } else {
                    ""
                };
                format!(
                    "Lines 1-{lines} are in: {first}go on with `tail -n +{} {file} | longshore create-task --from -{}`{add}",
                    lines + 1,
                    self.flags
                )
            }
        }
    }
}

/// As it is, where a shell takes it so.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// An address without user and password, wherever they may stand in it.
fn without_secrets(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else {
        return address.to_owned();
    };
    let is_secret = |key: &str| matches!(key, "user" | "password" | "sslpassword" | "passfile");
    let asks = url.query_pairs().any(|(key, _)| is_secret(&key));
    if url.username().is_empty() && url.password().is_none() && !asks {
        return address.to_owned();
    }
    // Only what has no host takes neither, and has none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    if asks {
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| !is_secret(key))
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        match kept.is_empty() {
            true => url.set_query(None),
            false => {
                url.query_pairs_mut().clear().extend_pairs(kept);
            }
        }
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What is told after 5000 lines of a command as it was given.
    fn go_on(args: &[&str]) -> String {
        let cli = Cli::parse_from([&["longshore", "create-task"], args].concat());
        let Command::CreateTask(command) = &cli.command else {
            panic!("another command");
        };
        let from = command.from.as_deref().expect("a file");
        GoOn::of(from, command.dashboard_url.as_deref(), &cli.global).after(5000, "")
    }

    #[test]
    fn it_goes_where_the_first_one_went() {
        for (args, flags) in [
            (&["--from", "f"][..], "f | longshore create-task --from -`"),
            (
                &["--from", "it's new.ndjson"],
                r"'it'\''s new.ndjson' | longshore create-task --from -`",
            ),
            (&["--from=-f"], "./-f | longshore create-task --from -`"),
            (
                &["--from", "f", "--dashboard-url", "http://ops.example.com:8844"],
                "f | longshore create-task --from - --dashboard-url http://ops.example.com:8844`",
            ),
            (
                &["--from", "f", "--config", "/etc/a b.toml"],
                "f | longshore create-task --from - --config '/etc/a b.toml'`",
            ),
            (
                &[
                    "--from",
                    "f",
                    "--database-url",
                    "postgres:///ops?host=/run/pg&user=pm&password=hunter2",
                ],
                "f | longshore create-task --from - --database-url 'postgres:///ops?host=%2Frun%2Fpg'`, with the user and password in the address",
            ),
            (
                &["--from", "f", "--database-url", "postgres://pm:hunter2@db/ops"],
                "f | longshore create-task --from - --database-url postgres://db/ops`, with the user and password in the address",
            ),
        ] {
            let told = format!("Lines 1-5000 are in: go on with `tail -n +5001 {flags}");
            assert_eq!(go_on(args), told);
        }
        assert_eq!(
            go_on(&["--from", "-"]),
            "Lines 1-5000 are in: send what follows them"
        );
    }
}
