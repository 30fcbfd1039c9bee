//! Generated pipelines are really run, by gitlab-ci-local and by act: green when the repository is, and red at the
//! right job when it is not. And they are valid by the systems' own schemas and linters.

mod peers;
mod samples;
mod valid;

use std::fs;
use std::path::Path;
use std::process::Command;

use ci::tree::Listing;
use ci::{Dialect, Options, generate};
use peers::{Ended, github, gitlab, run, stand_ins};
use samples::Sample;

/// The sample as a repository with its pipelines in it.
fn repository(folder: &Path, sample: &Sample, broken: bool) {
    let mut files: Vec<(&str, &str)> = sample.files.to_vec();
    if broken {
        let (path, text) = sample.broken;
        let file = files
            .iter_mut()
            .find(|(known, _)| *known == path)
            .expect("a file of the sample");
        file.1 = text;
    }
    for (path, text) in &files {
        put(folder, path, text);
    }
    let generated = generate(&Listing::of(&files), &Options::default()).unwrap();
    for dialect in [Dialect::Gitlab, Dialect::Github] {
        for file in dialect.write(&generated.pipeline).files {
            put(folder, &file.path, &file.text);
        }
    }
    for args in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &[
            "remote",
            "add",
            "origin",
            "https://gitlab.example.com/group/sample.git",
        ],
        &["add", "--all"],
        &[
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "commit",
            "--quiet",
            "--message",
            "all",
        ],
    ] {
        let (out, said) = run(Command::new("git").args(args).current_dir(folder));
        assert!(out.status.success(), "git {args:?}: {said}");
    }
}

fn put(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn expect(ended: &Ended, sample: &Sample, broken: bool, system: &str, said: &str) {
    let red: Vec<_> = ended
        .iter()
        .filter(|(_, green)| !**green)
        .map(|(job, _)| job.as_str())
        .collect();
    let name = sample.name;
    if broken {
        assert_eq!(red, [sample.red], "{name} on {system}: {ended:?}\n{said}");
        for job in sample.green_beside {
            assert_eq!(
                ended.get(*job),
                Some(&true),
                "{name} on {system}: {job} of {ended:?}\n{said}"
            );
        }
        // Nothing is deployed of what failed.
        let deployed = ended.contains_key("deploy_dev") && !sample.red.starts_with("deploy");
        assert!(!deployed, "{name} on {system} was deployed: {said}");
    } else {
        assert_eq!(red, [""; 0], "{name} on {system}: {ended:?}\n{said}");
        for job in ["security_scan", "deploy_dev", "deploy_prod"] {
            assert_eq!(
                ended.get(job),
                Some(&true),
                "{name} on {system}: {job} of {ended:?}\n{said}"
            );
        }
        assert!(
            !ended.contains_key("rollback_prod"),
            "{name} on {system} was rolled back: {said}"
        );
    }
}

fn runs(sample: &Sample) {
    for broken in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (here, artifacts) = (folder.path().join("repository"), folder.path().join("artifacts"));
        fs::create_dir_all(&here).unwrap();
        repository(&here, sample, broken);
        let path = stand_ins(folder.path());
        // act first: it copies the folder, and the other one leaves its state there.
        let (ended, said) = github(&here, &path, &artifacts);
        expect(&ended, sample, broken, "act", &said);
        if let Some(junit) = sample.junit {
            let report = fs::read_to_string(artifacts.join(junit))
                .unwrap_or_else(|error| panic!("{junit}: {error}\n{said}"));
            let failed = report.contains("<failure");
            assert_eq!(failed, broken, "{}: {report}", sample.name);
        }
        let (ended, said) = gitlab(&here, &path);
        expect(&ended, sample, broken, "gitlab-ci-local", &said);
    }
}

#[test]
fn python_with_pytest() {
    runs(&samples::PYTEST);
}

#[test]
fn python_with_unittest() {
    runs(&samples::UNITTEST);
}

#[test]
fn node() {
    runs(&samples::NODE);
}

#[test]
fn rust() {
    runs(&samples::RUST);
}

#[test]
fn c_with_make() {
    runs(&samples::MAKE);
}

#[test]
fn perl_with_make() {
    runs(&samples::PERL);
}

#[test]
fn a_monorepo_of_three_languages() {
    runs(&samples::MONOREPO);
}

#[test]
fn a_deployment_that_fails_is_rolled_back() {
    runs(&samples::ROLLED_BACK);
}

#[test]
fn a_key_in_a_file_stops_it_before_anything_is_deployed() {
    runs(&samples::LEAKED);
}
