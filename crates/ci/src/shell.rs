//! A job's script as one text for a shell: what is put together from other variables first, then its lines.

use crate::facts;
use crate::model::{Job, Note, ToolKind};
use crate::pins;

/// `workspace` is the variable that names the folder of the files there.
pub(crate) fn script(job: &Job, global: &[(String, String)], workspace: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let composed = global
        .iter()
        .chain(&job.variables)
        .filter(|(_, value)| value.contains('$'));
    for (name, value) in composed {
        out.push(format!("export {name}=\"{}\"", in_workspace(value, workspace)));
    }
    out.extend(job.script.iter().map(|line| in_workspace(line, workspace)));
    out.join("\n")
}

pub(crate) fn in_workspace(line: &str, workspace: &str) -> String {
    facts::renamed(line, "CI_PROJECT_DIR", workspace)
}

/// The same in the job's image, run by the machine's container engine, where the job asks for that.
pub(crate) fn on_bare_machine(job: &Job, global: &[(String, String)], workspace: &str) -> String {
    let script = script(job, global, workspace);
    let Some(image) = job.image.as_ref().filter(|_| job.has_tool(ToolKind::Image)) else {
        return script;
    };
    let facts = facts::used(job.shell());
    let mut names: Vec<&str> = facts
        .iter()
        .map(|fact| fact.name)
        .filter(|name| *name != "CI_PROJECT_DIR")
        .collect();
    names.extend(job.variables.iter().map(|(name, _)| name.as_str()));
    names.extend(job.secrets.iter().map(String::as_str));
    let env: String = names.iter().map(|name| format!(" --env {name}")).collect();
    let quoted = script.replace('\'', r"'\''");
    format!(
        "docker run --rm --volume \"$PWD:/work\" --workdir /work{env} --entrypoint sh {image} -euc '{quoted}'"
    )
}

/// The job's image; one that brings its tools where it names none.
pub(crate) fn image(job: &Job) -> Option<String> {
    job.image.clone().or_else(|| {
        let brought = |kind| !matches!(kind, ToolKind::Native | ToolKind::Docker | ToolKind::Image);
        let tool = job.tools.iter().find(|tool| brought(tool.kind))?;
        Some(pins::image(tool.kind, &tool.version))
    })
}

/// Variables whose values stand as they are.
pub(crate) fn plain(variables: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    variables.iter().filter(|(_, value)| !value.contains('$'))
}

/// What the job's texts read of the system, with the dialect's word; and what it has no word for.
pub(crate) fn told(
    job: &Job,
    word: impl Fn(&facts::Fact) -> &'static str,
) -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    let texts = job
        .shell()
        .chain(job.variables.iter().map(|(_, value)| value.as_str()));
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for fact in facts::used(texts) {
        let set_already = job.variables.iter().any(|(own, _)| own == fact.name)
            || job.secrets.iter().any(|own| own == fact.name);
        if set_already || fact.name == "CI_PROJECT_DIR" {
            continue;
        }
        match word(fact) {
            "" => unknown.push(fact.name),
            word => found.push((fact.name, word)),
        }
    }
    (found, unknown)
}

pub(crate) fn untold(job: &Job, names: &[&str], advice: &str) -> Note {
    let what = format!(
        "its script reads {}, which this system does not tell",
        names.join(", ")
    );
    Note::of(job, what, advice)
}

/// A path as a shell's pattern: its stars and variables stay, nothing else is of the shell.
pub(crate) fn pattern(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/-_.*?[]${}".contains(c);
    let mut out = String::new();
    for c in path.chars() {
        if !plain(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
