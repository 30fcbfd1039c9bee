//! Which replicas to start and to stop. Pure.

use ports::{Pace, Portion};

use crate::status::Replica;
use crate::wishes::Wish;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Versions of replicas to start.
    pub(super) start: Vec<String>,
    pub(super) stop: Vec<u64>,
}

/// What a side needs next. `replicas` are the side's own, those that go already too.
///
/// The rules are those of a Deployment in Kubernetes: never more than wanted and surge, those that go counted too, for
/// each has a port and a server; never fewer available than wanted less the unavailable.
pub(super) fn plan(wish: Option<&Wish>, replicas: &[&Replica], pace: Pace) -> Plan {
    let Some(wish) = wish else {
        let stop = replicas.iter().filter(|replica| !replica.goes());
        return Plan {
            stop: stop.map(|replica| replica.id).collect(),
            ..Plan::default()
        };
    };
    let wanted = count(wish.replicas);
    let surge = portion(pace.max_surge, wanted, true);
    let mut unavailable = portion(pace.max_unavailable, wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let staying: Vec<&Replica> = replicas.iter().copied().filter(|r| !r.goes()).collect();
    let (new, old): (Vec<&Replica>, Vec<&Replica>) =
        staying.iter().copied().partition(|r| r.version == wish.version);
    if wish.paused {
        return keep_number(wanted, wish, replicas, staying, &old);
    }
    let mut plan = Plan::default();
    let missing = (wanted - count_of(&new)).min(wanted + surge - count_of(replicas));
    plan.start.extend((0..missing).map(|_| wish.version.clone()));
    plan.stop = surplus(wanted, new.clone());

    // What is old goes as far as enough stay available. What is of no use may go before the new is ready, but for as
    // many as the new ones that are not.
    let new: Vec<&Replica> = new.into_iter().filter(|r| !plan.stop.contains(&r.id)).collect();
    let least = (wanted - unavailable).max(0);
    let new_useless = count_of(&new) - available(&new);
    let mut useless_budget = count_of(&new) + count_of(&old) - least - new_useless;
    let mut budget = available(&new) + available(&old) - least;
    let mut oldest_first = old;
    oldest_first.sort_by_key(|replica| (replica.is_available(), replica.id));
    for replica in oldest_first {
        let may = if replica.is_available() {
            &mut budget
        } else {
            &mut useless_budget
        };
        if *may > 0 {
            *may -= 1;
            plan.stop.push(replica.id);
        }
    }
    plan
}

/// A roll-out that waits keeps the number only, with what is there.
fn keep_number(wanted: i64, wish: &Wish, all: &[&Replica], staying: Vec<&Replica>, old: &[&Replica]) -> Plan {
    let version = old.last().map_or(&wish.version, |replica| &replica.version);
    let missing = (wanted - count_of(&staying)).min(wanted - count_of(all));
    Plan {
        start: (0..missing).map(|_| version.clone()).collect(),
        stop: surplus(wanted, staying),
    }
}

/// Those that are too many: what is of no use first, then the newest.
fn surplus(wanted: i64, mut of: Vec<&Replica>) -> Vec<u64> {
    let surplus = usize::try_from(count_of(&of) - wanted).unwrap_or_default();
    of.sort_by_key(|replica| (replica.is_available(), std::cmp::Reverse(replica.id)));
    of.into_iter().take(surplus).map(|replica| replica.id).collect()
}

fn portion(portion: Portion, wanted: i64, up: bool) -> i64 {
    match portion {
        Portion::Replicas(number) => count(number),
        Portion::Percent(percent) => (wanted * count(percent) + if up { 99 } else { 0 }) / 100,
    }
}

fn count(number: u32) -> i64 {
    i64::from(number)
}

fn count_of<T>(all: &[T]) -> i64 {
    i64::try_from(all.len()).unwrap_or(i64::MAX)
}

fn available(all: &[&Replica]) -> i64 {
    let available = all.iter().filter(|replica| replica.is_available()).count();
    i64::try_from(available).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
