//! What generated pipelines use of others, each at one version: actions by commit, images by their full tag.
//!
//! A tag of an action can be moved to other code; a commit cannot. Each commit was read off public workflows that
//! name the same commit beside the same release. There is no action here for Ruby and PHP: their jobs run in images.

use crate::model::ToolKind;

/// An action: `owner/name`, the commit, and the release that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    pub name: &'static str,
    pub commit: &'static str,
    pub release: &'static str,
}

pub const CHECKOUT: Action = Action {
    name: "actions/checkout",
    commit: "11bd71901bbe5b1630ceea73d27597364c9af683",
    release: "v4.2.2",
};
pub const CACHE: Action = Action {
    name: "actions/cache",
    commit: "5a3ec84eff668545956fd18022155c47e93e2684",
    release: "v4.2.3",
};
pub const UPLOAD: Action = Action {
    name: "actions/upload-artifact",
    commit: "ea165f8d65b6e75b540449e92b4886f43607fa02",
    release: "v4.6.2",
};
pub const DOWNLOAD: Action = Action {
    name: "actions/download-artifact",
    commit: "d3f86a106a0bac45b974a628896c90dbdf5c8093",
    release: "v4.3.0",
};
pub const SETUP_PYTHON: Action = Action {
    name: "actions/setup-python",
    commit: "a26af69be951a213d495a4c3e4e4022e16d87065",
    release: "v5.6.0",
};
pub const SETUP_NODE: Action = Action {
    name: "actions/setup-node",
    commit: "49933ea5288caeca8642d1e84afbd3f7d6820020",
    release: "v4.4.0",
};
pub const SETUP_GO: Action = Action {
    name: "actions/setup-go",
    commit: "d35c59abb061a4a6fb18e82ac0862c26744d6ab5",
    release: "v5.5.0",
};
pub const SETUP_JAVA: Action = Action {
    name: "actions/setup-java",
    commit: "c5195efecf7bdfc987ee8bae7a71cb8b11521c00",
    release: "v4.7.1",
};
pub const SETUP_DOTNET: Action = Action {
    name: "actions/setup-dotnet",
    commit: "67a3573c9a986a3f9c594539f4ab511d57bb3ce9",
    release: "v4.3.1",
};

pub const ACTIONS: &[Action] = &[
    CHECKOUT,
    CACHE,
    UPLOAD,
    DOWNLOAD,
    SETUP_PYTHON,
    SETUP_NODE,
    SETUP_GO,
    SETUP_JAVA,
    SETUP_DOTNET,
];

impl Action {
    /// As `uses` has it.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.name, self.commit)
    }
}

/// The action of this name, if we know a commit of it.
pub fn action(name: &str) -> Option<Action> {
    ACTIONS.iter().find(|action| action.name == name).copied()
}

pub const PYTHON: &str = "3.12";
pub const NODE: &str = "22";
pub const GO: &str = "1.24";
pub const JAVA: &str = "21";
pub const RUST: &str = "1.89.0";
pub const DOTNET: &str = "8.0";
pub const RUBY: &str = "3.3.9";

pub const COMPOSER: &str = "composer:2.8.10";
pub const GCC: &str = "gcc:14.3.0-bookworm";
pub const TRIVY: &str = "aquasec/trivy:0.65.0";
pub const DOCKER: &str = "docker:28.3.3-cli";
pub const DOCKER_SERVICE: &str = "docker:28.3.3-dind";
pub const CURL: &str = "curlimages/curl:8.15.0";
/// For jobs that say no image where a system must have one.
pub const SHELL: &str = "debian:12.11-slim";

const PYTHONS: &[(&str, &str)] = &[
    ("3.9", "3.9.23"),
    ("3.10", "3.10.18"),
    ("3.11", "3.11.13"),
    ("3.12", "3.12.11"),
    ("3.13", "3.13.7"),
];
const NODES: &[(&str, &str)] = &[
    ("18", "18.20.8"),
    ("20", "20.19.4"),
    ("22", "22.18.0"),
    ("24", "24.6.0"),
];
const GOS: &[(&str, &str)] = &[
    ("1.22", "1.22.12"),
    ("1.23", "1.23.12"),
    ("1.24", "1.24.6"),
    ("1.25", "1.25.0"),
];
const JAVAS: &[(&str, &str)] = &[
    ("8", "8u462-b08"),
    ("11", "11.0.28_6"),
    ("17", "17.0.16_8"),
    ("21", "21.0.8_9"),
];
const DOTNETS: &[(&str, &str)] = &[("8.0", "8.0.413"), ("9.0", "9.0.304")];

/// The full version for a short one; one that we do not know stays as it is.
fn full<'v>(known: &[(&str, &'v str)], version: &'v str) -> &'v str {
    known
        .iter()
        .find(|(short, _)| *short == version)
        .map_or(version, |(_, full)| full)
}

/// Go's archives have whole versions alone.
pub fn go(version: &str) -> String {
    match full(GOS, version) {
        known if known.matches('.').count() == 1 => format!("{known}.0"),
        known => known.to_owned(),
    }
}

/// The image that has a language's tools at a version.
pub fn image(kind: ToolKind, version: &str) -> String {
    match kind {
        ToolKind::Python => format!("python:{}-slim-bookworm", full(PYTHONS, version)),
        ToolKind::Node => format!("node:{}-bookworm-slim", full(NODES, version)),
        // The race detector needs a C compiler.
        ToolKind::Go => format!("golang:{}-bookworm", go(version)),
        ToolKind::Java => format!("eclipse-temurin:{}-jdk", full(JAVAS, version)),
        // `1.88` is whatever its newest patch is; the first one is always there.
        ToolKind::Rust if version.matches('.').count() == 1 => format!("rust:{version}.0-bookworm"),
        ToolKind::Rust => format!("rust:{version}-bookworm"),
        ToolKind::Dotnet => format!("mcr.microsoft.com/dotnet/sdk:{}", full(DOTNETS, version)),
        ToolKind::Native => GCC.to_owned(),
        ToolKind::Docker => DOCKER.to_owned(),
        ToolKind::Image => SHELL.to_owned(),
    }
}

pub fn maven(java: &str) -> String {
    format!("maven:3.9.11-eclipse-temurin-{java}")
}

pub fn gradle(java: &str) -> String {
    format!("gradle:8.14.3-jdk{java}")
}

pub fn ruby(version: &str) -> String {
    format!("ruby:{version}-bookworm")
}

/// A whole version as it is, a short one with whatever patch is newest: tools that fetch an SDK want it so.
pub fn dotnet(version: &str) -> String {
    match version.matches('.').count() {
        0 | 1 => format!("{version}.x"),
        _ => version.to_owned(),
    }
}
