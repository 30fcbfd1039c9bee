//! Rust: Cargo; nextest where the project has set it up.

use super::{Check, Part, Unit, version};
use crate::model::{Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let manifest: toml::Table = part.read("Cargo.toml")?.parse().ok()?;
    let workspace = manifest.contains_key("workspace");
    if !workspace && !manifest.contains_key("package") {
        return None;
    }
    let mut unit = part.unit("Rust", "Cargo");
    let what = if workspace {
        "a workspace of Cargo"
    } else {
        "a crate"
    };
    unit.why.push(part.why("Cargo.toml", what));
    let from_toolchain = ["rust-toolchain.toml", "rust-toolchain"]
        .into_iter()
        .find_map(|file| {
            let text = part.read(file)?;
            let channel = text.lines().find(|line| line.contains("channel")).unwrap_or(text);
            Some((file, version(channel, 3)?))
        });
    let declared = || {
        let package = manifest
            .get("package")
            .or_else(|| manifest.get("workspace")?.get("package"))?;
        Some(("Cargo.toml", version(package.get("rust-version")?.as_str()?, 3)?))
    };
    let said = from_toolchain.or_else(declared);
    let rust = said
        .as_ref()
        .map_or(pins::RUST, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(file, format!("for Rust {version}")));
    }
    unit.image = pins::image(ToolKind::Rust, &rust);
    unit.tools = vec![Tool {
        kind: ToolKind::Rust,
        version: rust,
    }];
    let locked = if part.has("Cargo.lock") {
        unit.why.push(part.why("Cargo.lock", "versions are locked"));
        " --locked"
    } else {
        ""
    };
    let all = if workspace { " --workspace" } else { "" };
    let target = part.path("target/");
    unit.cache = part.cache("rust", &["Cargo.lock"], &[".cache/cargo/", &target]);
    unit.variables = vec![
        ("CARGO_HOME".to_owned(), "$CI_PROJECT_DIR/.cache/cargo".to_owned()),
        ("CARGO_INCREMENTAL".to_owned(), "0".to_owned()),
    ];
    unit.build = vec![format!("cargo build{locked}{all} --all-targets")];
    if part
        .read(".config/nextest.toml")
        .is_some_and(|text| text.contains("junit"))
    {
        unit.why
            .push(part.why(".config/nextest.toml", "tested with nextest, which writes JUnit"));
        unit.test = vec![
            "cargo install --locked cargo-nextest@0.9.103".to_owned(),
            format!("PATH=\"$CARGO_HOME/bin:$PATH\" cargo nextest run{locked}{all} --profile ci"),
        ];
        unit.reports.junit = vec![part.path("target/nextest/ci/junit.xml")];
    } else {
        unit.why.push(part.why(
            "Cargo.toml",
            "no JUnit report: `cargo test` writes none; nextest with a profile `ci` does",
        ));
        unit.test = vec![format!("cargo test{locked}{all}")];
    }
    unit.checks.push(Check {
        name: "lint".to_owned(),
        script: vec![
            component("clippy"),
            format!("cargo clippy{locked}{all} --all-targets -- -D warnings"),
        ],
    });
    if part.has("rustfmt.toml") || part.has(".rustfmt.toml") {
        unit.why.push(part.why(
            part.first(&["rustfmt.toml", ".rustfmt.toml"])?,
            "formatted with rustfmt",
        ));
        unit.checks.push(Check {
            name: "format".to_owned(),
            script: vec![component("rustfmt"), "cargo fmt --all --check".to_owned()],
        });
    }
    Some(unit)
}

/// The images of Rust have the compiler and Cargo alone.
fn component(name: &str) -> String {
    format!("rustup component add {name}")
}
