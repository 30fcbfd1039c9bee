//! `longshore doctor`: is everything there that longshore needs, and what is to be fixed?

mod database;
mod flags;
mod forges;
mod repos;
mod targets;

use domain::Error;
use serde::Serialize;
use serde_json::json;

use crate::config::Settings;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, Paint, harmless};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// Something will not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub grade: Grade,
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Grade::Ok, what.into(), None);
    }

    pub fn warn(&mut self, check: &'static str, what: impl Into<String>, next: impl Into<String>) {
        self.add(check, Grade::Warn, what.into(), Some(next.into()));
    }

    pub fn fail(&mut self, check: &'static str, what: impl Into<String>, next: impl Into<String>) {
        self.add(check, Grade::Fail, what.into(), Some(next.into()));
    }

    /// An error's words; `otherwise` is what to do where it does not say.
    pub fn error(&mut self, check: &'static str, error: &Error, otherwise: &str) {
        let mut what = error.what.clone();
        for cause in &error.causes {
            what.push_str(&format!(": {cause}"));
        }
        let next = error.next.clone().unwrap_or_else(|| otherwise.to_owned());
        self.add(check, Grade::Fail, what, Some(next));
    }

    fn add(&mut self, check: &'static str, grade: Grade, what: String, next: Option<String>) {
        let what = domain::redact(&what).into_owned();
        self.0.push(Finding {
            check,
            grade,
            what,
            next,
        });
    }

    fn count(&self, grade: Grade) -> usize {
        self.0.iter().filter(|finding| finding.grade == grade).count()
    }
}

pub async fn run(settings: &Settings, out: Output) -> Outcome {
    let mut found = Findings::default();
    let store = database::look(settings, &mut found).await;
    forges::look(settings, &mut found).await;
    targets::look(settings, &mut found).await;
    flags::look(settings, &mut found).await;
    if let Some(store) = store {
        repos::look(settings, &store, &mut found).await;
        store.close().await;
    }
    let (warnings, faults) = (found.count(Grade::Warn), found.count(Grade::Fail));
    let answer = json!({ "ok": faults == 0, "warnings": warnings, "faults": faults, "checks": found.0 });
    out.answer(&answer, |out| {
        let mut text: String = found.0.iter().map(|finding| line(finding, out)).collect();
        text.push_str(&match (faults, warnings) {
            (0, 0) => "\nAll is well.".to_owned(),
            (0, warnings) => format!("\nIt works; {warnings} to look at."),
            (faults, warnings) => format!("\n{faults} to fix, {warnings} to look at."),
        });
        text
    })?;
    Ok(if faults == 0 { Exit::Done } else { Exit::No })
}

fn line(finding: &Finding, out: &Output) -> String {
    let (paint, word) = match finding.grade {
        Grade::Ok => (Paint::Good, "ok  "),
        Grade::Warn => (Paint::Attention, "warn"),
        Grade::Fail => (Paint::Bad, "fail"),
    };
    let mut text = format!(
        "{}  {:<11} {}\n",
        out.paint(paint, word),
        finding.check,
        harmless(&finding.what)
    );
    if let Some(next) = &finding.next {
        text.push_str(&format!(
            "{:18}{} {}\n",
            "",
            out.paint(Paint::Dim, "→"),
            harmless(next)
        ));
    }
    text
}
