//! What somebody wrote by hand, carried over, with what could not be.

use ci::{Dialect, convert};

const GITLAB: &str = "include: /other.yml
stages: [build, test, deploy]
default:
  before_script: [echo hello]
.rust: &rust
  image: rust:1.89.0
  variables: {A: \"1\"}
.setup:
  script:
    - cargo fetch
build:
  <<: *rust
  stage: build
  script:
    - !reference [.setup, script]
    - cargo build --locked
    - echo \"$CI_COMMIT_SHA in $CI_PROJECT_DIR\"
  artifacts: {paths: [target/debug/app], expire_in: 1 week}
  cache: {key: {files: [Cargo.lock]}, paths: [target/]}
test:
  extends: .rust
  stage: test
  needs: [build]
  script: [cargo test]
  parallel: {matrix: [{MODE: [a, b]}]}
  retry: 2
  timeout: 1h 30m
  rules:
    - if: $CI_PIPELINE_SOURCE == \"schedule\"
      when: never
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
deploy:
  stage: deploy
  script: [./deploy]
  when: manual
  environment: {name: production, url: https://example.com, on_stop: stop}
  secrets: {TOKEN: {vault: x}}
odd:
  stage: deploy
  script: [x]
  rules:
    - if: $CI_COMMIT_TAG =~ /^v/
";

const GITHUB: &str = "name: build and test
on:
  push: {branches: [main, 'release/**']}
  pull_request: {paths: [src/**]}
  issues:
permissions: {contents: read}
env: {LEVEL: high}
jobs:
  lint:
    runs-on: ubuntu-latest
    timeout-minutes: 10
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
      - uses: actions/setup-node@49933ea5288caeca8642d1e84afbd3f7d6820020 # v4.4.0
        with: {node-version: 22}
      - run: npm ci
        working-directory: web
      - run: npm run lint -- --sha ${{ github.sha }} --title \"${{ github.event.pull_request.title }}\"
        env: {TOKEN: '${{ secrets.NPM_TOKEN }}'}
      - uses: someone/notify@0123456789012345678901234567890123456789
      - if: always()
        run: rm -rf tmp
  test:
    needs: lint
    runs-on: [self-hosted, big]
    strategy: {matrix: {node: [20, 22]}}
    services:
      db: {image: 'postgres:17.5', env: {POSTGRES_PASSWORD: x}}
    if: github.event_name != 'pull_request' || contains(github.event.pull_request.labels.*.name, 'go')
    steps:
      - run: echo \"${{ matrix.node }}\" >> $GITHUB_OUTPUT
";

const JENKINS: &str = "@Library('shared') _
pipeline {
    agent { docker { image 'maven:3.9.11-eclipse-temurin-17' } }
    options { timeout(time: 1, unit: 'HOURS') }
    triggers { cron('H 2 * * *') }
    environment { TOKEN = credentials('token') }
    stages {
        stage('Build') {
            steps { sh 'mvn -B package' }
            post { always { junit 'target/surefire-reports/*.xml' } failure { mail to: 'x@example.com' } }
        }
        stage('Checks') {
            parallel {
                stage('Unit') { steps { sh '''mvn test
echo \"$GIT_COMMIT\"''' } }
                stage('Style') { steps { dir('web') { sh 'npm run lint' } slackSend 'done' } }
            }
        }
        stage('Deploy') {
            when { branch 'main'; not { changeRequest() } }
            input { message 'Now?' }
            steps { withEnv(['TO=prod']) { sh './deploy' } }
        }
    }
}
";

const CLOUD_BUILD: &str = "steps:
  - name: node:22.18.0
    entrypoint: npm
    args: [ci]
  - id: test
    name: node:22.18.0
    entrypoint: bash
    args: ['-c', 'npm test && echo $$HOME $COMMIT_SHA']
    secretEnv: [TOKEN]
    timeout: 600s
images: [gcr.io/x/y]
";

const AZURE: &str = "trigger: {branches: {include: [main]}}
pr: none
variables: {MODE: fast}
stages:
  - stage: build
    jobs:
      - job: compile
        pool: {vmImage: ubuntu-24.04}
        timeoutInMinutes: 20
        steps:
          - task: GoTool@0
            inputs: {version: '1.24'}
          - bash: go build ./... && echo $(Build.SourceVersion) $(MODE)
          - task: SonarQubeAnalyze@5
      - job: check
        dependsOn: compile
        condition: and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))
        steps:
          - script: go vet ./...
  - stage: release
    jobs:
      - deployment: ship
        environment: production
        strategy: {runOnce: {deploy: {steps: [{bash: ./ship}]}}}
";

struct Case {
    text: &'static str,
    from: Dialect,
    to: Dialect,
    /// What must stand in the new file.
    has: &'static [&'static str],
    /// Lines of the old file that something is said about.
    noted: &'static [usize],
}

const CASES: &[Case] = &[
    Case {
        text: GITLAB,
        from: Dialect::Gitlab,
        to: Dialect::Github,
        has: &[
            "cargo fetch\n",
            "cargo build --locked",
            "CI_COMMIT_SHA: ${{ github.sha }}",
            "in $GITHUB_WORKSPACE",
            "container: rust:1.89.0",
            "timeout-minutes: 90",
            "MODE: [a, b]",
            "name: production",
        ],
        noted: &[1, 37, 38, 43],
    },
    Case {
        text: GITLAB,
        from: Dialect::Gitlab,
        to: Dialect::Azure,
        has: &[
            "container: rust:1.89.0",
            "environment: production",
            "cargo build --locked",
        ],
        noted: &[1, 37, 38, 43],
    },
    Case {
        text: GITHUB,
        from: Dialect::Github,
        to: Dialect::Gitlab,
        has: &[
            "(cd web",
            "--sha ${CI_COMMIT_SHA}",
            "image: node:22.18.0-bookworm-slim",
            "name: postgres:17.5",
            "when: manual",
            "- self-hosted",
            "timeout: 10 minutes",
        ],
        noted: &[4, 18, 20, 29, 31],
    },
    Case {
        text: GITHUB,
        from: Dialect::Github,
        to: Dialect::Jenkins,
        has: &[
            "image 'node:22.18.0-bookworm-slim'",
            "NPM_TOKEN = credentials('NPM_TOKEN')",
            "input {",
        ],
        noted: &[4, 18, 20, 29, 31],
    },
    Case {
        text: JENKINS,
        from: Dialect::Jenkins,
        to: Dialect::Gitlab,
        has: &[
            "mvn -B package",
            "image: maven:3.9.11-eclipse-temurin-17",
            "$CI_COMMIT_SHA",
            "(cd web",
            "if: $CI_COMMIT_BRANCH == \"main\" && $CI_PIPELINE_SOURCE != \"merge_request_event\"",
            "when: manual",
            "timeout: 60 minutes",
            "TO: prod",
        ],
        noted: &[1, 6, 10, 16],
    },
    Case {
        text: CLOUD_BUILD,
        from: Dialect::CloudBuild,
        to: Dialect::Gitlab,
        has: &[
            "npm ci",
            "npm test && echo $HOME $CI_COMMIT_SHA",
            "timeout: 10 minutes",
            "- step_1",
        ],
        noted: &[11],
    },
    Case {
        text: CLOUD_BUILD,
        from: Dialect::CloudBuild,
        to: Dialect::Github,
        has: &[
            "container: node:22.18.0",
            "TOKEN: ${{ secrets.TOKEN }}",
            "CI_COMMIT_SHA: ${{ github.sha }}",
        ],
        noted: &[11],
    },
    Case {
        text: AZURE,
        from: Dialect::Azure,
        to: Dialect::Gitlab,
        has: &[
            "image: golang:1.24.6-bookworm",
            "go build ./... && echo $CI_COMMIT_SHA ${MODE}",
            "if: $CI_COMMIT_BRANCH == \"main\"",
            "name: production",
        ],
        noted: &[14],
    },
    Case {
        text: AZURE,
        from: Dialect::Azure,
        to: Dialect::CloudBuild,
        has: &[
            "name: golang:1.24.6-bookworm",
            "[ \"${BRANCH_NAME:-}\" = 'main' ]",
            "./ship",
        ],
        noted: &[14],
    },
];

#[test]
fn what_was_said_is_in_the_new_file_or_in_a_note_with_its_line() {
    for case in CASES {
        let name = format!("{} to {}", case.from.name(), case.to.name());
        let converted = convert(case.text, case.from, case.to).unwrap();
        let texts: Vec<_> = converted.files.iter().map(|file| file.text.as_str()).collect();
        let text = texts.join("\n");
        for part in case.has {
            assert!(text.contains(part), "{name}: {part}\n{text}");
        }
        let mut noted: Vec<_> = converted.notes.iter().filter_map(|note| note.line).collect();
        for line in case.noted {
            assert!(
                noted.contains(line),
                "{name}: line {line} of {:?}",
                converted.notes
            );
        }
        assert!(converted.notes.iter().all(|note| !note.advice.is_empty()));
        let sorted = noted.clone();
        noted.sort_unstable();
        assert_eq!(noted, sorted, "{name}");
        // The new system's own reader takes it.
        for file in &converted.files {
            let read = case
                .to
                .read(&file.text)
                .unwrap_or_else(|fault| panic!("{name}: {fault}\n{}", file.text));
            assert!(!read.pipeline.jobs.is_empty(), "{name}");
        }
    }
}
