//! Rules of Azure Pipelines' own words.

use super::Finding;
use super::facts::{JobFacts, Spot, Timeout};
use super::general::below;
use crate::yaml::Node;

/// What whoever opens a pull request or pushes a commit writes.
const UNTRUSTED: &[&str] = &[
    "$(Build.SourceVersionMessage)",
    "$(Build.SourceVersionAuthor)",
    "$(System.PullRequest.SourceBranch)",
    "$(Build.SourceBranchName)",
    "$(Build.SourceBranch)",
    "${{ parameters.",
];

pub(super) fn facts(root: &Node, findings: &mut Vec<Finding>) -> Vec<JobFacts> {
    let mut jobs = Vec::new();
    let stages: Vec<&Node> = root
        .get("stages")
        .map(|stages| stages.items().collect())
        .unwrap_or_default();
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage.str("stage")).collect();
    for stage in &stages {
        for (need, node) in stage.get("dependsOn").map(Node::texts).unwrap_or_default() {
            if !names.contains(&need) {
                findings.push(Finding::error(
                    "needs-unknown",
                    node.at,
                    format!("the stage depends on `{need}`, and there is no such stage"),
                    "Name a stage of this file",
                ));
            }
        }
    }
    let holders = if stages.is_empty() { vec![root] } else { stages };
    for holder in holders {
        let listed: Vec<&Node> = holder
            .get("jobs")
            .map(|jobs| jobs.items().collect())
            .unwrap_or_default();
        for node in listed {
            jobs.extend(job(node, holder, findings));
        }
        if holder.get("jobs").is_none() && holder.get("steps").is_some() {
            jobs.extend(job(holder, holder, findings));
        }
    }
    jobs
}

fn job(node: &Node, stage: &Node, findings: &mut Vec<Finding>) -> Option<JobFacts> {
    if node.get("template").is_some() {
        return None;
    }
    let name = node.get("job").or_else(|| node.get("deployment"));
    let mut facts = JobFacts {
        id: name.and_then(Node::as_str).unwrap_or("the job").to_owned(),
        at: name.map_or(node.at, |name| name.at),
        needs: if name.is_some() {
            Spot::all(node.get("dependsOn"))
        } else {
            Vec::new()
        },
        stage: stage.str("stage").unwrap_or_default().to_owned(),
        timeout: Some(Timeout {
            is_set: node.get("timeoutInMinutes").is_some(),
            edit: None,
        }),
        ..JobFacts::default()
    };
    facts.images.extend(
        node.get("container")
            .and_then(|at| Spot::of(at.get("image").unwrap_or(at))),
    );
    // A container that is named under `resources` is pinned there.
    facts.images.retain(|image| image.text.contains([':', '/']));
    let strategy = node.get("strategy");
    let steps = node.get("steps").or_else(|| {
        ["runOnce", "rolling", "canary"]
            .iter()
            .find_map(|kind| strategy?.get(kind)?.get("deploy")?.get("steps"))
    });
    for step in steps
        .map(|steps| steps.items().collect::<Vec<_>>())
        .unwrap_or_default()
    {
        for key in ["bash", "script", "pwsh", "powershell"] {
            let Some(script) = step.get(key).and_then(Spot::of) else {
                continue;
            };
            findings.extend(injected(&script));
            facts.scripts.push(script);
        }
        if step.str("task").is_some_and(|task| task.starts_with("Cache@")) {
            let key = step.get("inputs").and_then(|inputs| inputs.get("key"));
            let by_file = |text: &str| {
                text.split('|')
                    .map(str::trim)
                    .any(|part| !part.starts_with(['"', '$']))
            };
            if let Some(key) = key.filter(|key| !key.as_str().is_some_and(by_file)) {
                facts.loose_caches.push((
                    key.at,
                    format!("its key is `{}`", key.as_str().unwrap_or_default()),
                ));
            }
        }
        if let Some(task) = step
            .get("task")
            .filter(|task| !task.as_str().is_some_and(|text| text.contains('@')))
        {
            findings.push(Finding::warning(
                "action-unpinned",
                task.at,
                format!("the task {} names no version", task.as_str().unwrap_or_default()),
                "Name its major version: `Name@2`",
            ));
        }
    }
    Some(facts)
}

fn injected(script: &Spot) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in script.text.lines().enumerate() {
        for untrusted in UNTRUSTED.iter().filter(|name| line.contains(**name)) {
            found.push(Finding::error(
                "script-injection",
                below(script, number),
                format!(
                    "whoever can set `{}` writes a part of this script",
                    untrusted.trim_end_matches('.')
                ),
                "Hand it to the step under `env`, and read it there as a variable of the shell",
            ));
        }
    }
    found
}
