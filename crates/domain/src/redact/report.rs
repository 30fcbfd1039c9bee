use serde_json::json;

use super::Redactor;
use crate::{Evidence, Fact, FollowOn, Report};

impl Redactor {
    /// The report without secrets, in every text of it and in its data.
    pub fn redact_report(&self, report: &Report) -> Report {
        let text = |s: &String| self.redact(s).into_owned();
        let some = |s: &Option<String>| s.as_ref().map(text);
        let mut data = report.data.clone();
        self.redact_json(&mut data);
        Report {
            verdict: report.verdict,
            summary: text(&report.summary),
            environment: some(&report.environment),
            version: some(&report.version),
            who: some(&report.who),
            facts: report.facts.iter().map(|fact| self.redact_fact(fact)).collect(),
            evidence: report
                .evidence
                .iter()
                .map(|e| Evidence {
                    title: text(&e.title),
                    text: text(&e.text),
                    link: some(&e.link),
                    ..e.clone()
                })
                .collect(),
            why: some(&report.why),
            next_steps: report.next_steps.iter().map(text).collect(),
            follow_ons: report
                .follow_ons
                .iter()
                .map(|f| FollowOn {
                    why: text(&f.why),
                    ..f.clone()
                })
                .collect(),
            labels: report.labels.clone(),
            data,
        }
    }

    /// A fact's label names its value as an assignment would.
    fn redact_fact(&self, fact: &Fact) -> Fact {
        let mut pair = json!({"name": fact.label, "value": fact.value});
        self.redact_json(&mut pair);
        Fact {
            label: self.redact(&fact.label).into_owned(),
            value: pair["value"].as_str().unwrap_or_default().to_owned(),
            link: fact.link.as_ref().map(|link| self.redact(link).into_owned()),
        }
    }
}

impl Report {
    /// The report without secrets, those of this process included. What is stored or shown is always this one.
    #[must_use]
    pub fn redacted(&self) -> Report {
        super::process().redact_report(self)
    }
}
