//! The command line from its arguments, and what is wrong with it in the form that was asked for.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use domain::Error;

use super::{Cli, Color};
use crate::exit::Exit;
use crate::output::Output;

/// What says how errors are told. It is looked for before anything else is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub json: bool,
    pub color: Color,
}

impl Form {
    pub fn of(args: &[OsString]) -> Self {
        let mut form = Self {
            json: false,
            color: Color::Auto,
        };
        let mut words = args
            .iter()
            .skip(1)
            .filter_map(|arg| arg.to_str())
            .take_while(|word| *word != "--");
        while let Some(word) = words.next() {
            let color = match word {
                "--json" => {
                    form.json = true;
                    continue;
                }
                "--color" => words.next(),
                _ => word.strip_prefix("--color="),
            };
            form.color = match color {
                Some("always") => Color::Always,
                Some("never") => Color::Never,
                Some("auto") => Color::Auto,
                _ => form.color,
            };
        }
        form
    }
}

/// The command, or the end of the program: help was asked for, or what stands there is no command.
pub fn read(args: &[OsString], form: Form, out: Output) -> Result<Cli, Exit> {
    let command = Cli::command().color(match form.color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    });
    let error = match command
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let text = error.render().to_string();
    // It repeats what was written, which may have been a secret at the wrong place.
    if !asked && (form.json || domain::redact(&text) != text) {
        out.error(&told(&error, &text));
    } else {
        // A reader that went away is no fault of ours.
        let _ = error.print();
    }
    Err(if asked { Exit::Done } else { Exit::Usage })
}

/// clap's words as an error of ours.
fn told(error: &clap::Error, text: &str) -> Error {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::invalid("no command is given").next("`longshore --help` names the commands");
    }
    let said = text.strip_prefix("error: ").unwrap_or(text);
    let said = said.split("\n\nUsage:").next().unwrap_or(said);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let parts: Vec<String> = said.trim().split("\n\n").map(in_a_line).collect();
    let usage = error.get(ContextKind::Usage).map(|usage| usage.to_string());
    let usage = usage
        .as_deref()
        .and_then(|usage| usage.trim().strip_prefix("Usage: "));
    Error::invalid(parts.join("; ")).next(match usage {
        Some(usage) => format!("Write it like `{}`; --help says more", in_a_line(usage)),
        None => "--help says how it is written".to_owned(),
    })
}

fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_read_off_any_command_line() {
        let form = |args: &[&str]| {
            let args: Vec<OsString> = [&["longshore"], args]
                .concat()
                .into_iter()
                .map(Into::into)
                .collect();
            let form = Form::of(&args);
            (form.json, form.color)
        };
        assert_eq!(form(&["nonsense", "--json"]), (true, Color::Auto));
        assert_eq!(form(&["--color", "never", "x"]), (false, Color::Never));
        assert_eq!(form(&["--color=always"]), (false, Color::Always));
        assert_eq!(form(&["tasks", "show", "--", "--json"]), (false, Color::Auto));
    }
}
