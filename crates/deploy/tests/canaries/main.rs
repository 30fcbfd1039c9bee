//! How often the defaults err: canaries made from seeds go through their steps until they are promoted, aborted or shown to a
//! person.
//!
//! `cargo test -p longshore-deploy --test canaries -- --nocapture` prints the tables of docs/judging.md.

mod generate;

use deploy::judge::{Analysis, Check, Decision, Direction, Judgement, Ranks, Window, judge, wilson};
use generate::{Bursts, Course, Ill, PLAIN, Service, quantile_of};
use rand::{Rng, SeedableRng};
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

const WAYS: [Ill; 5] = [
    Ill::Errors,
    Ill::Latency,
    Ill::Tail,
    Ill::SlowErrors,
    Ill::SlowLatency,
];

/// A set: half A/A, the other half bad in one of the ways.
fn set(service: Service, seed: u64, canaries: usize) -> Vec<Run> {
    judged_by(&Analysis::default(), service, seed, canaries)
}

fn judged_by(analysis: &Analysis, service: Service, seed: u64, canaries: usize) -> Vec<Run> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..canaries)
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

/// How many canaries, good or bad, came to an end.
#[derive(Clone, Copy, Default)]
struct Count {
    n: usize,
    of: usize,
}

impl Count {
    fn of<'a>(runs: impl Iterator<Item = &'a Run>, good: bool, end: End) -> Self {
        let ours = runs.filter(|r| (r.ill == Ill::Nothing) == good);
        ours.fold(Self::default(), |c, r| Self {
            n: c.n + usize::from(r.end == end),
            of: c.of + 1,
        })
    }

    fn rate(self) -> f64 {
        self.n as f64 / self.of.max(1) as f64
    }
}

/// With the 95 % interval of Wilson.
impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.of == 0 {
            return f.pad("none");
        }
        let (low, high) = wilson(self.rate(), self.of as f64, 1.959964);
        f.pad(&format!(
            "{}/{} ({:.1} to {:.1} %)",
            self.n,
            self.of,
            100.0 * low,
            100.0 * high
        ))
    }
}

const HEADER: &str =
    "| service, seed | good aborted | bad promoted | good promoted | bad aborted | windows |";

fn row(name: &str, runs: &[&Run]) -> String {
    let count = |good, end| Count::of(runs.iter().copied(), good, end);
    let windows = runs.iter().map(|r| r.windows).sum::<usize>() as f64 / runs.len().max(1) as f64;
    format!(
        "| {name} | {} | {} | {} | {} | {windows:.1} |",
        count(true, End::Aborted),
        count(false, End::Promoted),
        count(true, End::Promoted),
        count(false, End::Aborted),
    )
}

/// Held for a whole set, whatever its runs' decisions rested on.
fn holds(name: &str, runs: &[Run], most: f64) {
    let count = |good, end| Count::of(runs.iter(), good, end);
    let (aborted, promoted) = (count(true, End::Aborted), count(false, End::Promoted));
    assert!(aborted.rate() < most, "{name}: good canaries aborted: {aborted}");
    assert!(
        promoted.rate() < most,
        "{name}: bad canaries promoted: {promoted}"
    );
}

/// What a week may bring: half of all canaries A/A, the others bad in any way; of all a seventh with little traffic, and a
/// seventh that the metrics store knows nothing of.
#[test]
fn a_mixed_set_is_told_by_what_its_decisions_rest_on() {
    let few = Service {
        requests: (5.0, 50.0),
        points: 6,
        ..PLAIN
    };
    let silent = Service { gaps: 1.0, ..PLAIN };
    println!("{HEADER}\n|---|---|---|---|---|---|");
    for seed in [81, 82, 83] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut by_service: [Vec<Run>; 3] = Default::default();
        for i in 0..700 {
            let ill = if i % 2 == 0 {
                Ill::Nothing
            } else {
                WAYS[rng.random_range(0..WAYS.len())]
            };
            let which = rng.random_range(0..7_usize).saturating_sub(4);
            let service = [PLAIN, few, silent][which];
            by_service[which].push(run(&Analysis::default(), service, ill, &mut rng));
        }
        let names = ["60 points", "30 points of 5 to 50 requests", "no data"];
        for (name, runs) in names.into_iter().zip(&by_service) {
            println!(
                "{}",
                row(
                    &format!("mixed, {name}, seed {seed}"),
                    &runs.iter().collect::<Vec<_>>()
                )
            );
        }
        let [many, few, silent] = by_service;
        holds("60 points", &many, 0.02);
        holds("30 points", &few, 0.05);
        assert!(
            silent.iter().all(|r| r.end == End::Asked),
            "without data nothing is decided"
        );
    }
}

/// The set of the promise: 600 canaries of 60 points a side, half of them A/A.
#[test]
fn defaults_err_in_fewer_than_two_of_a_hundred() {
    println!("{HEADER}\n|---|---|---|---|---|---|");
    for seed in [1, 2, 3, 2026, 51966] {
        let runs = set(PLAIN, seed, 600);
        let name = format!("{}, seed {seed}", PLAIN.name);
        println!("{}", row(&name, &runs.iter().collect::<Vec<_>>()));
        holds(&name, &runs, 0.02);
        let (good, bad) = (
            Count::of(runs.iter(), true, End::Promoted),
            Count::of(runs.iter(), false, End::Aborted),
        );
        assert!(
            good.rate() > 0.98 && bad.rate() > 0.95,
            "{name}: promoted {good}, aborted {bad}"
        );
    }
}

fn each_errs_as_seldom(services: &[Service]) {
    println!("{HEADER}\n|---|---|---|---|---|---|");
    for &service in services {
        let runs: Vec<Run> = [11]
            .into_iter()
            .flat_map(|seed| set(service, seed, 500))
            .collect();
        println!("{}", row(service.name, &runs.iter().collect::<Vec<_>>()));
        holds(service.name, &runs, 0.02);
    }
}

/// Other traffic and other noise than the defaults were made with.
#[test]
fn other_services_err_as_seldom() {
    each_errs_as_seldom(&[
        Service {
            name: "20 to 500 requests a point",
            requests: (20.0, 500.0),
            ..PLAIN
        },
        Service {
            name: "50 requests a point",
            requests: (50.0, 50.0),
            ..PLAIN
        },
        Service {
            name: "5000 requests a point",
            requests: (5000.0, 5000.0),
            ..PLAIN
        },
        Service {
            name: "latency sigma 0.25",
            sigma: 0.25,
            ..PLAIN
        },
        Service {
            name: "latency sigma 1",
            sigma: 1.0,
            ..PLAIN
        },
        Service {
            name: "counts not known",
            counts_known: false,
            ..PLAIN
        },
        Service {
            name: "a day's wave on both sides",
            wave: 0.7,
            ..PLAIN
        },
        Service {
            name: "noise of 10 %, correlation 0.3",
            noise: (0.1, 0.3),
            ..PLAIN
        },
        Service {
            name: "noise of 10 %, correlation 0.5",
            noise: (0.1, 0.5),
            ..PLAIN
        },
    ]);
}

/// Other measuring, and other courses.
#[test]
fn other_courses_err_as_seldom() {
    each_errs_as_seldom(&[
        Service {
            name: "a tenth missing, a twentieth spikes",
            gaps: 0.1,
            spikes: 0.05,
            ..PLAIN
        },
        Service {
            name: "baseline nine times the canary",
            baseline_share: 9.0,
            ..PLAIN
        },
        Service {
            name: "traffic shifts from 10 to 74 %, wave",
            shifts: true,
            wave: 0.7,
            ..PLAIN
        },
        Service {
            name: "10 windows of 6 points",
            points: 6,
            steps: 10,
            ..PLAIN
        },
        Service {
            name: "3 windows of 20 points",
            points: 20,
            steps: 3,
            ..PLAIN
        },
        Service {
            name: "one window of 60 points",
            points: 60,
            steps: 1,
            ..PLAIN
        },
        Service {
            name: "one window of 50 points",
            points: 50,
            steps: 1,
            ..PLAIN
        },
        Service {
            name: "20 windows of 20 points",
            points: 20,
            steps: 20,
            ..PLAIN
        },
    ]);
}

/// Tails far heavier than lognormal ones, errors in bursts, a canary with a small share of little traffic, and all at once.
#[test]
fn harder_services_err_as_seldom() {
    let bursts = |chance, times, shared| {
        Some(Bursts {
            chance,
            times,
            shared,
        })
    };
    let small = Service {
        baseline_share: 9.0,
        requests: (20.0, 60.0),
        ..PLAIN
    };
    each_errs_as_seldom(&[
        Service {
            name: "latency as a power of 2.5",
            power: Some(2.5),
            ..PLAIN
        },
        Service {
            name: "latency as a power of 1.2",
            power: Some(1.2),
            ..PLAIN
        },
        Service {
            name: "bursts of errors on both sides at once",
            bursts: bursts(0.05, 10.0, true),
            ..PLAIN
        },
        Service {
            name: "bursts of errors on each side alone",
            bursts: bursts(0.05, 10.0, false),
            ..PLAIN
        },
        Service {
            name: "20 to 60 requests beside nine times as many",
            ..small
        },
        Service {
            name: "of these a wave, noise 10 % (0.3), power 2.5, shared bursts",
            wave: 0.7,
            noise: (0.1, 0.3),
            power: Some(2.5),
            bursts: bursts(0.05, 10.0, true),
            ..small
        },
        Service {
            name: "a wave, noise 10 % (0.5), gaps, spikes, bursts alone",
            wave: 0.7,
            noise: (0.1, 0.5),
            gaps: 0.1,
            spikes: 0.05,
            bursts: bursts(0.03, 5.0, false),
            baseline_share: 9.0,
            ..PLAIN
        },
        Service {
            name: "10 windows of 5 points, noise 10 % (0.5)",
            points: 5,
            steps: 10,
            noise: (0.1, 0.5),
            ..PLAIN
        },
    ]);
}

/// Why the Mann-Whitney test is not the default: it only ever says that two samples differ, by however little, and looks at each
/// point as if it stood for itself.
#[test]
fn ranks_alone_err_more_often() {
    let mut analysis = Analysis::default();
    for metric in &mut analysis.metrics {
        metric.check = Check::Ranks(Ranks {
            direction: Direction::Increase,
            ..Ranks::default()
        });
    }
    println!("{HEADER}\n|---|---|---|---|---|---|");
    let mut worse = 0;
    for service in [
        PLAIN,
        Service {
            name: "noise of 10 %, correlation 0.5",
            noise: (0.1, 0.5),
            ..PLAIN
        },
    ] {
        let ranks = judged_by(&analysis, service, 61, 500);
        println!(
            "{}",
            row(
                &format!("{}, by ranks", service.name),
                &ranks.iter().collect::<Vec<_>>()
            )
        );
        let ours = set(service, 61, 500);
        let wrong = |runs: &[Run]| {
            Count::of(runs.iter(), true, End::Aborted).n + Count::of(runs.iter(), false, End::Promoted).n
        };
        worse += usize::from(wrong(&ranks) > wrong(&ours) + 5);
    }
    assert_eq!(worse, 2, "if ranks alone did as well, they should be the default");
}

/// Where each side wanders by itself for minutes, no statistic knows a wander from an effect; the share that errs is bounded all
/// the same.
#[test]
fn wandering_services_err_seldom_enough_to_say_so() {
    println!("{HEADER}\n|---|---|---|---|---|---|");
    for noise in [(0.1, 0.8), (0.2, 0.8)] {
        let service = Service {
            name: "wander",
            noise,
            ..PLAIN
        };
        let runs: Vec<Run> = [21, 22]
            .into_iter()
            .flat_map(|seed| set(service, seed, 500))
            .collect();
        let name = format!("noise of {:.0} %, correlation {}", noise.0 * 100.0, noise.1);
        let (many, few): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|r| r.points >= 50.0);
        println!("{}", row(&name, &runs.iter().collect::<Vec<_>>()));
        println!("{}", row(&format!("{name}: decided on 50 points or more"), &many));
        println!("{}", row(&format!("{name}: decided on fewer"), &few));
        holds(&name, &runs, 0.08);
    }
}

/// With too few points or requests there is nothing to promise but that nothing is decided by accident.
#[test]
fn low_traffic_is_told_with_its_margins() {
    println!("{HEADER}\n|---|---|---|---|---|---|");
    let services = [
        Service {
            name: "25 points of 100 to 500 requests",
            points: 5,
            ..PLAIN
        },
        Service {
            name: "40 points of 20 to 100 requests",
            points: 8,
            requests: (20.0, 100.0),
            ..PLAIN
        },
        Service {
            name: "60 points of 2 to 20 requests",
            requests: (2.0, 20.0),
            ..PLAIN
        },
        Service {
            name: "60 points of 2 to 20, not counted",
            requests: (2.0, 20.0),
            counts_known: false,
            ..PLAIN
        },
    ];
    for service in services {
        let runs: Vec<Run> = [31, 32]
            .into_iter()
            .flat_map(|seed| set(service, seed, 500))
            .collect();
        println!("{}", row(service.name, &runs.iter().collect::<Vec<_>>()));
        holds(service.name, &runs, 0.03);
    }
}

/// What sets in with the last step has one window's evidence, of 12 points, against four.
#[test]
fn what_sets_in_with_the_last_step_is_not_promoted() {
    let analysis = Analysis::default();
    let mut rng = ChaCha8Rng::seed_from_u64(51);
    let runs: Vec<Run> = (0..300)
        .map(|_| run(&analysis, PLAIN, Ill::LateErrors, &mut rng))
        .collect();
    println!("{HEADER}\n|---|---|---|---|---|---|");
    println!(
        "{}",
        row("errors from the last step on", &runs.iter().collect::<Vec<_>>())
    );
    holds("late", &runs, 0.08);
}

#[test]
fn without_data_a_person_is_asked_every_time() {
    let silent = Service {
        name: "silent",
        gaps: 1.0,
        ..PLAIN
    };
    let runs = set(silent, 41, 100);
    assert!(
        runs.iter().all(|r| r.end == End::Asked && r.windows == 4),
        "the first step and three extensions"
    );
    let idle = Service {
        name: "idle",
        requests: (0.01, 0.01),
        ..PLAIN
    };
    assert!(set(idle, 42, 100).iter().all(|r| r.end == End::Asked));
}

/// How much too low the 95th percentile of few requests is on the average, for latencies of sigma 0.5: hence `min_requests`.
#[test]
fn quantiles_of_few_requests_lie_too_near_to_the_middle() {
    let mut rng = ChaCha8Rng::seed_from_u64(71);
    let truth = 0.5 * 1.644854;
    for (requests, too_low) in [(20.0, 0.113), (40.0, 0.063), (100.0, 0.028), (1000.0, 0.003)] {
        const DRAWS: u32 = 20_000;
        let sum: f64 = (0..DRAWS)
            .map(|_| quantile_of(&mut rng, requests, 0.95, 0.5).ln())
            .sum();
        let found = 1.0 - (sum / f64::from(DRAWS) - truth).exp();
        println!("p95 of {requests} requests: {:.1} % too low", 100.0 * found);
        assert!((found - too_low).abs() < 0.003, "{requests}: {found}");
    }
}
