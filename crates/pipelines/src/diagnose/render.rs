//! A diagnosis as text for a terminal.

use std::fmt::Write;

use super::class::{Class, Retry};
use super::diagnosis::Diagnosis;

/// The diagnosis as a few lines of plain text, verdict first.
pub fn text(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(diagnosis, &mut out);
    out
}

fn write(diagnosis: &Diagnosis, out: &mut String) -> std::fmt::Result {
    let sure = (diagnosis.confidence * 100.0).round();
    write!(out, "{} ({sure} % sure)", diagnosis.class.name())?;
    if let Some(line) = diagnosis.line {
        write!(out, ", line {line} of {}", diagnosis.lines)?;
    }
    if let Some(code) = diagnosis.exit_code.filter(|_| diagnosis.class != Class::Success) {
        write!(out, ", exit code {code}")?;
    }
    writeln!(out)?;
    match (&diagnosis.job, &diagnosis.stage) {
        (Some(job), Some(stage)) => writeln!(out, "job {job}, stage {stage}")?,
        (Some(job), None) => writeln!(out, "job {job}")?,
        _ => {}
    }
    writeln!(out, "\nWhy:  {}", diagnosis.why)?;
    writeln!(out, "Next: {}", diagnosis.advice)?;
    match diagnosis.retry {
        Retry::Now => writeln!(out, "      Running the same job again may succeed.")?,
        Retry::Later => writeln!(out, "      Running the same job again later may succeed.")?,
        Retry::No => {}
    }
    if let Some(start) = diagnosis.excerpt_start {
        writeln!(out)?;
        let lines: Vec<&str> = diagnosis.excerpt.lines().collect();
        let width = (start + lines.len() as u64).to_string().len();
        for (at, line) in lines.iter().enumerate() {
            let number = start + at as u64;
            let pointer = if Some(number) == diagnosis.line { '>' } else { ' ' };
            writeln!(out, "{pointer} {number:width$} | {line}")?;
        }
    }
    Ok(())
}
