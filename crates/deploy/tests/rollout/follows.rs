//! What is looked at from outside follows what runs: a health check that fails for one version, errors while a flag is on.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use domain::Result;
use ports::fake::{Answer, FakeMetrics, FakeProbe};
use ports::{Check, MetricQuery, MetricQuestion, Probe, Seen, Series, Side, Window};

use crate::bench::{Bench, at_workload};

/// Done before every look.
#[derive(Clone, Default)]
pub struct Before(Arc<Mutex<Vec<Look>>>);

type Look = Box<dyn Fn() + Send + Sync>;

impl Before {
    pub fn each(&self, follows: impl Fn() + Send + Sync + 'static) {
        self.0.lock().expect("no panic").push(Box::new(follows));
    }

    /// Nothing follows from here on.
    pub fn forget(&self) {
        self.0.lock().expect("no panic").clear();
    }

    fn look(&self) {
        self.0
            .lock()
            .expect("no panic")
            .iter()
            .for_each(|follows| follows());
    }
}

pub struct Follows<T> {
    pub of: T,
    pub before: Before,
}

type Looks<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Probe for Follows<FakeProbe> {
    fn check<'me, 'check, 'looks>(&'me self, check: &'check Check) -> Looks<'looks, Seen>
    where
        'me: 'looks,
        'check: 'looks,
        Self: 'looks,
    {
        self.before.look();
        self.of.check(check)
    }
}

impl MetricQuery for Follows<FakeMetrics> {
    fn range<'me, 'asked, 'window, 'looks>(
        &'me self,
        question: &'asked MetricQuestion,
        window: &'window Window,
    ) -> Looks<'looks, Vec<Series>>
    where
        'me: 'looks,
        'asked: 'looks,
        'window: 'looks,
        Self: 'looks,
    {
        self.before.look();
        self.of.range(question, window)
    }
}

impl Bench {
    /// The address answers so as long as the workload's stable side runs this version, and well else.
    pub fn answers_with(&self, address: &str, name: &str, version: &str, answer: Answer) {
        let (probe, fleet, at) = (self.probe.clone(), self.fleet.clone(), at_workload(name));
        let (address, version) = (address.to_owned(), version.to_owned());
        self.before.each(move || {
            let runs = fleet.stands(&at, Side::Stable);
            let well = Answer::Says(200, "ok".to_owned());
            let is_it = runs.is_some_and(|(runs, _)| runs == version);
            probe.set(&address, if is_it { answer.clone() } else { well });
        });
    }

    /// What is measured of the stable side while it runs this version.
    pub fn errors_with(&self, version: &str, rate: f64) {
        let (metrics, fleet) = (self.metrics.clone(), self.fleet.clone());
        let version = version.to_owned();
        self.before.each(move || {
            let runs = fleet.stands(&crate::bench::workload(), Side::Stable);
            let is_it = runs.is_some_and(|(runs, _)| runs == version);
            metrics.set("errors stable", &[if is_it { rate } else { 0.01 }]);
        });
    }

    /// What is measured while the flag is on for anybody.
    pub fn errors_while_on(&self, rate: f64) {
        let (metrics, flags) = (self.metrics.clone(), self.flags.clone());
        self.before.each(move || {
            let is_on = flags.effects().last().is_some_and(|percent| *percent > 0);
            metrics.set("errors stable", &[if is_on { rate } else { 0.01 }]);
        });
    }
}
