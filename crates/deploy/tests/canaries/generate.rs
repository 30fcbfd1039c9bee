//! Canaries made by chance from a seed: what a metrics store would answer for one that is good, bad or dumb.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use deploy::judge::{Sample, Sides, Span, Window};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

/// What is the matter with the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ill {
    /// The same version on both sides.
    Nothing,
    /// Two percentage points more errors.
    Errors,
    /// Every request takes a fifth longer.
    Latency,
    /// Of the slowest tenth only, each takes a fifth longer: the median stays.
    Tail,
    /// Errors grow evenly to two points more at the last planned step, and stay there.
    SlowErrors,
    SlowLatency,
    /// Nothing until the last planned step, and then two points more errors.
    LateErrors,
}

/// The service and how it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub name: &'static str,
    /// Of the logarithm of latency.
    pub sigma: f64,
    /// In its place: latency falls off as a power of this (Pareto), which has far heavier tails.
    pub power: Option<f64>,
    /// The chance that in an interval, for all requests of that side or of both, errors are so many times as frequent.
    pub bursts: Option<Bursts>,
    /// Requests of the canary in one interval, drawn once for each canary, evenly on the logarithm's scale.
    pub requests: (f64, f64),
    /// How many times as many the baseline gets.
    pub baseline_share: f64,
    /// All traffic is ten times `requests`, of which the canary has 10 % at first, then evenly more, and the baseline the rest.
    pub shifts: bool,
    /// Whether the store says how many requests stand behind a point.
    pub counts_known: bool,
    /// Standard deviation and correlation from one interval to the next of noise that each side has for itself, in logarithms.
    pub noise: (f64, f64),
    /// Swing of a day's wave that both sides share, in logarithms; over a course it goes through a quarter of a day.
    pub wave: f64,
    /// Intervals in a window.
    pub points: usize,
    /// Windows that are planned.
    pub steps: u32,
    /// The chance that an interval has no answer.
    pub gaps: f64,
    /// The chance that an interval's latency on one side is five times as long.
    pub spikes: f64,
}

/// Errors that come in bursts, of a dependency that both sides have (`shared`) or of each side alone.
#[derive(Clone, Copy, Debug)]
pub struct Bursts {
    pub chance: f64,
    pub times: f64,
    pub shared: bool,
}

pub const PLAIN: Service = Service {
    name: "plain",
    sigma: 0.5,
    power: None,
    bursts: None,
    requests: (100.0, 500.0),
    baseline_share: 1.0,
    shifts: false,
    counts_known: true,
    noise: (0.0, 0.0),
    wave: 0.0,
    points: 12,
    steps: 5,
    gaps: 0.0,
    spikes: 0.0,
};

pub const BASE_ERRORS: f64 = 0.01;
const INTERVAL_S: u32 = 15;

/// One canary on its way; windows are asked of it one after another.
pub struct Course<'a> {
    pub service: Service,
    pub ill: Ill,
    rng: &'a mut ChaCha8Rng,
    requests: f64,
    phase: f64,
    noise: [f64; 4],
    made: usize,
    weight: f64,
}

impl<'a> Course<'a> {
    pub fn new(service: Service, ill: Ill, rng: &'a mut ChaCha8Rng) -> Self {
        let (least, most) = service.requests;
        let requests = (least.ln() + rng.random::<f64>() * (most / least).ln()).exp();
        let phase = rng.random::<f64>() * std::f64::consts::TAU;
        let mut noise = [0.0; 4];
        noise.iter_mut().for_each(|n| *n = service.noise.0 * normal(rng));
        Self {
            service,
            ill,
            rng,
            requests,
            phase,
            noise,
            made: 0,
            weight: 0.1,
        }
    }

    pub fn window(&mut self, step: u32) -> Window {
        let (mut errors, mut latency) = (Sides::default(), Sides::default());
        let first = self.made;
        self.weight = 0.1 + 0.8 * f64::from(step) / f64::from(self.service.steps);
        for _ in 0..self.service.points {
            self.made += 1;
            self.interval(&mut errors, &mut latency);
        }
        Window {
            span: Span {
                from: at(first),
                to: at(self.made),
            },
            step,
            interval_s: INTERVAL_S,
            compared: BTreeMap::from([
                ("error_rate".to_owned(), errors),
                ("latency_p95".to_owned(), latency),
            ]),
            measured: BTreeMap::new(),
        }
    }

    fn interval(&mut self, errors: &mut Sides, latency: &mut Sides) {
        let service = self.service;
        let planned = service.points as f64 * f64::from(service.steps);
        let part = self.made as f64 / planned;
        let wave = service.wave * (self.phase + part * std::f64::consts::FRAC_PI_2).sin();
        let (spread, correlation) = service.noise;
        for noise in &mut self.noise {
            let fresh = spread * (1.0 - correlation * correlation).sqrt() * normal(self.rng);
            *noise = correlation * *noise + fresh;
        }
        let grown = part.min(1.0);
        let bursts = service.bursts.map(|bursts| {
            let mut drawn = [(); 2].map(|()| {
                if self.rng.random::<f64>() < bursts.chance {
                    bursts.times
                } else {
                    1.0
                }
            });
            if bursts.shared {
                drawn[1] = drawn[0];
            }
            drawn
        });
        let unix = at(self.made).timestamp();
        for canary in [true, false] {
            let ill = if canary { self.ill } else { Ill::Nothing };
            let mean = match (service.shifts, canary) {
                (false, true) => self.requests,
                (false, false) => self.requests * service.baseline_share,
                (true, true) => self.requests * 10.0 * self.weight,
                (true, false) => self.requests * 10.0 * (1.0 - self.weight),
            };
            let requests = poisson(self.rng, mean * wave.exp());
            let side = usize::from(canary);
            let more = match ill {
                Ill::Errors => 0.02,
                Ill::SlowErrors => 0.02 * grown,
                Ill::LateErrors if self.made + service.points > service.points * service.steps as usize => {
                    0.02
                }
                _ => 0.0,
            };
            let burst = bursts.map_or(1.0, |drawn| drawn[side]);
            let chance = (BASE_ERRORS * burst * (wave + self.noise[side]).exp() + more).min(1.0);
            let slower = match ill {
                Ill::Latency | Ill::Tail => 1.2,
                Ill::SlowLatency => 1.2_f64.powf(grown),
                _ => 1.0,
            };
            let gap = self.rng.random::<f64>() < service.gaps || requests < 1.0;
            let failed = binomial(self.rng, requests, chance);
            let drawn = match service.power {
                None => quantile_of(self.rng, requests, 0.95, service.sigma),
                Some(power) => (1.0 - level_of(self.rng, requests, 0.95)).powf(-1.0 / power),
            };
            let mut p95 = drawn * slower;
            p95 *= 100.0 * (wave * 0.5 + self.noise[2 + side]).exp();
            if self.rng.random::<f64>() < service.spikes {
                p95 *= 5.0;
            }
            let known = service.counts_known.then_some(requests);
            let sample = |value: f64| Sample::new(unix, if gap { f64::NAN } else { value }, known);
            let of = |sides: &'_ mut Sides, sample| match canary {
                true => sides.canary.push(sample),
                false => sides.baseline.push(sample),
            };
            of(errors, sample(failed / requests));
            of(latency, sample(p95));
        }
    }
}

fn at(interval: usize) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(interval as i64 * i64::from(INTERVAL_S))
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// By the gaps between successes, each of which is geometric.
fn binomial(rng: &mut ChaCha8Rng, n: f64, p: f64) -> f64 {
    let (mut at, mut count) = (0.0, 0.0);
    loop {
        at += ((1.0 - rng.random::<f64>()).ln() / (1.0 - p).ln()).floor() + 1.0;
        if at > n {
            return count;
        }
        count += 1.0;
    }
}

fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    if mean > 60.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0);
    }
    let (mut left, mut count) = (mean, 0.0);
    loop {
        left += (1.0 - rng.random::<f64>()).ln();
        if left < 0.0 {
            return count;
        }
        count += 1.0;
    }
}

/// A sample quantile (nearest rank) of `n` lognormal latencies of median 1: drawn as the order statistic that it is.
pub fn quantile_of(rng: &mut ChaCha8Rng, n: f64, q: f64, sigma: f64) -> f64 {
    (sigma * Normal::standard().inverse_cdf(level_of(rng, n, q))).exp()
}

/// Which quantile of all requests the sample quantile of `n` of them is.
fn level_of(rng: &mut ChaCha8Rng, n: f64, q: f64) -> f64 {
    let rank = (n * q).ceil().max(1.0);
    let (below, above) = (gamma(rng, rank), gamma(rng, (n + 1.0 - rank).max(1.0)));
    below / (below + above)
}

/// Marsaglia and Tsang (2000), for shapes of 1 and more.
fn gamma(rng: &mut ChaCha8Rng, shape: f64) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && rng.random::<f64>().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}
