//! When a job starts, by its `rules` or by the older `only` and `except`.

use super::read::Reader;
use super::rules::parse;
use super::view::View;
use super::words::when;
use crate::condition::Condition;
use crate::model::{Job, When};
use crate::yaml::Node;

impl<'n> Reader<'n> {
    pub(super) fn rules(&mut self, job: &mut Job, rules: &'n Node) {
        let mut condition: Option<Condition> = None;
        let mut always = false;
        let mut whens = Vec::new();
        for rule in rules.items().collect::<Vec<_>>().into_iter().rev() {
            let said = rule.str("when");
            let own = match rule.str("if").map(|text| (text, parse(text))) {
                Some((text, None)) => {
                    self.note(
                        job,
                        rule.at.line,
                        format!("its rule `{text}` cannot be carried over: it waits for a person"),
                        "Write the condition by hand",
                    );
                    whens.push(When::Manual);
                    always = true;
                    continue;
                }
                Some((_, own)) => own,
                None => None,
            };
            if let Some(changes) = rule.get("changes") {
                let paths = changes.get("paths").unwrap_or(changes);
                job.changes = paths
                    .texts()
                    .into_iter()
                    .map(|(path, _)| path.to_owned())
                    .collect();
            }
            for key in ["exists", "variables", "needs", "interruptible"] {
                if let Some(node) = rule.get(key) {
                    self.note(
                        job,
                        node.at.line,
                        format!("`{key}` of its rule is left out"),
                        "Say it in the script, or as a job of its own",
                    );
                }
            }
            if said == Some("never") {
                match own {
                    // Whatever comes after never counts.
                    None => (condition, always) = (None, false),
                    Some(own) => {
                        let not = own.negated();
                        condition = match (always, condition.take()) {
                            (true, _) => Some(not),
                            (false, Some(rest)) => Some(not.and(rest)),
                            (false, None) => None,
                        };
                        always = false;
                    }
                }
                continue;
            }
            if let Some(allowed) = rule.get("allow_failure").and_then(Node::as_bool) {
                job.allow_failure = allowed;
            }
            whens.push(said.map_or(job.when, when));
            match own {
                None => (condition, always) = (None, true),
                Some(_) if always => {}
                Some(own) => {
                    condition = Some(match condition.take() {
                        Some(rest) => own.or(rest),
                        None => own,
                    });
                }
            }
        }
        if condition.is_none() && !always {
            self.note(
                job,
                rules.at.line,
                "no rule lets it run: it waits for a person",
                "Leave the job out, or write its condition",
            );
            whens.push(When::Manual);
        }
        job.run_if = condition;
        let first = whens.first().copied().unwrap_or_default();
        if whens.iter().all(|other| *other == first) {
            job.when = first;
        } else {
            job.when = When::Manual;
            self.note(
                job,
                rules.at.line,
                "its rules start it in several ways: it always waits for a person",
                "Make a job for each way",
            );
        }
    }

    pub(super) fn only(&mut self, job: &mut Job, view: &View<'n>) {
        let mut condition: Option<Condition> = None;
        for (key, node, negated) in ["only", "except"]
            .into_iter()
            .filter_map(|key| Some((key, view.get(key)?, key == "except")))
        {
            let refs = node.get("refs").unwrap_or(node);
            let mut any: Option<Condition> = None;
            for (text, at) in refs.texts() {
                let one = match text {
                    "merge_requests" => Condition::MergeRequest,
                    "branches" => Condition::Branch,
                    "tags" => Condition::Tag,
                    "schedules" => Condition::Schedule,
                    "web" => Condition::Manual,
                    text if text.starts_with('/') || text.contains('$') => {
                        self.note(
                            job,
                            at.at.line,
                            format!("`{key}: {text}` is left out: it waits for a person"),
                            "Write the condition by hand",
                        );
                        job.when = When::Manual;
                        continue;
                    }
                    name => Condition::BranchNamed(name.to_owned()),
                };
                any = Some(any.map_or(one.clone(), |rest| rest.or(one)));
            }
            let Some(any) = any else { continue };
            let own = if negated { any.negated() } else { any };
            condition = Some(condition.map_or(own.clone(), |rest| rest.and(own)));
        }
        job.run_if = condition;
    }
}
