//! How often the defaults err: canaries made from seeds go through their steps until they are promoted, aborted or shown to a person.
//!
//! `cargo test -p longshore-deploy --test canaries -- --nocapture` prints the tables of docs/judging.md.

mod generate;

use std::collections::BTreeMap;

use deploy::judge::{Analysis, Decision, Judgement, Window, judge, wilson};
use generate::{Course, Ill, PLAIN, Service};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Promoted,
    Aborted,
    Asked,
}

struct Run {
    ill: Ill,
    end: End,
    /// Intervals for each side that the decision rested on.
    points: f64,
    windows: usize,
}

fn run(analysis: &Analysis, service: Service, ill: Ill, rng: &mut ChaCha8Rng) -> Run {
    let mut course = Course::new(service, ill, rng);
    let mut windows: Vec<Window> = Vec::new();
    let mut step = 0;
    loop {
        windows.push(course.window(step));
        let last = step + 1 == service.steps;
        let Judgement {
            decision, findings, ..
        } = judge(analysis, &windows, last);
        let end = match decision {
            Decision::Extend => continue,
            Decision::Proceed if !last => {
                step += 1;
                continue;
            }
            Decision::Proceed => End::Promoted,
            Decision::Abort => End::Aborted,
            Decision::AskPerson => End::Asked,
        };
        let points = findings
            .iter()
            .map(|f| f.evidence.points.canary)
            .fold(f64::INFINITY, f64::min);
        return Run {
            ill,
            end,
            points,
            windows: windows.len(),
        };
    }
}

/// Half A/A, the other half bad in one of the ways.
fn set(analysis: &Analysis, service: Service, seed: u64, count: usize) -> Vec<Run> {
    const WAYS: [Ill; 5] = [
        Ill::Errors,
        Ill::Latency,
        Ill::Tail,
        Ill::SlowErrors,
        Ill::SlowLatency,
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|i| {
            let ill = if i % 2 == 0 {
                Ill::Nothing
            } else {
                WAYS[(i / 2) % WAYS.len()]
            };
            run(analysis, service, ill, &mut rng)
        })
        .collect()
}

fn count(runs: &[Run], ill: impl Fn(Ill) -> bool, end: End) -> (usize, usize) {
    let of: Vec<_> = runs.iter().filter(|r| ill(r.ill)).collect();
    (of.iter().filter(|r| r.end == end).count(), of.len())
}

fn share((n, of): (usize, usize)) -> String {
    let (low, high) = wilson(n as f64 / of as f64, of as f64, 1.96);
    format!(
        "{n}/{of} ({:.1} %: {:.1} to {:.1})",
        100.0 * n as f64 / of as f64,
        100.0 * low,
        100.0 * high
    )
}

fn good(ill: Ill) -> bool {
    ill == Ill::Nothing
}

fn bad(ill: Ill) -> bool {
    ill != Ill::Nothing
}

#[test]
fn explore() {
    let analysis = Analysis::default();
    let services = [
        PLAIN,
        Service {
            name: "50 requests a point",
            requests: (50.0, 50.0),
            ..PLAIN
        },
        Service {
            name: "20..500 a point",
            requests: (20.0, 500.0),
            ..PLAIN
        },
        Service {
            name: "sigma 1",
            sigma: 1.0,
            ..PLAIN
        },
        Service {
            name: "sigma 0.25",
            sigma: 0.25,
            ..PLAIN
        },
        Service {
            name: "no counts",
            counts_known: false,
            ..PLAIN
        },
        Service {
            name: "wave",
            wave: 0.7,
            ..PLAIN
        },
        Service {
            name: "autocorr .5/.1",
            noise: (0.1, 0.5),
            ..PLAIN
        },
        Service {
            name: "autocorr .8/.1",
            noise: (0.1, 0.8),
            ..PLAIN
        },
        Service {
            name: "autocorr .8/.2",
            noise: (0.2, 0.8),
            ..PLAIN
        },
        Service {
            name: "ar.8/.1 nocount",
            noise: (0.1, 0.8),
            counts_known: false,
            ..PLAIN
        },
        Service {
            name: "gaps, spikes",
            gaps: 0.1,
            spikes: 0.05,
            ..PLAIN
        },
        Service {
            name: "baseline x9",
            baseline_share: 9.0,
            ..PLAIN
        },
        Service {
            name: "one window of 60",
            points: 60,
            steps: 1,
            ..PLAIN
        },
        Service {
            name: "20 windows of 20",
            points: 20,
            steps: 20,
            ..PLAIN
        },
        Service {
            name: "low traffic",
            requests: (2.0, 20.0),
            ..PLAIN
        },
        Service {
            name: "low 5x5 points",
            points: 5,
            ..PLAIN
        },
    ];
    for service in services {
        let mut runs = Vec::new();
        for seed in 1..=3 {
            runs.extend(set(&analysis, service, seed, 600));
        }
        let mut ways: BTreeMap<Ill, [usize; 3]> = BTreeMap::new();
        for r in &runs {
            ways.entry(r.ill).or_default()[r.end as usize] += 1;
        }
        let w = runs.iter().map(|r| r.windows).sum::<usize>() as f64 / runs.len() as f64;
        let p = runs.iter().map(|r| r.points).sum::<f64>() / runs.len() as f64;
        println!(
            "{:20} abort {:32} promo {:32} w {w:.1} p {p:.0} {ways:?}",
            service.name,
            share(count(&runs, good, End::Aborted)),
            share(count(&runs, bad, End::Promoted)),
        );
    }
}

#[test]
fn diagnose() {
    let analysis = Analysis::default();
    for service in [
        Service { name: "autocorr .8/.1", noise: (0.1, 0.8), ..PLAIN },
        Service { name: "autocorr .8/.2", noise: (0.2, 0.8), ..PLAIN },
    ] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut why: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..2000 {
            let mut course = Course::new(service, Ill::Nothing, &mut rng);
            let mut windows: Vec<Window> = Vec::new();
            let mut step = 0;
            loop {
                windows.push(course.window(step));
                let last = step + 1 == service.steps;
                let j = judge(&analysis, &windows, last);
                match j.decision {
                    Decision::Extend => continue,
                    Decision::Proceed if !last => { step += 1; continue; }
                    Decision::Abort => { *why.entry(format!("look {} growing {} {}", j.look, j.why.contains("growing"), &j.why[..5])).or_default() += 1; }
                    _ => {}
                }
                break;
            }
        }
        println!("{} {why:#?}", service.name);
    }
}
