//! Rules of GitLab's own words.

use super::Finding;
use super::facts::{JobFacts, Spot, Timeout};
use crate::gitlab::GLOBAL;
use crate::gitlab::view::{View, resolve};
use crate::yaml::{Edit, Node, Step, Yaml};

pub(super) fn facts(root: &Node, findings: &mut Vec<Finding>) -> Vec<JobFacts> {
    let default = root.get("default");
    let stages: Vec<&str> = match root.get("stages") {
        Some(stages) => stages.texts().into_iter().map(|(text, _)| text).collect(),
        None => vec!["build", "test", "deploy"],
    };
    includes(root, findings);
    let has_includes = root.get("include").is_some();
    let mut jobs = Vec::new();
    for (key, node) in root.entries() {
        let Some(id) = key.as_str() else { continue };
        if GLOBAL.contains(&id) || id.starts_with('.') || !node.is_map() {
            continue;
        }
        let view = View::of(node, root, default);
        for missing in view.missing.iter().filter(|_| !has_includes) {
            let at = node.get("extends").map_or(key.at, |extends| extends.at);
            findings.push(Finding::error(
                "extends-unknown",
                at,
                format!("{id} extends `{missing}`, which is not in the file"),
                "Name a job or a template of this file, or include the one that has it",
            ));
        }
        let stage = view.get("stage");
        let own = stage.and_then(Node::as_str).unwrap_or("test");
        if !stages.contains(&own)
            && own != ".pre"
            && own != ".post"
            && !(has_includes && root.get("stages").is_none())
        {
            findings.push(Finding::error(
                "stage-unknown",
                stage.map_or(key.at, |stage| stage.at),
                format!("{id} is of the stage `{own}`, which `stages` does not name: the whole pipeline is refused"),
                "Add it to `stages`, or name one of them",
            ));
        }
        scripts(id, key, &view, root, has_includes, findings);
        rules(id, &view, findings);
        jobs.push(job(id, key, &view, root, default));
    }
    jobs
}

fn includes(root: &Node, findings: &mut Vec<Finding>) {
    for item in root.get("include").map(Node::one_or_more).unwrap_or_default() {
        if item.get("project").is_some() && item.get("ref").is_none() {
            findings.push(Finding::warning(
                "include-unpinned",
                item.at,
                "what is included of another project is whatever stands on its default branch",
                "Name a tag or a commit of it: `ref: v1.2.3`",
            ));
        }
        let address = item
            .str("remote")
            .or_else(|| item.as_str().filter(|text| text.starts_with("http")));
        if address.is_some() && item.get("integrity").is_none() {
            findings.push(Finding::warning(
                "include-unpinned",
                item.at,
                "whoever serves that address changes this pipeline",
                "Add `integrity: sha256-…`, or keep the file in a project of yours and name its commit",
            ));
        }
        if item
            .get("component")
            .and_then(Node::as_str)
            .is_some_and(|name| name.ends_with("@~latest") || name.ends_with("@main"))
        {
            findings.push(Finding::warning(
                "include-unpinned",
                item.at,
                "the component is whatever is newest",
                "Name a version of it: `component: …@1.2.3`",
            ));
        }
    }
}

fn scripts(
    id: &str,
    key: &Node,
    view: &View<'_>,
    root: &Node,
    has_includes: bool,
    findings: &mut Vec<Finding>,
) {
    for part in ["before_script", "script", "after_script"] {
        let Some(node) = view.get(part) else { continue };
        let mut missing = Vec::new();
        resolve(node, root, &mut missing);
        for (line, what) in missing.into_iter().filter(|_| !has_includes) {
            let at = crate::yaml::Place { line, column: 1 };
            findings.push(Finding::error(
                "reference-unknown",
                at,
                format!("`!reference {what}` of {id} leads nowhere in this file"),
                "Name a job of this file and a key of it, or include the file that has them",
            ));
        }
    }
    let acts = ["script", "run", "trigger"]
        .iter()
        .any(|part| view.get(part).is_some());
    let brought = has_includes && view.get("extends").is_some();
    if !acts && !brought {
        findings.push(Finding::error(
            "job-without-script",
            key.at,
            format!("{id} has nothing to do: the whole pipeline is refused"),
            "Give it a `script`; a template's name begins with a dot",
        ));
    }
}

fn rules(id: &str, view: &View<'_>, findings: &mut Vec<Finding>) {
    if let Some(when) = view.get("when").filter(|when| when.as_str() == Some("never")) {
        findings.push(never(id, when));
    }
    let Some(rules) = view.get("rules") else { return };
    let said: Vec<&Node> = rules.items().collect();
    let all_never = !said.is_empty() && said.iter().all(|rule| rule.str("when") == Some("never"));
    if all_never || rules.is_list() && said.is_empty() {
        findings.push(never(id, rules));
    }
    let plain = |rule: &&Node| {
        ["if", "changes", "exists"]
            .iter()
            .all(|key| rule.get(key).is_none())
            && rule.is_map()
    };
    if let Some(first) = said.iter().position(plain)
        && let Some(dead) = said.get(first + 1)
    {
        findings.push(Finding::warning(
            "rule-never-reached",
            dead.at,
            format!(
                "this rule of {id} is never asked: the one in line {} always fits",
                said[first].at.line
            ),
            "Put the rule without a condition last",
        ));
    }
}

fn never(id: &str, node: &Node) -> Finding {
    Finding::error(
        "job-never-runs",
        node.at,
        format!("{id} never runs: no rule lets it"),
        "Mend its rules, or leave the job out",
    )
}

fn job(id: &str, key: &Node, view: &View<'_>, root: &Node, default: Option<&Node>) -> JobFacts {
    let at_job = |field: &str| vec![Step::from(id), Step::from(field)];
    let mut facts = JobFacts {
        id: id.to_owned(),
        at: key.at,
        stage: view.str("stage").unwrap_or("test").to_owned(),
        ..JobFacts::default()
    };
    for need in view.get("needs").map(Node::one_or_more).unwrap_or_default() {
        let elsewhere = need.get("pipeline").is_some() || need.get("project").is_some();
        let name = need.get("job").unwrap_or(need);
        let optional = need.get("optional").and_then(Node::as_bool).unwrap_or(false);
        // What is not in this file may be in one that it includes.
        let included =
            root.get("include").is_some() && name.as_str().is_some_and(|id| root.get(id).is_none());
        if !elsewhere && !included && !optional {
            facts.needs.extend(Spot::of(name));
        }
    }
    let image = |node: &Node| Spot::of(node.get("name").unwrap_or(node));
    facts.images.extend(view.get("image").and_then(image));
    for service in view.get("services").map(Node::one_or_more).unwrap_or_default() {
        facts.images.extend(image(service));
    }
    for part in ["before_script", "script", "after_script"] {
        facts.scripts.extend(Spot::all(view.get(part)));
    }
    let starts_another = view.get("trigger").is_some();
    facts.timeout = (!starts_another).then(|| Timeout {
        is_set: view.get("timeout").is_some()
            || default.is_some_and(|default| default.get("timeout").is_some()),
        edit: Some(Edit::Set(at_job("timeout"), Yaml::from("30 minutes"))),
    });
    for cache in view.get("cache").map(Node::one_or_more).unwrap_or_default() {
        let cache_key = cache.get("key");
        let by_files = cache_key.is_some_and(|key| key.get("files").is_some());
        let fetches_only = cache.str("policy") == Some("pull") || cache.get("paths").is_none();
        if !by_files && !fetches_only {
            let what = match cache_key.and_then(Node::as_str) {
                Some(key) => format!("its key is `{key}`"),
                None => "it has no key".to_owned(),
            };
            facts
                .loose_caches
                .push((cache_key.map_or(cache.at, |key| key.at), what));
        }
    }
    let may_fail = view
        .get("allow_failure")
        .filter(|node| node.as_bool() == Some(true));
    facts.may_fail = may_fail.map(|node| (node.at, Edit::Remove(at_job("allow_failure"))));
    facts
}
