//! A task's report as the page shows it: the same words as the ticket's note.

use domain::{Report, Verdict};
use serde_json::Value;

/// What the template shows of a report. All texts are plain and escaped there.
pub struct ReportView {
    pub verdict: &'static str,
    pub summary: String,
    pub why: String,
    pub who: String,
    pub facts: Vec<(String, String, String)>,
    pub evidence: Vec<EvidenceView>,
    pub next_steps: Vec<String>,
    /// Task id, as part of an address, and what it is for.
    pub follow_ons: Vec<(String, String)>,
    /// Whether the ticket's note stands, and where.
    pub ticket: String,
    pub ticket_link: String,
}

pub struct EvidenceView {
    pub title: String,
    pub link: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub number: String,
    pub text: String,
    pub decides: bool,
}

/// The report in a result, if it is one of ours: other agents' results have their own shapes.
pub fn of(result: &Value) -> Option<ReportView> {
    let report = serde_json::from_value::<Report>(result.clone()).ok()?;
    let ticket = &result["ticket"];
    Some(ReportView {
        verdict: verdict(report.verdict),
        summary: report.summary,
        why: report.why.unwrap_or_default(),
        who: report.who.unwrap_or_default(),
        facts: report
            .facts
            .into_iter()
            .map(|fact| (fact.label, fact.value, web(fact.link)))
            .collect(),
        evidence: report
            .evidence
            .into_iter()
            .map(|evidence| EvidenceView {
                lines: lines(&evidence.text, evidence.first_line, evidence.deciding_line),
                title: evidence.title,
                link: web(evidence.link),
            })
            .collect(),
        next_steps: report.next_steps,
        follow_ons: report
            .follow_ons
            .into_iter()
            .map(|task| {
                (
                    task.task_id.to_string(),
                    format!("{}: {}", task.task_type, task.why),
                )
            })
            .collect(),
        ticket: match (ticket["state"].as_str(), ticket["error"].as_str()) {
            (Some("failed"), Some(error)) => format!("could not be written: {error}"),
            (Some("failed"), None) => "could not be written".to_owned(),
            (Some("posted"), _) => "written".to_owned(),
            (Some("pending"), _) => "on its way".to_owned(),
            _ => String::new(),
        },
        ticket_link: web(ticket["url"].as_str().map(str::to_owned)),
    })
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Running => "running",
        Verdict::Waiting => "waiting",
        Verdict::NeedsApproval => "needs approval",
        Verdict::ActionNeeded => "action needed",
        Verdict::Held => "held",
        Verdict::Succeeded => "succeeded",
        Verdict::RolledBack => "rolled back",
        Verdict::Failed => "failed",
        Verdict::Cancelled => "cancelled",
    }
}

/// Only web addresses become links: a report holds text from outside, and `javascript:` is one too.
fn web(link: Option<String>) -> String {
    link.filter(|link| link.starts_with("https://") || link.starts_with("http://"))
        .unwrap_or_default()
}

fn lines(text: &str, first: Option<u64>, deciding: Option<u64>) -> Vec<Line> {
    text.lines()
        .zip(first.unwrap_or(1)..)
        .map(|(text, number)| Line {
            number: first.map(|_| number.to_string()).unwrap_or_default(),
            decides: first.is_some() && deciding == Some(number),
            text: text.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::{Error, Evidence};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_shown_with_its_numbered_lines_and_no_dangerous_link() {
        let mut report = Report::failed(&Error::rejected("the build is broken")).linked_fact(
            "Job",
            "test",
            "javascript:alert(1)",
        );
        report.evidence.push(Evidence {
            title: "log".to_owned(),
            text: "a\nb".to_owned(),
            first_line: Some(41),
            deciding_line: Some(42),
            link: Some("https://ci.example/1".to_owned()),
        });
        let mut result = json!(report);
        result["ticket"] = json!({"state": "failed", "error": "locked"});
        let view = of(&result).unwrap();
        assert_eq!(view.facts[0].2, "");
        let lines = &view.evidence[0].lines;
        assert_eq!(
            (lines[1].number.as_str(), lines[1].decides, lines[0].decides),
            ("42", true, false)
        );
        assert_eq!(view.ticket, "could not be written: locked");
        assert!(of(&json!({"ok": true})).is_none());
    }
}
