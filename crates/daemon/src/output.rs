//! What a command prints: JSON for programs, tables and colour for people.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Utc};
use comfy_table::{
    Attribute, Cell, CellAlignment, Color as CellColor, ColumnConstraint, ContentArrangement, Table, Width,
    presets,
};
use domain::Error;
use serde::Serialize;
use serde_json::json;

use crate::cli::Color;

/// Least width of the column of a table that gives way, blanks around it included.
const LEAST_WIDTH: u16 = 20;

/// Where answers go, and in which form. Every answer passes through redaction: what a task was told or what it met may
/// hold a password, and an answer ends in a ticket or a script's log as soon as a note does.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
    pub colour: bool,
    /// For errors, which go to another place.
    error_colour: bool,
    /// Somebody is looking: widths are the terminal's, and lines may be redrawn.
    pub terminal: bool,
    /// Secrets stay in: see [`Output::as_it_is`].
    as_it_is: bool,
}

impl Output {
    /// `no_color`: whether NO_COLOR is set and not empty (<https://no-color.org>).
    pub fn new(json: bool, color: Color, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let coloured = |terminal: bool| match color {
            _ if json => false,
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self {
            json,
            colour: coloured(terminal),
            error_colour: coloured(std::io::stderr().is_terminal()),
            terminal,
            as_it_is: false,
        }
    }

    /// For what would be of no use without its secret (a token that is shown this once), and for what holds none and only
    /// looks so (a completion script, the schema of the configuration).
    pub fn as_it_is(self) -> Self {
        Self {
            as_it_is: true,
            ..self
        }
    }

    /// An answer in both forms.
    pub fn answer<T: Serialize>(&self, value: &T, human: impl FnOnce(&Self) -> String) -> Result<(), Error> {
        if self.json {
            self.value(value)
        } else {
            self.text(&human(self))
        }
    }

    pub fn value<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let mut value = serde_json::to_value(value)
            .map_err(|error| Error::internal("could not write the answer as JSON").because(&error))?;
        if !self.as_it_is {
            domain::redact_json(&mut value);
        }
        self.line(&value.to_string())
    }

    /// Prints text and a line's end.
    pub fn text(&self, text: &str) -> Result<(), Error> {
        match self.as_it_is {
            true => self.line(text),
            false => self.line(&domain::redact(text)),
        }
    }

    /// A reader that went away (`| head`) is no fault of ours.
    fn line(&self, text: &str) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::unavailable("could not write to standard output").because(&error))
            }
            _ => Ok(()),
        }
    }

    /// An error: what, why, and what next. What happened may be told in another program's words, and repeat an address
    /// with a password in it; what to do next is ours, and may show how such an address looks.
    pub fn error(&self, error: &Error) {
        let clean = |text: &String| domain::redact(text).into_owned();
        let error = Error {
            what: clean(&error.what),
            causes: error.causes.iter().map(clean).collect(),
            ..error.clone()
        };
        if self.json {
            say(&json!({ "error": error }).to_string());
            return;
        }
        let paint = |paint, text| painted(self.error_colour, paint, text);
        let mut text = format!("{} {}", paint(Paint::Bad, "error:"), harmless(&error.what));
        for cause in &error.causes {
            text.push_str(&format!("\n  because {}", harmless(cause)));
        }
        if let Some(next) = &error.next {
            text.push_str(&format!("\n{} {}", paint(Paint::Dim, "next:"), harmless(next)));
        }
        say(&text);
    }

    /// On a terminal the column `gives_way` is as wide as the others leave it, and cut off with `…`; those others are
    /// whole, as ids are to be copied.
    pub fn table(&self, headers: &[&str], gives_way: usize) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_truncation_indicator("…")
            .set_content_arrangement(if self.terminal {
                ContentArrangement::Dynamic
            } else {
                ContentArrangement::Disabled
            });
        table.set_header(headers.iter().map(|header| {
            let cell = Cell::new(header);
            if self.colour {
                cell.add_attribute(Attribute::Dim)
            } else {
                cell
            }
        }));
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_constraint(match place == gives_way {
                // On a narrow terminal lines are broken there rather than its text be lost.
                true => ColumnConstraint::LowerBoundary(Width::Fixed(LEAST_WIDTH)),
                false => ColumnConstraint::ContentWidth,
            });
        }
        table
    }

    /// A table's lines, one for each row.
    pub fn lines(&self, mut table: Table) -> String {
        if self.terminal {
            for row in table.row_iter_mut() {
                row.max_height(1);
            }
        }
        table.trim_fmt()
    }

    pub fn status_cell(&self, status: &str) -> Cell {
        let cell = Cell::new(status);
        let colour = match status.split(' ').next() {
            Some("completed") => CellColor::Green,
            Some("failed") => CellColor::Red,
            Some("waiting" | "held" | "cancelling") => CellColor::Yellow,
            Some("in_progress" | "claimed") => CellColor::Cyan,
            _ => return cell,
        };
        if self.colour { cell.fg(colour) } else { cell }
    }

    pub fn number_cell(&self, number: impl ToString) -> Cell {
        Cell::new(number).set_alignment(CellAlignment::Right)
    }

    pub fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.colour, paint, text)
    }

    /// A task's state in its colour.
    pub fn state(&self, state: &str) -> String {
        let paint = match state {
            "completed" => Paint::Good,
            "failed" => Paint::Bad,
            "waiting" | "held" | "cancelling" => Paint::Attention,
            _ => Paint::Dim,
        };
        self.paint(paint, state)
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Paint {
    Good,
    Bad,
    Attention,
    Dim,
    Bold,
}

impl Paint {
    fn code(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Attention => 33,
            Self::Dim => 2,
            Self::Bold => 1,
        }
    }
}

fn painted(colour: bool, paint: Paint, text: &str) -> String {
    match colour {
        true => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
        false => text.to_owned(),
    }
}

/// Prints on standard error. Nobody is left to tell when that is gone.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A moment as a table shows it: UTC, to the second.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Text from outside, safe to print: control characters (a log may hold ESC sequences) and marks that turn the
/// direction of text are shown, not obeyed.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if is_obeyed(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same without its secrets, where it is not an [`Output`] that takes them out, or where only a part of it will be
/// shown: half a token is a secret that nobody would recognise.
pub fn shown(text: &str) -> String {
    harmless(&domain::redact(text))
}

/// As one line, for a table: a line's end from outside would begin a row of its own.
pub fn cell(text: &str) -> String {
    shown(text).replace(['\n', '\t'], " ")
}

/// With lines after the first set off by so many blanks: none can pass for one of ours.
pub fn indented(text: &str, by: usize) -> String {
    shown(text).replace('\n', &format!("\n{:by$}", ""))
}

/// Text as one word of a shell's command line. What cannot be shown is written as bash, zsh and ksh read it.
pub fn quoted(text: &str) -> String {
    if text == harmless(text) && !text.contains(['\n', '\t']) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if is_obeyed(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    word.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => word.push(c),
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_from_outside_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\x1b[31mb\x07\nc\td"), "a\u{fffd}[31mb\u{fffd}\nc\td");
        assert_eq!(harmless("safe\u{202e}exe.txt"), "safe\u{fffd}exe.txt");
    }

    #[test]
    fn a_word_for_a_shell_is_what_it_was() {
        for text in ["plain it's", "a\u{1b}[31m\tb\n\u{85}\u{202e}'\\x", ""] {
            let word = quoted(text);
            assert_eq!(word, harmless(&word).replace(['\n', '\t'], "?"), "{word}");
            let said = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {word}")])
                .env("LC_ALL", "C")
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text, "{word}");
        }
    }

    #[test]
    fn on_a_terminal_an_id_is_whole_and_the_last_column_is_cut_off() {
        let mut out = Output::new(false, Color::Never, false);
        out.terminal = true;
        let mut table = out.table(&["ID", "STATE", "WHAT"], 2);
        table.set_width(75);
        let id = "019bff00-1111-7222-8333-444455556666";
        table.add_row([
            id,
            "failed",
            "a cause that nobody could tell in so few letters\nas these",
        ]);
        let text = out.lines(table);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].contains(id) && lines[1].ends_with('…'), "{text}");
        assert!(lines[1].chars().count() <= 75, "{text}");
        let mut table = out.table(&["ID", "STATE", "WHAT"], 2);
        table.set_width(60);
        table.add_row([id, "failed", "a cause of many more letters"]);
        let text = out.lines(table);
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.contains("a cause of many…")),
            "{text}"
        );
    }

    #[test]
    fn lines_from_outside_stay_below_their_own() {
        assert_eq!(indented("no\nState: fine", 2), "no\n  State: fine");
        assert_eq!(
            cell("a\nb password=hunter2hunter"),
            "a b password=[redacted: password]"
        );
    }

    #[test]
    fn json_is_never_coloured() {
        assert!(!Output::new(true, Color::Always, false).colour);
        assert!(Output::new(false, Color::Always, true).colour);
        assert!(!Output::new(false, Color::Auto, true).colour);
    }
}
