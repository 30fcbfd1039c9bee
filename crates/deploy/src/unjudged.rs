//! What is not judged, and why: nothing passes unseen.

use crate::act::Act;
use crate::course::Kind;
use crate::plan::{Place, Plan};
use crate::rollback::HOW;
use crate::settings::{Analysis, Environment};
use crate::strategy::{StepParam, StrategyName};

const NO_METRIC: &str = "no metric is declared";
/// Without these a metric says something only beside a stable side.
const LIMITS: &str = "`max`, `min` or a threshold";

fn is(names: &[&str]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

impl Analysis {
    /// The metrics that such a step judges, and those that it does not.
    fn parted(&self, compared: bool) -> (Vec<&str>, Vec<&str>) {
        let judged = self.asked(compared).metrics;
        let names = self.metrics.iter().map(|metric| metric.name.as_str());
        names.partition(|name| judged.iter().any(|judged| judged.name == *name))
    }

    /// What such a step judges by, and which metrics it leaves out and why. Of a flag nothing is looked at that runs.
    pub(crate) fn basis(&self, compared: bool, of_flag: bool) -> String {
        let alone = if of_flag {
            "nothing, for a flag has no readiness"
        } else {
            "readiness alone"
        };
        let (judged, left_out) = self.parted(compared);
        let by = match judged.as_slice() {
            [] => alone.to_owned(),
            judged => listed(judged),
        };
        match left_out.as_slice() {
            [] if judged.is_empty() => format!("{by}: {NO_METRIC}"),
            [] => by,
            one_or_more => format!(
                "{by}: {} {} not judged here, where nothing is compared, without {LIMITS}",
                listed(one_or_more),
                is(one_or_more)
            ),
        }
    }

    /// The same where there is something to say beside the findings.
    pub(crate) fn unjudged(&self, compared: bool, of_flag: bool) -> Option<String> {
        let (judged, left_out) = self.parted(compared);
        let is_whole = left_out.is_empty() && !judged.is_empty();
        (!is_whole).then(|| self.basis(compared, of_flag))
    }
}

/// What the whole plan is judged by; none where it judges nothing new.
pub(crate) fn judged_by(place: &Place, plan: &Plan) -> Option<String> {
    if plan.kind == Kind::There || plan.how == HOW {
        return None;
    }
    let analysis = &place.environment.analysis;
    let mut bases: Vec<String> = Vec::new();
    for act in &plan.acts {
        if let Act::Analyse { compared, .. } = act {
            let basis = analysis.basis(*compared, place.only_flag);
            if !bases.contains(&basis) {
                bases.push(basis);
            }
        }
    }
    if !bases.is_empty() {
        return Some(bases.join("; later by "));
    }
    let (mut names, left_out) = analysis.parted(true);
    names.extend(left_out);
    let alone = analysis.basis(true, place.only_flag);
    Some(match names.as_slice() {
        [] => alone,
        names => format!("readiness alone: no step of the plan judges {}", listed(names)),
    })
}

impl Environment {
    /// Which metrics nothing can ever judge here; there is no use for such settings.
    pub(crate) fn never_judged(&self) -> Option<String> {
        let (_, left_out) = self.analysis.parted(false);
        let [name, ..] = left_out.as_slice() else {
            return None;
        };
        self.is_flag_alone().then(|| {
            format!(
                "metric {name:?} can never be judged: a `flag` alone has no two sides to compare, so that it needs {LIMITS}"
            )
        })
    }

    /// Which metrics the environment's own strategy never judges, and what to do: a warning, since a task may name another
    /// strategy.
    pub fn unjudged(&self) -> Vec<String> {
        let analyses = |steps: &Option<Vec<StepParam>>| {
            steps
                .as_ref()
                .is_none_or(|steps| steps.contains(&StepParam::Analyse))
        };
        let watched = !self.watch.0.is_zero();
        let (compared, alone) = match self.strategy {
            StrategyName::Canary => (analyses(&self.canary.steps), watched),
            StrategyName::FeatureFlag => (false, watched || analyses(&self.feature_flag.steps)),
            StrategyName::BlueGreen => (false, true),
            StrategyName::Rolling => (false, watched),
        };
        let (limited, unlimited) = self.analysis.parted(false);
        let mut found = Vec::new();
        if compared {
            return found;
        }
        let strategy = self.strategy;
        let declares_none = limited.is_empty() && unlimited.is_empty();
        if !(alone || declares_none) {
            let all: Vec<&str> = limited.into_iter().chain(unlimited).collect();
            let mend = match strategy {
                StrategyName::Rolling => "set `watch`, or let `strategy` be canary",
                _ => "give its `steps` an `analyse`",
            };
            found.push(format!(
                "the strategy {strategy} never judges {}: {mend}",
                listed(&all)
            ));
        } else if !unlimited.is_empty() {
            found.push(format!(
                "the strategy {strategy} never judges {}, since it compares nothing: give it {LIMITS}",
                listed(&unlimited)
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn environment(more: Value) -> Environment {
        let mut settings = json!({"target": "a", "workload": "b", "analysis": {"metrics": [
            {"name": "error_rate", "query": "e", "max": 0.02}, {"name": "latency_p95", "query": "l"},
        ]}});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn what_a_step_judges_by_is_said_with_what_it_leaves_out() {
        let both = environment(json!({})).analysis;
        assert_eq!(both.basis(true, false), "error_rate and latency_p95");
        assert_eq!(both.unjudged(true, false), None);
        let alone = "error_rate: latency_p95 is not judged here, where nothing is compared, without `max`, `min` or a \
                     threshold";
        assert_eq!(both.basis(false, false), alone);
        assert_eq!(both.unjudged(false, false).as_deref(), Some(alone));
        let none = environment(json!({"analysis": {}})).analysis;
        for compared in [true, false] {
            assert_eq!(
                none.basis(compared, false),
                "readiness alone: no metric is declared"
            );
        }
        assert_eq!(
            none.basis(false, true),
            "nothing, for a flag has no readiness: no metric is declared"
        );
        let unlimited = json!({"analysis": {"metrics": [{"name": "latency_p95", "query": "l"}]}});
        let unlimited = environment(unlimited).analysis.basis(false, false);
        assert!(
            unlimited.starts_with("readiness alone: latency_p95 is not judged here"),
            "{unlimited}"
        );
    }

    #[test]
    fn a_strategy_that_never_judges_a_metric_is_told() {
        let said = |more: Value| environment(more).unjudged().join("\n");
        assert_eq!(said(json!({"strategy": "canary"})), "");
        assert_eq!(
            said(json!({"strategy": "blue_green"})),
            "the strategy blue_green never judges latency_p95, since it compares nothing: give it `max`, `min` or a threshold"
        );
        assert_eq!(
            said(json!({})),
            "the strategy rolling never judges error_rate and latency_p95: set `watch`, or let `strategy` be canary"
        );
        let watched = said(json!({"watch": "5m"}));
        assert!(watched.contains("never judges latency_p95, since"), "{watched}");
        let steps = json!({"strategy": "canary", "canary": {"steps": [{"set_weight": 50}, {"pause": "5m"}]}});
        assert!(said(steps).ends_with("give its `steps` an `analyse`"));
        assert_eq!(said(json!({"analysis": {}})), "");
        let limited = json!({"metrics": [{"name": "error_rate", "query": "e", "max": 0.02}]});
        assert_eq!(said(json!({"strategy": "feature_flag", "analysis": limited})), "");
    }
}
