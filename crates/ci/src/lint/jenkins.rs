//! Rules of a declarative Jenkinsfile.

use super::Finding;
use super::facts::{JobFacts, Spot, Timeout};
use crate::jenkins::groovy::{Statement, named, parse, texts};
use crate::yaml::{Edit, Fault, Place};

/// What whoever starts a build or opens a merge request writes.
const UNTRUSTED: &[&str] = &[
    "params.",
    "env.CHANGE_TITLE",
    "env.CHANGE_BRANCH",
    "env.CHANGE_AUTHOR",
    "env.BRANCH_NAME",
    "env.GIT_BRANCH",
    "CHANGE_TITLE",
    "CHANGE_BRANCH",
];

pub(super) fn facts(text: &str, findings: &mut Vec<Finding>) -> Result<Vec<JobFacts>, Fault> {
    let statements = parse(text)?;
    let Some(root) = statements.iter().find(|statement| statement.name == "pipeline") else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no declarative pipeline",
            "A scripted pipeline is a program, which no linter of pipelines can judge",
        ));
    };
    let mut jobs = Vec::new();
    let timed = has_timeout(root);
    let image = image(root.get("agent"));
    for stage in root.get("stages").map(Statement::children).unwrap_or_default() {
        walk(stage, timed, image.as_ref(), &mut jobs, findings);
    }
    Ok(jobs)
}

fn at(statement: &Statement) -> Place {
    Place {
        line: statement.line,
        column: 1,
    }
}

fn has_timeout(holder: &Statement) -> bool {
    holder
        .get("options")
        .is_some_and(|options| options.get("timeout").is_some())
}

fn image(agent: Option<&Statement>) -> Option<Spot> {
    let docker = agent?.get("docker")?;
    let image = docker.get("image").unwrap_or(docker);
    Some(Spot {
        text: texts(&image.arguments).into_iter().next()?,
        at: at(image),
    })
}

fn walk(
    stage: &Statement,
    timed: bool,
    above: Option<&Spot>,
    jobs: &mut Vec<JobFacts>,
    findings: &mut Vec<Finding>,
) {
    let timed = timed || has_timeout(stage);
    let own = image(stage.get("agent"));
    let inner = ["stages", "parallel"]
        .iter()
        .find_map(|group| stage.get(group))
        .or_else(|| stage.get("matrix")?.get("stages"));
    if let Some(inner) = inner {
        for stage in inner.children() {
            walk(stage, timed, own.as_ref().or(above), jobs, findings);
        }
        return;
    }
    let title = texts(&stage.arguments).into_iter().next().unwrap_or_default();
    let mut facts = JobFacts {
        id: crate::generate::identifier(&title),
        at: at(stage),
        images: own.or_else(|| above.cloned()).into_iter().collect(),
        ..JobFacts::default()
    };
    let mut inner_timeout = false;
    for part in stage
        .children()
        .iter()
        .filter(|part| part.name == "steps" || part.name == "post")
    {
        steps(part, &mut facts, &mut inner_timeout, findings);
    }
    facts.timeout = Some(Timeout {
        is_set: timed || inner_timeout,
        edit: None,
    });
    jobs.push(facts);
}

fn steps(block: &Statement, facts: &mut JobFacts, timed: &mut bool, findings: &mut Vec<Finding>) {
    for step in block.children() {
        match step.name.as_str() {
            "sh" | "bat" | "powershell" => {
                // Between double quotes Groovy puts the value in before a shell reads the text.
                let pasted = step.arguments.contains('"') && !step.arguments.trim_start().starts_with('\'');
                let untrusted = UNTRUSTED
                    .iter()
                    .find(|name| step.arguments.contains(&format!("${{{name}")));
                if let Some(untrusted) = untrusted.filter(|_| pasted) {
                    findings.push(Finding::error(
                        "script-injection",
                        at(step),
                        format!("whoever can set `{}` writes a part of this script", untrusted.trim_end_matches('.')),
                        "Write the script between single quotes: the shell reads the variable from its environment",
                    ));
                }
                let text =
                    named(&step.arguments, "script").or_else(|| texts(&step.arguments).into_iter().next());
                facts.scripts.extend(text.map(|text| Spot { text, at: at(step) }));
            }
            "timeout" => *timed = true,
            "catchError" => facts.may_fail = Some((at(step), Edit::Remove(Vec::new()))),
            _ => {}
        }
        steps(step, facts, timed, findings);
    }
}
