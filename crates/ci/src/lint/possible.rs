//! Jobs that can never run: every kind of run that the pipeline's own triggers allow is tried on their conditions.

use std::collections::BTreeSet;

use super::Finding;
use super::facts::JobFacts;
use crate::condition::{Condition, Is};
use crate::dialect::Dialect;
use crate::model::{Branches, Pipeline, Triggers};

/// Beyond so many cases a condition is taken for one that can be met.
const MOST_CASES: usize = 20_000;
/// The same for all conditions of a file together.
const MOST_CASES_OF_ALL: usize = 500_000;

#[derive(Clone, Copy, PartialEq)]
enum Event {
    MergeRequest,
    Push,
    Tag,
    Schedule,
    Manual,
}

struct Case<'c> {
    event: Event,
    /// The branch; nothing for a tag and a merge request.
    branch: Option<Branch<'c>>,
    /// Values of the variables, in the order of their names; nothing is not set.
    values: Vec<Option<&'c str>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Branch<'c> {
    Named(&'c str),
    /// The default branch may be called like any.
    Default(Option<&'c str>),
    Other,
}

pub(super) fn check(dialect: Dialect, pipeline: &Pipeline, facts: &[JobFacts], findings: &mut Vec<Finding>) {
    let mut left = MOST_CASES_OF_ALL;
    for job in &pipeline.jobs {
        let Some(condition) = &job.run_if else { continue };
        // Elsewhere the file does not say what starts a run.
        let on =
            matches!(dialect, Dialect::Gitlab | Dialect::Github | Dialect::Azure).then_some(&pipeline.on);
        let consistent = possible(condition, None, &mut left);
        if consistent && on.is_none_or(|on| possible(condition, Some(on), &mut left)) {
            continue;
        }
        let at = facts.iter().find(|fact| fact.id == job.id).map(|fact| fact.at);
        let Some(at) = at else { continue };
        let what = if consistent {
            format!(
                "{} never runs: what starts the pipeline and its own conditions never meet",
                job.id
            )
        } else {
            format!("{} never runs: its conditions contradict each other", job.id)
        };
        findings.push(Finding::error(
            "job-never-runs",
            at,
            what,
            "Mend its conditions, or leave the job out",
        ));
    }
}

fn possible(condition: &Condition, on: Option<&Triggers>, left: &mut usize) -> bool {
    let mut branches = BTreeSet::new();
    let mut variables: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    collect(condition, &mut branches, &mut variables);
    if let Some(Some(Branches::Named(names))) = on.map(|on| &on.push) {
        branches.extend(names.iter().map(String::as_str));
    }
    let combinations = variables
        .iter()
        .fold(1_usize, |all, (_, values)| all.saturating_mul(values.len() + 2));
    let cases = combinations.saturating_mul(5 * (2 * branches.len() + 2));
    if cases > MOST_CASES.min(*left) {
        return true;
    }
    *left -= cases;
    let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    let mut values: Vec<Vec<Option<&str>>> = vec![Vec::new()];
    for (_, known) in &variables {
        let each: Vec<Option<&str>> = known
            .iter()
            .map(|value| Some(*value))
            .chain([None, Some("\u{0}another")])
            .collect();
        values = values
            .into_iter()
            .flat_map(|row| {
                each.iter()
                    .map(move |value| [row.as_slice(), &[*value]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    let mut places: Vec<Branch> = vec![Branch::Default(None), Branch::Other];
    places.extend(
        branches
            .iter()
            .flat_map(|name| [Branch::Named(name), Branch::Default(Some(name))]),
    );
    for event in [
        Event::MergeRequest,
        Event::Push,
        Event::Tag,
        Event::Schedule,
        Event::Manual,
    ] {
        let branched = matches!(event, Event::Push | Event::Schedule | Event::Manual);
        let places: Vec<Option<Branch>> = if branched {
            places.iter().map(|place| Some(*place)).collect()
        } else {
            vec![None]
        };
        for branch in places {
            for row in &values {
                let case = Case {
                    event,
                    branch,
                    values: row.clone(),
                };
                if on.is_none_or(|on| starts(on, &case)) && met(condition, &case, &names) {
                    return true;
                }
            }
        }
    }
    false
}

fn collect<'c>(
    condition: &'c Condition,
    branches: &mut BTreeSet<&'c str>,
    variables: &mut Vec<(&'c str, BTreeSet<&'c str>)>,
) {
    match condition {
        Condition::BranchNamed(name) => _ = branches.insert(name.as_str()),
        Condition::Variable { name, is } => {
            let at = variables
                .iter()
                .position(|(known, _)| known == name)
                .unwrap_or_else(|| {
                    variables.push((name, BTreeSet::new()));
                    variables.len() - 1
                });
            if let Is::Equal(value) | Is::Other(value) = is {
                variables[at].1.insert(value);
            }
        }
        Condition::Not(inner) => collect(inner, branches, variables),
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|part| collect(part, branches, variables));
        }
        _ => {}
    }
}

fn starts(on: &Triggers, case: &Case) -> bool {
    let of_branch = |branches: &Branches| match branches {
        Branches::All => true,
        Branches::Default => matches!(case.branch, Some(Branch::Default(_))),
        // A pattern may mean any branch.
        Branches::Named(names) => {
            names.iter().any(|known| known.contains(['*', '?', '+', '[']))
                || match case.branch {
                    Some(Branch::Named(name) | Branch::Default(Some(name))) => {
                        names.iter().any(|known| known == name)
                    }
                    _ => false,
                }
        }
    };
    match case.event {
        Event::MergeRequest => on.merge_requests,
        Event::Tag => on.tags,
        Event::Push => on.push.as_ref().is_some_and(of_branch),
        // Somebody's cron may stand outside of the file.
        Event::Schedule => true,
        Event::Manual => on.manual,
    }
}

fn met(condition: &Condition, case: &Case, names: &[&str]) -> bool {
    match condition {
        Condition::MergeRequest => case.event == Event::MergeRequest,
        Condition::Branch => case.branch.is_some(),
        Condition::Tag => case.event == Event::Tag,
        Condition::Schedule => case.event == Event::Schedule,
        Condition::Manual => case.event == Event::Manual,
        Condition::DefaultBranch => matches!(case.branch, Some(Branch::Default(_))),
        Condition::BranchNamed(name) => {
            matches!(case.branch, Some(Branch::Named(own) | Branch::Default(Some(own))) if own == name)
        }
        Condition::Variable { name, is } => {
            let at = names.iter().position(|known| known == name);
            let value = at.and_then(|at| case.values.get(at).copied().flatten());
            match is {
                Is::Set => value.is_some_and(|value| !value.is_empty()),
                Is::Equal(wanted) => value == Some(wanted.as_str()),
                Is::Other(other) => value != Some(other.as_str()),
            }
        }
        Condition::Not(inner) => !met(inner, case, names),
        Condition::All(parts) => parts.iter().all(|part| met(part, case, names)),
        Condition::Any(parts) => parts.iter().any(|part| met(part, case, names)),
    }
}
