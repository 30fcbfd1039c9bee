//! Rules of Cloud Build's own words.

use super::Finding;
use super::facts::{JobFacts, Spot, Timeout};
use crate::yaml::Node;

pub(super) fn facts(root: &Node, findings: &mut Vec<Finding>) -> Vec<JobFacts> {
    let whole = root.get("timeout").is_some();
    let Some(steps) = root.get("steps") else {
        findings.push(Finding::error(
            "job-without-script",
            root.at,
            "the build has no `steps`",
            "Give it some",
        ));
        return Vec::new();
    };
    let mut jobs: Vec<JobFacts> = Vec::new();
    for (number, step) in steps.items().enumerate() {
        let id = step.get("id");
        let mut facts = JobFacts {
            id: id
                .and_then(Node::as_str)
                .map_or_else(|| format!("step {}", number + 1), str::to_owned),
            at: step.at,
            timeout: Some(Timeout {
                is_set: whole || step.get("timeout").is_some(),
                edit: None,
            }),
            ..JobFacts::default()
        };
        facts.needs = Spot::all(step.get("waitFor"));
        facts.needs.retain(|need| need.text != "-");
        // Google keeps those; their tags are all `latest`.
        let own = |image: &Spot| image.text.starts_with("gcr.io/cloud-builders/");
        facts
            .images
            .extend(step.get("name").and_then(Spot::of).filter(|image| !own(image)));
        facts.scripts.extend(step.get("script").and_then(Spot::of));
        facts.scripts.extend(Spot::all(step.get("args")));
        let may_fail = step
            .get("allowFailure")
            .filter(|node| node.as_bool() == Some(true));
        let path = vec!["steps".into(), number.into(), "allowFailure".into()];
        facts.may_fail = may_fail.map(|node| (node.at, crate::yaml::Edit::Remove(path)));
        // A step can only wait for one that stands above it.
        for need in &facts.needs {
            let above = jobs.iter().any(|other| other.id == need.text);
            let below = steps
                .items()
                .skip(number)
                .any(|other| other.str("id") == Some(need.text.as_str()));
            if !above && below {
                findings.push(Finding::error(
                    "needs-unknown",
                    need.at,
                    format!(
                        "{} waits for `{}`, which stands below it: the build is refused",
                        facts.id, need.text
                    ),
                    "Put the step that it waits for above it",
                ));
            }
        }
        jobs.push(facts);
    }
    jobs
}
