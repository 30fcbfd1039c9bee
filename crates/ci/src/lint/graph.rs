//! What waits for what: jobs that are not there, and circles.

use std::collections::HashMap;

use super::Finding;
use super::facts::JobFacts;

/// A file may name thousands of jobs: what is meant by a name is guessed among so many, and of names so long.
const MOST_GUESSED: usize = 500;
const LONGEST_NAME: usize = 100;
/// More circles than these say nothing new; nor do more jobs of one.
const MOST_CIRCLES: usize = 20;
const MOST_NAMED: usize = 10;

pub(super) fn check(jobs: &[JobFacts], findings: &mut Vec<Finding>) {
    let place: HashMap<&str, usize> = jobs
        .iter()
        .enumerate()
        .map(|(at, job)| (job.id.as_str(), at))
        .collect();
    for job in jobs {
        for need in &job.needs {
            if !place.contains_key(need.text.as_str()) {
                let known = place.keys().copied().filter(|id| id.len() <= LONGEST_NAME);
                let guess = place.len() <= MOST_GUESSED && need.text.len() <= LONGEST_NAME;
                let near = guess.then(|| domain::nearest(&need.text, known)).flatten();
                let meant = near
                    .map(|near| format!("; `{near}` was meant, probably"))
                    .unwrap_or_default();
                findings.push(Finding::error(
                    "needs-unknown",
                    need.at,
                    format!(
                        "{} needs `{}`, and there is no such job{meant}",
                        job.id, need.text
                    ),
                    "Name a job of this file, or leave it out",
                ));
            }
        }
    }
    for circle in circles(jobs, &place) {
        let mut names: Vec<_> = circle
            .iter()
            .chain(circle.first())
            .map(|at| jobs[*at].id.as_str())
            .collect();
        if names.len() > MOST_NAMED {
            names.splice(MOST_NAMED - 1..names.len() - 1, ["…"]);
        }
        let first = &jobs[circle[0]];
        let next = names.get(1).copied().unwrap_or_default();
        let at = first
            .needs
            .iter()
            .find(|need| need.text == next)
            .map_or(first.at, |need| need.at);
        findings.push(Finding::error(
            "needs-cycle",
            at,
            format!("none of these jobs can ever start: {}", names.join(" needs ")),
            "Leave out one of these needs",
        ));
    }
}

/// Each circle once, from its first job on. Without recursion: a file may name thousands.
fn circles(jobs: &[JobFacts], place: &HashMap<&str, usize>) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let edges: Vec<Vec<usize>> = jobs
        .iter()
        .map(|job| {
            job.needs
                .iter()
                .filter_map(|need| place.get(need.text.as_str()).copied())
                .collect()
        })
        .collect();
    let mut state = vec![State::New; jobs.len()];
    let mut found = Vec::new();
    for start in 0..jobs.len() {
        if state[start] != State::New {
            continue;
        }
        if found.len() >= MOST_CIRCLES {
            break;
        }
        let mut path = vec![(start, 0)];
        state[start] = State::Open;
        while let Some((at, next)) = path.last_mut() {
            let Some(to) = edges[*at].get(*next).copied() else {
                state[*at] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match state[to] {
                State::New => {
                    state[to] = State::Open;
                    path.push((to, 0));
                }
                State::Open if found.len() < MOST_CIRCLES => {
                    let from = path.iter().position(|(at, _)| *at == to).unwrap_or(0);
                    found.push(path[from..].iter().map(|(at, _)| *at).collect());
                }
                State::Open | State::Done => {}
            }
        }
    }
    found
}
