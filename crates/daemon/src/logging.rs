//! Logs go to standard error: one event on one line, for people on a terminal, as JSON elsewhere or as told.
//! Every line passes through redaction, whatever wrote it.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, Settings};

/// Installs the process's one subscriber. A second call changes nothing.
pub fn install(settings: &Settings, no_color: bool) {
    let terminal = io::stderr().is_terminal();
    let json = match settings.log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !terminal,
    };
    // The level was checked with the rest of the configuration.
    let filter = EnvFilter::try_new(&settings.log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Redacted)
        .with_ansi(terminal && !no_color);
    let installed = if json {
        builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.try_init()
    };
    if installed.is_err() {
        tracing::debug!("a log subscriber stands already");
    }
}

/// Standard error behind redaction.
struct Redacted;

impl<'a> MakeWriter<'a> for Redacted {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// The formatter writes an event in one or more pieces; it is redacted whole, when its writer is dropped.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = one_line(&String::from_utf8_lossy(&self.0));
        // Nobody is left to tell when standard error is gone.
        let _ = io::stderr().lock().write_all(domain::redact(&text).as_bytes());
    }
}

/// One event is one line: a text from outside with a line's end in it could pass for an event of ours.
fn one_line(text: &str) -> String {
    let event = text.trim_end_matches('\n');
    let mut line = event.replace('\r', "\\r").replace('\n', "\\n");
    line.push_str(&text[event.len()..]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_a_foreign_line_end_stays_one_line() {
        let forged = "WARN task failed error=x\n2026-01-01 INFO all is well\r\n";
        assert_eq!(
            one_line(forged),
            "WARN task failed error=x\\n2026-01-01 INFO all is well\\r\n"
        );
        assert_eq!(one_line("INFO plain\n"), "INFO plain\n");
    }
}
