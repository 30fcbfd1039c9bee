//! A pipeline that is written and read again is the same, where the dialect has words for all of it.

use ci::Dialect;
use ci::condition::{Condition, Is};
use ci::model::{Artifacts, Branches, Cache, Environment, Job, Pipeline, Reports, Triggers, When};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{2,7}".prop_map(|name| format!("j{name}"))
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("make test".to_owned()),
        Just("echo \"it's: $HOME\" # x".to_owned()),
        Just("if true; then\n  echo a\nfi".to_owned()),
        Just("grep -E '^\\s+\"a\\\\b\"' f | sed 's/x/y/'".to_owned()),
        "[a-z]{1,8} [a-z0-9./-]{0,12}".prop_map(|text| text.trim().to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        Just(Condition::MergeRequest),
        Just(Condition::DefaultBranch),
        Just(Condition::Tag),
        Just(Condition::Branch),
        "[a-z]{1,6}".prop_map(Condition::BranchNamed),
        "[a-z]{1,4}".prop_map(|value| Condition::Variable {
            name: "MODE".to_owned(),
            is: Is::Equal(value)
        }),
    ];
    prop_oneof![
        leaf.clone(),
        leaf.clone().prop_map(|one| match one {
            // A variable that does not equal has a word of its own.
            Condition::Variable { .. } => one,
            other => other.negated(),
        }),
        (leaf.clone(), leaf.clone()).prop_map(|(a, b)| Condition::All(vec![a, b])),
        (leaf.clone(), leaf).prop_map(|(a, b)| Condition::Any(vec![a, b])),
    ]
}

prop_compose! {
    fn job()(
        script in prop::collection::vec(line(), 1..4),
        after in prop::collection::vec(Just("rm -rf tmp".to_owned()), 0..2),
        run_if in prop::option::of(condition()),
        always in any::<bool>(),
        paths in prop::option::of(prop::collection::vec("[a-z]{1,5}/", 1..3)),
        timeout_minutes in prop::option::of(1_u32..500),
        allow_failure in any::<bool>(),
        cached in any::<bool>(),
        environment in prop::option::of("[a-z]{1,6}"),
        junit in any::<bool>(),
    ) -> Job {
        Job {
            script, after, run_if,
            when: if always { When::Always } else { When::Success },
            artifacts: paths.map(|paths| Artifacts { paths, days: Some(3), always: false }),
            timeout_minutes, allow_failure,
            caches: if cached {
                vec![Cache { name: "deps".to_owned(), files: vec!["a.lock".to_owned()], paths: vec![".cache/x".to_owned()] }]
            } else {
                Vec::new()
            },
            environment: environment.map(|name| Environment { name, url: None }),
            reports: Reports {
                junit: if junit { vec!["out/junit.xml".to_owned()] } else { Vec::new() },
                ..Reports::default()
            },
            variables: vec![("A".to_owned(), "1".to_owned())],
            ..Job::default()
        }
    }
}

prop_compose! {
    fn pipeline()(
        jobs in prop::collection::btree_map(name(), job(), 1..5),
        merge_requests in any::<bool>(),
        chained in any::<bool>(),
    ) -> Pipeline {
        let mut out = Pipeline {
            name: "round".to_owned(),
            stages: vec!["one".to_owned(), "two".to_owned()],
            on: Triggers { push: Some(Branches::Default), merge_requests, tags: true, ..Triggers::default() },
            variables: vec![("GLOBAL".to_owned(), "x: y".to_owned())],
            ..Pipeline::default()
        };
        let mut before: Vec<String> = Vec::new();
        for (id, mut job) in jobs {
            job.stage = if before.is_empty() { "one" } else { "two" }.to_owned();
            job.needs = Some(if chained { before.clone() } else { Vec::new() });
            job.id = id.clone();
            before.push(id);
            out.jobs.push(job);
        }
        out
    }
}

/// Without the places in the file.
fn bare(mut pipeline: Pipeline) -> Pipeline {
    pipeline.jobs.iter_mut().for_each(|job| job.line = None);
    pipeline
}

/// What a dialect has no word for, or another shape of the same, taken out on both sides.
fn comparable(mut pipeline: Pipeline) -> Pipeline {
    pipeline = bare(pipeline);
    pipeline.stages.clear();
    for job in &mut pipeline.jobs {
        job.stage.clear();
        job.script = vec![job.script.join("\n")];
        job.permissions.clear();
    }
    pipeline
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn through_gitlab(pipeline in pipeline()) {
        let written = Dialect::Gitlab.write(&pipeline);
        let read = Dialect::Gitlab.read(&written.files[0].text).unwrap();
        prop_assert_eq!(bare(read.pipeline), pipeline, "{}", written.files[0].text);
    }

    #[test]
    fn through_github(pipeline in pipeline()) {
        let written = Dialect::Github.write(&pipeline);
        let read = Dialect::Github.read(&written.files[0].text).unwrap();
        prop_assert_eq!(comparable(read.pipeline), comparable(pipeline), "{}", written.files[0].text);
    }
}
