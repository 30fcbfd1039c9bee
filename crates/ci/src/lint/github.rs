//! Rules of GitHub's own words.

use super::Finding;
use super::facts::{JobFacts, Spot, Timeout};
use super::general::below;
use crate::pins;
use crate::yaml::{Edit, Node, Place, Step, Yaml, map};

/// What somebody outside writes: titles, texts, names of branches. Source: GitHub, "Security hardening for GitHub
/// Actions", "Understanding the risk of script injections".
const UNTRUSTED: &[&str] = &[
    "github.event.issue.title",
    "github.event.issue.body",
    "github.event.pull_request.title",
    "github.event.pull_request.body",
    "github.event.comment.body",
    "github.event.review.body",
    "github.event.review_comment.body",
    "github.event.discussion.title",
    "github.event.discussion.body",
    "github.event.head_commit.message",
    "github.event.head_commit.author",
    "github.event.commits",
    "github.event.pages",
    "github.event.pull_request.head.ref",
    "github.event.pull_request.head.label",
    "github.event.pull_request.head.repo.default_branch",
    "github.event.workflow_run.head_branch",
    "github.event.workflow_run.head_commit",
    "github.event.workflow_run.pull_requests",
    "github.event.inputs",
    "github.event.client_payload",
    "github.head_ref",
];

pub(super) fn facts(root: &Node, findings: &mut Vec<Finding>) -> Vec<JobFacts> {
    let top = Place { line: 1, column: 1 };
    let Some(jobs) = root.get("jobs") else {
        findings.push(Finding::error(
            "job-without-script",
            top,
            "the workflow has no `jobs`",
            "Give it some",
        ));
        return Vec::new();
    };
    if root.get("on").is_none() {
        findings.push(Finding::error(
            "job-never-runs",
            top,
            "nothing starts the workflow: it has no `on`",
            "Say what starts it",
        ));
    }
    let given = root.get("permissions").is_some();
    if let Some(permissions) = root.get("permissions") {
        findings.extend(too_wide(permissions, &[Step::from("permissions")]));
    }
    let entries = jobs.entries();
    let each_says = entries.iter().all(|(_, job)| job.get("permissions").is_some());
    if !given && !each_says {
        let finding = Finding::warning(
            "permissions-missing",
            root.key("jobs").map_or(top, |key| key.at),
            "it says nothing of permissions: in many repositories its token may then write everything",
            "Write `permissions: {contents: read}` at the top, and more in the jobs that need it",
        );
        let least = map().with("contents", "read");
        findings.push(finding.edited(Edit::Set(vec![Step::from("permissions")], least)));
    }
    let foreign = starts_for_strangers(root);
    entries
        .iter()
        .filter_map(|(key, node)| Some(job(key.as_str()?, key, node, foreign, findings)))
        .collect()
}

fn starts_for_strangers(root: &Node) -> bool {
    let Some(on) = root.get("on") else { return false };
    ["pull_request_target", "workflow_run", "issue_comment"]
        .iter()
        .any(|event| on.get(event).is_some() || on.texts().iter().any(|(text, _)| text == event))
}

fn too_wide(permissions: &Node, path: &[Step]) -> Option<Finding> {
    (permissions.as_str() == Some("write-all")).then(|| {
        let finding = Finding::error(
            "permissions-too-wide",
            permissions.at,
            "its token may write everything: whoever gets one step of it has the repository",
            "Name what it needs: `contents: read`, and `packages: write` and the like where they are used",
        );
        finding.edited(Edit::Set(path.to_vec(), map().with("contents", "read")))
    })
}

fn job(id: &str, key: &Node, node: &Node, foreign: bool, findings: &mut Vec<Finding>) -> JobFacts {
    let at_job = |field: &str| vec![Step::from("jobs"), Step::from(id), Step::from(field)];
    let mut facts = JobFacts {
        id: id.to_owned(),
        at: key.at,
        needs: Spot::all(node.get("needs")),
        ..JobFacts::default()
    };
    if let Some(permissions) = node.get("permissions") {
        findings.extend(too_wide(permissions, &at_job("permissions")));
    }
    if let Some(condition) = node.get("if")
        && matches!(
            condition.as_str().map(|text| text
                .trim()
                .trim_start_matches("${{")
                .trim_end_matches("}}")
                .trim()),
            Some("false")
        )
    {
        findings.push(Finding::error(
            "job-never-runs",
            condition.at,
            format!("{id} never runs: its condition is `false`"),
            "Write the condition, or leave the job out",
        ));
    }
    let image = |node: &Node| Spot::of(node.get("image").unwrap_or(node));
    facts.images.extend(node.get("container").and_then(image));
    for (_, service) in node.get("services").map(Node::entries).unwrap_or_default() {
        facts.images.extend(image(service));
    }
    let calls = node.get("uses");
    if let Some(calls) = calls {
        findings.extend(pinned(calls, &at_job("uses")));
        if node.get("secrets").and_then(Node::as_str) == Some("inherit") {
            findings.push(Finding::warning(
                "secrets-inherited",
                calls.at,
                format!("{id} hands every secret to the workflow that it calls"),
                "Name the secrets that it needs under `secrets`",
            ));
        }
    } else {
        facts.timeout = Some(Timeout {
            is_set: node.get("timeout-minutes").is_some(),
            edit: Some(Edit::Set(at_job("timeout-minutes"), Yaml::Int(30))),
        });
        if node.get("steps").is_none() {
            findings.push(Finding::error(
                "job-without-script",
                key.at,
                format!("{id} has no steps"),
                "Give it some, or call a workflow",
            ));
        }
    }
    let may_fail = node
        .get("continue-on-error")
        .filter(|node| node.as_bool() == Some(true));
    facts.may_fail = may_fail.map(|node| (node.at, Edit::Remove(at_job("continue-on-error"))));
    for (at, step) in node
        .get("steps")
        .map(|steps| steps.items().collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let path = |field: &str| [at_job("steps"), vec![Step::from(at), Step::from(field)]].concat();
        step_facts(step, &path, foreign, &mut facts, findings);
        let own = step
            .get("continue-on-error")
            .filter(|node| node.as_bool() == Some(true));
        if let (Some(own), None) = (own, &facts.may_fail) {
            facts.may_fail = Some((own.at, Edit::Remove(path("continue-on-error"))));
        }
    }
    facts
}

fn step_facts(
    step: &Node,
    path: &dyn Fn(&str) -> Vec<Step>,
    foreign: bool,
    facts: &mut JobFacts,
    findings: &mut Vec<Finding>,
) {
    if let Some(run) = step.get("run").and_then(Spot::of) {
        findings.extend(injected(&run));
        facts.scripts.push(run);
    }
    let Some(uses) = step.get("uses") else { return };
    findings.extend(pinned(uses, &path("uses")));
    let name = uses
        .as_str()
        .unwrap_or_default()
        .split('@')
        .next()
        .unwrap_or_default();
    let with = |key: &str| step.get("with").and_then(|with| with.get(key));
    match name {
        "actions/github-script" => {
            findings.extend(with("script").and_then(Spot::of).iter().flat_map(injected));
        }
        "actions/checkout" if foreign => {
            let theirs = with("ref").filter(|at| at.as_str().is_some_and(|text| text.contains("head")));
            findings.extend(theirs.map(|node| {
                Finding::error(
                    "strangers-code-with-secrets",
                    node.at,
                    "a stranger's code is fetched where secrets and a token that writes are at hand",
                    "Build it under `pull_request`, without secrets; or fetch it and run nothing of it",
                )
            }));
        }
        "actions/cache" => {
            let key = with("key");
            if let Some(key) = key.filter(|key| {
                !key.as_str()
                    .is_some_and(|text| text.contains("hashFiles(") || text.contains("github.sha"))
            }) {
                facts.loose_caches.push((
                    key.at,
                    format!("its key is `{}`", key.as_str().unwrap_or_default()),
                ));
            }
        }
        _ => {}
    }
    if let Some(image) = uses.as_str().and_then(|uses| uses.strip_prefix("docker://")) {
        facts.images.push(Spot {
            text: image.to_owned(),
            at: uses.at,
        });
    }
}

fn pinned(uses: &Node, path: &[Step]) -> Option<Finding> {
    let text = uses.as_str()?;
    // What stands in the repository itself is as old as the workflow.
    if text.starts_with("./") || text.starts_with("docker://") {
        return None;
    }
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    let is_commit = version.len() == 40 && version.chars().all(|c| c.is_ascii_hexdigit());
    if is_commit {
        return None;
    }
    let what = if version.is_empty() {
        format!("{name} names no version")
    } else {
        format!("{name} is whatever `{version}` means that day: a tag can be moved to other code")
    };
    let known = pins::action(name);
    let fix = match known {
        Some(known) => format!("Pin it to a commit: `{} # {}`", known.pinned(), known.release),
        None => "Pin it to the full commit of the release that you looked at, with the release in a comment"
            .to_owned(),
    };
    let finding = Finding::warning("action-unpinned", uses.at, what, fix);
    // Another major version may want other inputs: that is for a person.
    let same_major = |known: &pins::Action| {
        let major = |version: &str| {
            version
                .trim_start_matches('v')
                .split('.')
                .next()
                .map(str::to_owned)
        };
        major(version) == major(known.release)
    };
    Some(match known.filter(same_major) {
        Some(known) => finding.edited(Edit::Set(
            path.to_vec(),
            Yaml::from(known.pinned()).noted(known.release),
        )),
        None => finding,
    })
}

/// Expressions are pasted into the script before a shell reads it: what a stranger writes there is run.
fn injected(run: &Spot) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in run.text.lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find("${{") {
            let end = rest[start..].find("}}").map_or(rest.len(), |end| start + end);
            let inner = &rest[start + 3..end];
            if let Some(untrusted) = UNTRUSTED.iter().find(|name| inner.contains(**name)) {
                found.push(Finding::error(
                    "script-injection",
                    below(run, number),
                    format!("whoever can set `{untrusted}` writes a part of this script"),
                    "Hand it to the step under `env`, and read it there as a variable: \"$TITLE\"",
                ));
            }
            rest = &rest[end..];
        }
    }
    found
}
