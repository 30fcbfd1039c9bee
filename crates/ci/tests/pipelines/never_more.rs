//! What a system has no word for: said in a note, and never run more often than before.

use ci::Dialect;
use ci::convert;

/// The new files in one text, and the notes, each with its job.
fn carried(text: &str, to: Dialect) -> (String, Vec<String>) {
    let converted = convert(text, Dialect::Gitlab, to).unwrap();
    let files: Vec<_> = converted.files.iter().map(|file| file.text.as_str()).collect();
    let notes = converted.notes.iter();
    let notes = notes.map(|note| format!("{}: {}", note.job.as_deref().unwrap_or("all"), note.what));
    (files.join("\n"), notes.collect())
}

#[track_caller]
fn noted(notes: &[String], start: &str) {
    assert!(
        notes.iter().any(|note| note.starts_with(start)),
        "{start}: {notes:#?}"
    );
}

/// `alarm` runs when either of two failed, `sweep` however they ended.
const AFTERWARDS: &str = "stages: [test, end]
a: {stage: test, image: 'debian:12.11', script: [./a]}
b: {stage: test, image: 'debian:12.11', script: [./b]}
alarm: {stage: end, image: 'debian:12.11', when: on_failure, needs: [a, b], script: [./alarm]}
sweep: {stage: end, image: 'debian:12.11', when: always, needs: [a, b], script: [./sweep]}
";

#[test]
fn what_runs_after_failures_does_not_run_after_success() {
    let (jenkins, notes) = carried(AFTERWARDS, Dialect::Jenkins);
    let alarm = jenkins.split("stage('alarm')").nth(1).unwrap();
    let alarm = alarm.split("stage('sweep')").next().unwrap();
    assert!(alarm.contains("expression { false }"), "{jenkins}");
    noted(&notes, "alarm: a stage cannot run after the failure of several");
    noted(&notes, "sweep: it runs only after success");

    let (cloud_build, notes) = carried(AFTERWARDS, Dialect::CloudBuild);
    assert!(!cloud_build.contains("./alarm"), "{cloud_build}");
    assert!(cloud_build.contains("./sweep"), "{cloud_build}");
    noted(&notes, "alarm: it is left out");
    noted(&notes, "sweep: it runs only after success");

    let (github, _) = carried(AFTERWARDS, Dialect::Github);
    assert!(
        github.contains("if: failure() && (needs.a.result == 'failure' || needs.b.result == 'failure')"),
        "{github}"
    );
    assert!(github.contains("if: always()"), "{github}");
    let (azure, _) = carried(AFTERWARDS, Dialect::Azure);
    assert!(azure.contains("condition: failed()"), "{azure}");
}

#[test]
fn what_undoes_one_failure_stands_with_it_and_has_its_own_variables_and_secrets() {
    let text = "stages: [deploy]
ship: {stage: deploy, image: 'debian:12.11', variables: {TO: prod}, script: [./ship]}
back: {stage: deploy, image: 'debian:12.11', needs: [ship], when: on_failure, variables: {TO: prod, WHY: \"it's bad\"}, script: [./back]}
";
    let (cloud_build, _) = carried(text, Dialect::CloudBuild);
    let after = cloud_build
        .split("if [ \"$status\" -ne 0 ]; then")
        .nth(1)
        .unwrap();
    assert!(after.contains(r"export WHY='it'\''s bad'"), "{cloud_build}");
    assert!(!after.contains("export TO"), "{cloud_build}");
    assert!(after.contains("./back"), "{cloud_build}");
    let (jenkins, _) = carried(text, Dialect::Jenkins);
    let after = jenkins.split("failure {").nth(1).unwrap();
    assert!(
        after.contains(r"'WHY=it\'s bad'") && after.contains("./back"),
        "{jenkins}"
    );
}

#[test]
fn steps_of_cloud_build_stand_behind_what_they_wait_for() {
    let text = "stages: [one, two]
late: {stage: two, image: 'debian:12.11', needs: [early], script: [./late]}
early: {stage: one, image: 'debian:12.11', script: [./early]}
";
    let (cloud_build, _) = carried(text, Dialect::CloudBuild);
    let place = |word: &str| cloud_build.find(word).unwrap();
    assert!(place("./early") < place("./late"), "{cloud_build}");
    // They share one folder, so none runs beside another.
    assert!(!cloud_build.contains("waitFor"), "{cloud_build}");
}

#[test]
fn who_installs_packages_in_a_container_of_jenkins_is_root_and_others_have_a_home() {
    let text = "tools: {image: 'alpine:3.22', script: [apk add make, make]}
plain: {image: 'node:22.18.0', script: [npm ci]}
";
    let (jenkins, notes) = carried(text, Dialect::Jenkins);
    let (tools, plain) = jenkins.split_once("stage('plain')").unwrap();
    assert!(
        tools.contains("args '--user 0'") && !tools.contains("HOME ="),
        "{jenkins}"
    );
    assert!(
        plain.contains("HOME = \"${env.WORKSPACE_TMP}\"") && !plain.contains("args"),
        "{jenkins}"
    );
    noted(&notes, "tools: it installs packages");
    let again = convert(&jenkins, Dialect::Jenkins, Dialect::Gitlab).unwrap();
    assert!(!again.files[0].text.contains("HOME"), "{}", again.files[0].text);
}

#[test]
fn a_step_of_azure_that_is_tried_again_after_any_failure_is_no_retry_of_a_machines() {
    let azure = "steps: [{bash: make test, retryCountOnTaskFailure: 3}]\n";
    let converted = convert(azure, Dialect::Azure, Dialect::Gitlab).unwrap();
    assert!(
        !converted.files[0].text.contains("retry"),
        "{}",
        converted.files[0].text
    );
    assert!(
        converted
            .notes
            .iter()
            .any(|note| note.what.contains("tried again"))
    );
    let gitlab = "test: {script: [make test], retry: 2}\n";
    let (azure, notes) = carried(gitlab, Dialect::Azure);
    assert!(!azure.contains("retry"), "{azure}");
    noted(&notes, "all: there is no retry of a job");
}

#[test]
fn a_registrys_password_is_a_secret_where_the_system_does_not_tell_it() {
    let text = "push: {image: 'docker:28.3.3-cli', script: ['printf %s \"$CI_REGISTRY_PASSWORD\" | docker login \
                $CI_REGISTRY']}\n";
    for (to, secret) in [
        (Dialect::Azure, "CI_REGISTRY_PASSWORD: $(CI_REGISTRY_PASSWORD)"),
        (
            Dialect::Jenkins,
            "CI_REGISTRY_PASSWORD = credentials('CI_REGISTRY_PASSWORD')",
        ),
        (Dialect::CloudBuild, "env: CI_REGISTRY_PASSWORD"),
        (Dialect::Github, "CI_REGISTRY_PASSWORD: ${{ github.token }}"),
    ] {
        let (new, _) = carried(text, to);
        assert!(new.contains(secret), "{}", new);
        // And the way back.
        let file = convert(&new, to, Dialect::Gitlab).unwrap().files.remove(0);
        assert!(!file.text.contains("variables:"), "{}", file.text);
    }
    let (cloud_build, _) = carried(text, Dialect::CloudBuild);
    assert!(
        cloud_build.contains("CI_REGISTRY=${_CI_REGISTRY}"),
        "{cloud_build}"
    );
}
