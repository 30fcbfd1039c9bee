//! Each rule finds what it is for, at its place, and is silent about what is right.

use ci::Dialect;
use ci::lint::{Finding, lint};
use ci::tree::Listing;
use ci::yaml::apply;
use ci::{Options, generate};

fn shown(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding {
            rule,
            severity,
            at,
            what,
            fix,
            ..
        } = finding;
        format!("{}:{} {severity:?} {rule}: {what}\n    {fix}", at.line, at.column)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

const GITLAB: &str = "stages: [build, test]
workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
build:
  image: node
  cache:
    key: npm
    paths: [node_modules/]
  script:
    - curl -sSf https://example.com/install | sh
    - docker login -u ci -p $PASSWORD registry.example.com
    - export DB_PASSWORD=hunter2hunter
  image: node:latest
test:
  stage: check
  needs: [buidl]
  script: [make test]
  rules:
    - if: $CI_COMMIT_TAG
a: {stage: test, script: [x], needs: [b], timeout: 5 minutes}
b: {stage: test, script: [x], needs: [a], timeout: 5 minutes}
sast:
  stage: test
  timeout: 5 minutes
  script: [semgrep ci]
  allow_failure: true
off:
  stage: test
  timeout: 5 minutes
  script: [x]
  rules:
    - when: never
dead:
  stage: test
  timeout: 5 minutes
  script: [x]
  rules:
    - if: $A == \"1\" && $A == \"2\"
late:
  stage: test
  timeout: 5 minutes
  script: [x]
  rules:
    - when: always
    - if: $A
";

const GITHUB: &str = "name: ci
on:
  pull_request_target:
  push:
    branches: [main]
permissions: write-all
jobs:
  build:
    runs-on: ubuntu-latest
    container: node
    steps:
      - uses: actions/checkout@v4
        with:
          ref: ${{ github.event.pull_request.head.sha }}
      - uses: someone/something@main
      - uses: actions/cache@5a3ec84eff668545956fd18022155c47e93e2684
        with: {path: a, key: always}
      - run: echo \"${{ github.event.issue.title }}\"
      - run: |
          make
          echo ${{ github.head_ref }}
  scan:
    needs: [biuld]
    runs-on: ubuntu-latest
    timeout-minutes: 5
    continue-on-error: true
    steps: [{run: trivy fs .}]
  never:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    if: github.event_name == 'schedule' && github.ref == 'refs/heads/x' && github.ref == 'refs/heads/y'
    steps: [{run: x}]
";

const JENKINS: &str = "pipeline {
    agent { docker { image 'node' } }
    stages {
        stage('build') {
            steps {
                sh \"echo ${params.NAME}\"
                sh 'curl https://example.com/x | bash'
            }
        }
    }
}
";

const CLOUD_BUILD: &str = "steps:
  - id: one
    name: node:latest
    waitFor: [two]
    args: [npm, ci]
  - id: two
    name: gcr.io/cloud-builders/docker
    args: [build, .]
";

const AZURE: &str = "trigger: [main]
pool: {vmImage: ubuntu-24.04}
steps:
  - task: Cache@2
    inputs: {key: 'npm | \"$(Agent.OS)\"', path: x}
  - task: Cache@2
    inputs: {key: '\"npm\" | \"$(Agent.OS)\"', path: x}
  - bash: echo $(Build.SourceVersionMessage)
";

fn found(dialect: Dialect, text: &str) -> Vec<(usize, &'static str)> {
    let findings = lint(dialect, text.as_bytes());
    findings
        .iter()
        .map(|finding| (finding.at.line, finding.rule))
        .collect()
}

#[test]
fn what_is_wrong_with_gitlabs_is_found_where_it_is() {
    let expected = [
        (5_usize, "timeout-missing"),
        (8, "cache-key-without-lock-file"),
        (11, "download-piped-to-shell"),
        (12, "password-on-command-line"),
        (13, "secret-in-file"),
        (14, "duplicate-key"),
        (14, "image-unpinned"),
        (15, "job-never-runs"),
        (15, "timeout-missing"),
        (16, "stage-unknown"),
        (17, "needs-unknown"),
        (21, "needs-cycle"),
        (27, "security-may-fail"),
        (33, "job-never-runs"),
        (34, "job-never-runs"),
        (46, "rule-never-reached"),
    ];
    assert_eq!(found(Dialect::Gitlab, GITLAB), expected);
}

#[test]
fn what_is_wrong_with_githubs_is_found_where_it_is() {
    let expected = [
        (6_usize, "permissions-too-wide"),
        (8, "timeout-missing"),
        (10, "image-unpinned"),
        (12, "action-unpinned"),
        (14, "strangers-code-with-secrets"),
        (15, "action-unpinned"),
        (17, "cache-key-without-lock-file"),
        (18, "script-injection"),
        (21, "script-injection"),
        (23, "needs-unknown"),
        (26, "security-may-fail"),
        (28, "job-never-runs"),
    ];
    assert_eq!(found(Dialect::Github, GITHUB), expected);
}

#[test]
fn what_is_wrong_with_the_others_is_found_where_it_is() {
    let jenkins = [
        (2_usize, "image-unpinned"),
        (4, "timeout-missing"),
        (6, "script-injection"),
        (7, "download-piped-to-shell"),
    ];
    assert_eq!(found(Dialect::Jenkins, JENKINS), jenkins);
    let cloud_build = [
        (2_usize, "timeout-missing"),
        (3, "image-unpinned"),
        (4, "needs-unknown"),
        (6, "timeout-missing"),
    ];
    assert_eq!(found(Dialect::CloudBuild, CLOUD_BUILD), cloud_build);
    let azure = [
        (1_usize, "timeout-missing"),
        (7, "cache-key-without-lock-file"),
        (8, "script-injection"),
    ];
    assert_eq!(found(Dialect::Azure, AZURE), azure);
}

#[test]
fn what_comes_from_other_files_is_not_said_to_be_missing() {
    let text = "include:
  - project: group/templates
    file: /base.yml
  - remote: https://example.com/ci.yml
build:
  extends: .theirs
  timeout: 5 minutes
  needs: [also-theirs]
  script: [!reference [.theirs, script]]
";
    assert_eq!(
        found(Dialect::Gitlab, text),
        [(2_usize, "include-unpinned"), (4, "include-unpinned")]
    );
    let alone = text.split_once("build:").unwrap().1;
    let expected = [
        (2_usize, "extends-unknown"),
        (4, "needs-unknown"),
        (5, "reference-unknown"),
    ];
    assert_eq!(found(Dialect::Gitlab, &format!("build:{alone}")), expected);
}

#[test]
fn what_people_read_names_the_job_and_what_to_do() {
    let text = "a:\n  needs: [tset]\n  timeout: 5 minutes\n  script: [x]\ntest:\n  timeout: 5 minutes\n  script: [x]\n";
    assert_eq!(
        shown(&lint(Dialect::Gitlab, text.as_bytes())),
        "2:11 Error needs-unknown: a needs `tset`, and there is no such job; `test` was meant, probably\n    \
         Name a job of this file, or leave it out"
    );
}

#[test]
fn what_is_generated_has_no_error_and_no_warning() {
    let files = [
        ("requirements.txt", "pytest==8.4.1\n"),
        ("test_it.py", ""),
        ("Dockerfile", "FROM scratch\n"),
        ("web/package.json", r#"{"scripts": {"test": "node --test"}}"#),
        ("web/package-lock.json", "{}"),
        ("scripts/deploy.sh", ""),
        ("scripts/rollback.sh", ""),
    ];
    let generated = generate(&Listing::of(&files), &Options::default()).unwrap();
    for dialect in Dialect::ALL {
        for file in dialect.write(&generated.pipeline).files {
            let found = lint(dialect, file.text.as_bytes());
            let bad: Vec<_> = found
                .into_iter()
                .filter(|finding| finding.severity != ci::lint::Severity::Hint)
                .collect();
            assert!(bad.is_empty(), "{}:\n{}\n{}", file.path, shown(&bad), file.text);
        }
    }
}

#[test]
fn a_fix_that_a_program_can_make_mends_its_finding() {
    for (dialect, text) in [(Dialect::Gitlab, GITLAB), (Dialect::Github, GITHUB)] {
        let mut mended = 0;
        for finding in lint(dialect, text.as_bytes()) {
            let Some(edit) = &finding.edit else { continue };
            let Ok(changed) = apply(text, edit) else { continue };
            let left = lint(dialect, changed.as_bytes());
            let again = left
                .iter()
                .any(|other| other.rule == finding.rule && other.what == finding.what);
            assert!(!again, "{}: {}\n{changed}", finding.rule, finding.what);
            mended += 1;
        }
        assert!(mended >= 3, "{}: {mended}", dialect.name());
    }
}

#[test]
fn a_secret_that_is_only_named_is_none() {
    for line in [
        "  PASSWORD: $CI_REGISTRY_PASSWORD",
        "  password: ${{ secrets.PASSWORD }}",
        "  token: $(TOKEN)",
        "  export TRIVY_PASSWORD=\"$CI_REGISTRY_PASSWORD\"",
        "  TOKEN = credentials('TOKEN')",
        "  - curl --header \"Authorization: Bearer $API_TOKEN\" --data \"password=$PASSWORD\" $URL",
        "  - curl -H 'Authorization: token ${{ secrets.TOKEN }}' https://api.example",
    ] {
        let found = lint(Dialect::Gitlab, format!("job:\n{line}\n").as_bytes());
        assert!(
            found.iter().all(|finding| finding.rule != "secret-in-file"),
            "{line}: {found:?}"
        );
    }
}
