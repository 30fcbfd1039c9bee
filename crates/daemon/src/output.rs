//! What a command prints: JSON for programs, tables and colour for people.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, CellAlignment, Color as CellColor, ContentArrangement, Table, presets};
use domain::Error;
use serde::Serialize;
use serde_json::json;

use crate::cli::Color;

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
    pub colour: bool,
    /// Somebody is looking: widths are the terminal's, and lines may be redrawn.
    pub terminal: bool,
}

impl Output {
    /// `no_color`: whether NO_COLOR is set and not empty (<https://no-color.org>).
    pub fn new(json: bool, color: Color, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self {
            json,
            colour: colour && !json,
            terminal,
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
        let line = serde_json::to_string(value)
            .map_err(|error| Error::internal("could not write the answer as JSON").because(&error))?;
        self.text(&line)
    }

    /// Prints text and a line's end. A reader that went away (`| head`) is no fault of ours.
    pub fn text(&self, text: &str) -> Result<(), Error> {
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
            eprintln!("{}", json!({ "error": error }));
            return;
        }
        eprintln!("{} {}", self.paint(Paint::Bad, "error:"), harmless(&error.what));
        for cause in &error.causes {
            eprintln!("  because {}", harmless(cause));
        }
        if let Some(next) = &error.next {
            eprintln!("{} {}", self.paint(Paint::Dim, "next:"), harmless(next));
        }
    }

    pub fn table(&self, headers: &[&str]) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
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
        table
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
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            text.to_owned()
        }
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
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// Text as one word of a shell's command line.
pub fn quoted(text: &str) -> String {
    format!("'{}'", harmless(text).replace('\'', r"'\''"))
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
    fn json_is_never_coloured() {
        assert!(!Output::new(true, Color::Always, false).colour);
        assert!(Output::new(false, Color::Always, true).colour);
        assert!(!Output::new(false, Color::Auto, true).colour);
    }
}
