//! How a repository is deployed, where it says so itself.

use serde::Serialize;

use super::{Part, Why};
use crate::tree::Tree;

/// Commands that take the environment's name in `$DEPLOY_ENV`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deploying {
    pub deploy: String,
    pub rollback: Option<String>,
    pub why: Vec<Why>,
}

pub(super) fn detect(tree: &dyn Tree) -> Option<Deploying> {
    let root = Part { tree, directory: "" };
    let folders = ["", "scripts/", "script/", "bin/", "ci/", "deploy/"];
    let program = |name: &str| {
        folders
            .iter()
            .flat_map(|folder| [format!("{folder}{name}"), format!("{folder}{name}.sh")])
            .find(|path| tree.has(path))
    };
    let targets = root.make_targets();
    let target = |name: &str| targets.iter().any(|known| known == name);
    let mut why = Vec::new();
    let mut command = |name: &str| {
        if let Some(path) = program(name) {
            why.push(root.why(&path, format!("a program to {name} with")));
            let run = if path.ends_with(".sh") { "bash " } else { "./" };
            return Some(format!("{run}{path} \"$DEPLOY_ENV\""));
        }
        if target(name) {
            why.push(root.why("Makefile", format!("a target `{name}`")));
            return Some(format!("make {name} ENV=\"$DEPLOY_ENV\""));
        }
        None
    };
    let deploy = command("deploy")?;
    let rollback = command("rollback");
    Some(Deploying {
        deploy,
        rollback,
        why,
    })
}
