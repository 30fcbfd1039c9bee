use std::collections::HashMap;
use std::time::Duration;

use domain::{LabelChange, Report, Verdict};

/// How notes are delivered.
#[derive(Clone, Debug)]
pub struct Config {
    /// The labels that stand for a verdict. Those of other verdicts are taken away; labels that are named nowhere here
    /// are left alone.
    pub labels: HashMap<Verdict, Vec<String>>,
    /// Notes under way at once, over all far sides.
    pub concurrency: usize,
    /// Notes under way at once on one far side.
    pub per_host: u32,
    /// Notes written on one far side in a minute, at most. GitLab's own limit is 60 for a user by default.
    pub per_minute: u32,
    /// A row stays a drainer's for so long after the drainer was last heard of.
    pub lease: Duration,
    /// A create is sent within so long of having been written down, or not at all.
    pub prompt: Duration,
    /// How often to look without having been woken, where notifications come: what is due by time alone is known.
    pub poll: Duration,
    /// The same where none come.
    pub poll_unheard: Duration,
    /// How often to look for tickets that are to be looked through.
    pub sweep_every: Duration,
    /// The first delay after an error that passes; it doubles up to `most_delay`.
    pub first_delay: Duration,
    pub most_delay: Duration,
    /// A note that could not be delivered for so long is given up.
    pub give_up_after: Duration,
    /// How long after a task's end its ticket is looked through for duplicates.
    pub sweep_after: Duration,
    /// How long notes under way may take after a shutdown was asked for.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            labels: HashMap::new(),
            concurrency: 16,
            per_host: 4,
            per_minute: 50,
            lease: Duration::from_secs(30),
            prompt: Duration::from_secs(1),
            poll: Duration::from_secs(30),
            poll_unheard: Duration::from_secs(2),
            sweep_every: Duration::from_secs(60),
            first_delay: Duration::from_secs(2),
            most_delay: Duration::from_secs(15 * 60),
            give_up_after: Duration::from_secs(3 * 24 * 3600),
            sweep_after: Duration::from_secs(10 * 60),
            grace: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The change of labels that a report brings: its verdict's, then what it asks for itself.
    pub(crate) fn labels_for(&self, report: &Report) -> LabelChange {
        let mut add: Vec<String> = self.labels.get(&report.verdict).cloned().unwrap_or_default();
        add.retain(|label| !report.labels.remove.contains(label));
        add.extend(report.labels.add.iter().cloned());
        let mut remove: Vec<String> = self
            .labels
            .values()
            .flatten()
            .chain(&report.labels.remove)
            .cloned()
            .collect();
        remove.retain(|label| !add.contains(label));
        for labels in [&mut add, &mut remove] {
            labels.sort_unstable();
            labels.dedup();
        }
        LabelChange { add, remove }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdicts_labels_replace_those_of_other_verdicts_and_the_report_has_the_last_word() {
        let labels = [
            (Verdict::Running, vec!["ops::running".to_owned()]),
            (
                Verdict::Failed,
                vec!["ops::failed".to_owned(), "needs-look".to_owned()],
            ),
        ];
        let config = Config {
            labels: labels.into(),
            ..Config::default()
        };
        let mut report = Report::new(Verdict::Failed, "x");
        report.labels.add = vec!["flaky".to_owned()];
        report.labels.remove = vec!["needs-look".to_owned(), "old".to_owned()];
        let change = config.labels_for(&report);
        assert_eq!(change.add, ["flaky", "ops::failed"]);
        assert_eq!(change.remove, ["needs-look", "old", "ops::running"]);
        assert!(
            Config::default()
                .labels_for(&Report::new(Verdict::Failed, "x"))
                .is_empty()
        );
    }
}
