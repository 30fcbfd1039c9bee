//! The scenes: each deploys to the same site, while the same clients go on asking.

use serde_json::{Value, json};

use crate::load::{Load, Tally, Version, now};
use crate::site::{Manners, Site};

/// From a failed judgement, or the claim of a rollback, to the last answer of the version that went. What was under way
/// then is within it.
const BACK_WITHIN_S: f64 = 10.0;

/// Of all switches together.
const REQUESTS: usize = 50_000;

/// Columns of HAProxy's statistics: errors that it answered or handed on, connections to servers that it could not make,
/// answers that it could not make sense of, requests that it sent again, and to another server.
const COUNTED: [&str; 5] = [ERRORS, "econ", "eresp", "wretr", "wredis"];
const ERRORS: &str = "hrsp_5xx";

/// Clients who keep their connections, and clients who make a new one each time. They make some 1100 requests a second; a
/// machine that has time for a third of that still gives the judge a hundred of the candidate's for each of its points.
const KEPT: usize = 112;
const FRESH: usize = 16;

const VERSIONS: [Manners; 7] = [
    GOOD,
    GOOD,
    Manners {
        error_every: 20,
        ..GOOD
    },
    Manners {
        slower_ms: 200,
        ..GOOD
    },
    GOOD,
    GOOD,
    GOOD,
];

const GOOD: Manners = Manners {
    error_every: 0,
    slower_ms: 0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_versions_are_promoted_and_bad_ones_taken_back_and_nobody_loses_a_request() {
    let site = Site::start(&VERSIONS).await;
    let first = site.deploy(1, json!("rolling")).await;
    site.first_answer().await;
    let before = COUNTED.map(|what| site.counted(what));
    let mut load = Load::begin(site.port(), KEPT, FRESH);
    let begun = now();
    let scene = |title, version, task| Scene {
        site: &site,
        load: &load,
        title,
        version,
        task,
        begun: now(),
    };
    scene("A first deployment", 1, first).ends("succeeded", 1).await;

    let task = site.deploy(2, json!("canary")).await;
    let seen = scene("A good canary", 2, task).ends("succeeded", 2).await;
    assert!(seen.both(1, 2), "{:?}", seen.answers);

    for (version, title, metric) in [
        (
            3,
            "A canary that answers one request in twenty with an error",
            "error_rate",
        ),
        (4, "A canary that is 200 ms slower", "latency_p95"),
    ] {
        let task = site.deploy(version, json!("canary")).await;
        let seen = scene(title, version, task.clone()).ends("rolled_back", 2).await;
        let (failed, why) = site.judged(&task).await;
        assert!(why.starts_with(&format!("{metric}: ")), "{why}");
        back_in_time("the failed judgement", failed, &seen, version);
    }

    let task = site
        .deploy(5, json!({ "name": "blue_green", "keep_warm": "10m" }))
        .await;
    let switched = scene("A blue-green that a person rolls back", 5, task);
    site.until("everybody gets v5", async || {
        let seen = load.next(100).await;
        seen.of(5).0 == seen.all
    })
    .await;
    let reason = json!({ "reason": "the colours are wrong" });
    let rollback = site.ask("rollback", reason).await;
    let went_back = scene("The rollback of it", 5, rollback.clone());
    let seen = went_back.ends("rolled_back", 2).await;
    back_in_time(
        "the claim of the rollback",
        site.claimed(&rollback).await,
        &seen,
        5,
    );
    switched.ends("cancelled", 2).await;

    let task = site
        .deploy(6, json!({ "name": "blue_green", "keep_warm": "5s" }))
        .await;
    scene("A good blue-green", 6, task).ends("succeeded", 6).await;

    // A machine that has little time for the clients has more deployments instead.
    for version in [7, 6].into_iter().cycle() {
        let task = site.deploy(version, json!("rolling")).await;
        let title = "A rolling deployment";
        scene(title, version, task).ends("succeeded", version).await;
        if load.since(begun).all >= REQUESTS {
            break;
        }
    }

    load.end().await;
    let all = load.since(begun);
    println!("\nAll in all, {:.0} s\n{}", now() - begun, told(&all, None));
    // What clients saw is what HAProxy counted, which would send a request again before it says that one failed.
    let errors: usize = all.answers.values().map(|(_, bad)| bad).sum();
    for (what, before) in COUNTED.into_iter().zip(before) {
        let expected = if what == ERRORS { errors as u64 } else { 0 };
        assert_eq!(site.counted(what) - before, expected, "{what}");
    }
    assert!(all.all >= REQUESTS, "{}", all.all);
}

/// One deployment and what clients see of it.
struct Scene<'a> {
    site: &'a Site,
    load: &'a Load,
    title: &'static str,
    version: Version,
    task: String,
    begun: f64,
}

impl Scene<'_> {
    /// It came to that verdict; nobody lost a request by it, nor got an error but of the version that has them; and
    /// everybody gets that version now.
    async fn ends(self, verdict: &str, serves: Version) -> Tally {
        let result = self.site.ended(&self.task).await;
        let took = now() - self.begun;
        let after = self.load.next(300).await;
        let seen = self.load.since(self.begun);
        println!("\n{}: {} in {took:.1} s", self.title, result["verdict"]);
        println!(
            "  {}\n{}",
            result["summary"].as_str().unwrap_or_default(),
            judgements(&result)
        );
        let went = (self.version != serves).then_some(self.version);
        println!("{}", told(&seen, went));
        assert_eq!(result["verdict"], verdict, "{result:#}\n{}", self.site.said());
        assert_eq!(seen.lost, [""; 0]);
        for (version, (_, bad)) in &seen.answers {
            let errs = VERSIONS[usize::from(*version) - 1].error_every > 0;
            assert!(errs == (*bad > 0), "v{version}: {:?}", seen.answers);
        }
        let served: Vec<_> = after.answers.keys().collect();
        assert_eq!(served, [&serves]);
        seen
    }
}

/// Since `what`, at that time, the version that went answers nobody.
fn back_in_time(what: &str, at: f64, seen: &Tally, went: Version) {
    let back = seen.last.get(&went).expect("it was reached") - at;
    println!("  back       {back:.2} s after {what} v{went} answered for the last time");
    assert!(back < BACK_WITHIN_S, "{back} s");
}

/// What the task's report says of them.
fn judgements(result: &Value) -> String {
    let evidence = result["evidence"].as_array().into_iter().flatten();
    let mut judgements = evidence.filter(|evidence| evidence["title"] == "Judgements");
    let text = judgements.next().and_then(|evidence| evidence["text"].as_str());
    let lines = text
        .unwrap_or_default()
        .lines()
        .map(|line| format!("    {line}\n"));
    lines.collect::<String>().trim_end().to_owned()
}

/// `went` is the version that did not stay.
fn told(seen: &Tally, went: Option<Version>) -> String {
    let answers: Vec<String> = seen
        .answers
        .iter()
        .map(|(version, (well, bad))| format!("v{version} {well} well and {bad} with its own errors"))
        .collect();
    let mut text = format!(
        "  requests   {}: {}; {} lost; the longest took {:.2} s",
        seen.all,
        answers.join(", "),
        seen.lost.len(),
        seen.longest
    );
    if let Some(went) = went {
        let (share, most) = (seen.share(went), seen.most(went));
        text += &format!("\n  exposed    {share:.1} % reached v{went}, {most:.1} % in the second with most");
    }
    text
}
