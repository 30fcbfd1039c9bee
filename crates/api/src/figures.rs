//! The queue's figures in Prometheus's text format. They are written out here and not kept as gauges, since a type's
//! series must go when its last task is over.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use store::{Figures, QueueRule, Scope, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The tables are read at most this often, however many ask.
const FRESH: Duration = Duration::from_secs(5);
/// A task's type is anybody's word: so many are told apart, the rest are one.
const MOST_TYPES: usize = 100;
const REST: &str = "(other)";
/// Longest label, in characters: as long as names of types and ids may be, so that two of them stay two.
const LABEL_CHARS: usize = 200;

/// What was read last, and when.
#[derive(Default)]
struct Kept {
    at: Option<Instant>,
    text: String,
}

/// The figures as text; without an answer of the database only that there is none.
pub async fn text(store: &Store) -> String {
    // One for the process, like the counters beside it. Whoever comes meanwhile waits for the same answer.
    static KEPT: Mutex<Kept> = Mutex::const_new(Kept {
        at: None,
        text: String::new(),
    });
    let mut kept = KEPT.lock().await;
    if kept.at.is_none_or(|at| at.elapsed() >= FRESH) {
        let figures = store.figures().await;
        if let Err(error) = &figures {
            tracing::warn!(%error, "the database does not answer for its figures");
        }
        *kept = Kept {
            at: Some(Instant::now()),
            text: render(figures.ok().as_ref()),
        };
    }
    kept.text.clone()
}

fn render(figures: Option<&Figures>) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let up = f64::from(u8::from(figures.is_some()));
    family(
        "longshore_database_up",
        "1 when the database answered for the figures below",
        vec![(String::new(), up)],
    );
    let Some(figures) = figures else {
        return out;
    };
    let (depth, oldest) = by_type(figures);
    let depth = depth
        .into_iter()
        .map(|((task_type, state), count)| {
            let labels = format!(
                "{{type=\"{}\",status=\"{}\"}}",
                escaped(&task_type),
                escaped(&state)
            );
            (labels, count as f64)
        })
        .collect();
    family(
        "longshore_tasks",
        "Tasks that are not over, by type and status; held is waiting for a person",
        depth,
    );
    let oldest = oldest
        .into_iter()
        .map(|(task_type, seconds)| (format!("{{type=\"{}\"}}", escaped(&task_type)), seconds))
        .collect();
    family(
        "longshore_oldest_pending_task_age_seconds",
        "How long the longest of the tasks that could run has waited for a worker, by type",
        oldest,
    );
    let notes = &figures.notes;
    let states = [
        ("due", notes.due),
        ("failing", notes.failing),
        ("given_up", notes.given_up),
    ];
    family(
        "longshore_ticket_notes",
        "Notes on tickets: due are to be written, failing those of them whose last try failed, given_up those never to be tried again",
        states
            .map(|(state, count)| (format!("{{state=\"{state}\"}}"), count as f64))
            .into(),
    );
    family(
        "longshore_oldest_due_ticket_note_age_seconds",
        "How long the oldest note that could be written has waited",
        vec![(String::new(), notes.oldest_s)],
    );
    family(
        "longshore_workers",
        "Workers whose lease has not run out",
        vec![(String::new(), figures.workers as f64)],
    );
    // A limit's family without samples would say nothing.
    for (name, help, value) in RULES {
        let samples: Vec<_> = figures
            .rules
            .iter()
            .filter_map(|rule| Some((rule_labels(rule), value(rule)?)))
            .collect();
        if !samples.is_empty() {
            family(name, help, samples);
        }
    }
    out
}

type OfRule = fn(&QueueRule) -> Option<f64>;

const RULES: [(&str, &str, OfRule); 3] = [
    (
        "longshore_queue_limit",
        "How many tasks of a type, a repository or all may run at once",
        |rule| rule.max_running.map(f64::from),
    ),
    ("longshore_queue_limit_used", "How many of them run now", |rule| {
        rule.max_running.map(|_| rule.running as f64)
    }),
    (
        "longshore_queue_paused",
        "1 where no task of a type, a repository or at all is started",
        |rule| rule.paused.as_ref().map(|_| 1.0),
    ),
];

/// A repository goes by its id: two may have the same project, on different forges.
fn rule_labels(rule: &QueueRule) -> String {
    let project = match &rule.scope {
        Scope::Repo(_) => format!(",project=\"{}\"", escaped(&rule.label)),
        _ => String::new(),
    };
    format!(
        "{{kind=\"{}\",name=\"{}\"{project}}}",
        rule.scope.kind(),
        escaped(rule.scope.name())
    )
}

type Depth = BTreeMap<(String, String), i64>;

/// How many stand in each state, and how long the oldest pending has waited. The fullest types come first.
fn by_type(figures: &Figures) -> (Depth, BTreeMap<String, f64>) {
    let (mut depth, mut oldest) = (Depth::new(), BTreeMap::<String, f64>::new());
    let mut types: Vec<String> = Vec::new();
    for live in &figures.tasks {
        // Other programs' types may be longer; those that begin alike are one.
        let of_type: String = live.task_type.chars().take(LABEL_CHARS).collect();
        if !types.contains(&of_type) && types.len() < MOST_TYPES {
            types.push(of_type.clone());
        }
        let known = types.contains(&of_type);
        let name = if known { of_type.as_str() } else { REST };
        *depth.entry((name.to_owned(), live.state.clone())).or_default() += live.count;
        if live.state == "pending" {
            let age = oldest.entry(name.to_owned()).or_default();
            *age = age.max(live.oldest_s);
        }
    }
    (depth, oldest)
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    let value: String = value.chars().take(LABEL_CHARS).collect();
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use store::{Live, NoteFigures};

    use super::*;

    fn live(task_type: &str, state: &str, count: i64) -> Live {
        Live {
            task_type: task_type.to_owned(),
            state: state.to_owned(),
            count,
            oldest_s: if state == "pending" { 12.5 } else { 0.0 },
        }
    }

    fn rule(scope: Scope, label: &str) -> QueueRule {
        QueueRule {
            scope,
            label: label.to_owned(),
            max_running: Some(3),
            paused: None,
            running: 2,
        }
    }

    #[test]
    fn each_family_has_its_help_and_labels_cannot_break_out() {
        let text = render(Some(&Figures {
            tasks: vec![live("fix_build", "pending", 3), live("a\"b\\c\nd", "held", 1)],
            notes: NoteFigures {
                due: 4,
                failing: 2,
                given_up: 1,
                oldest_s: 7.25,
            },
            workers: 2,
            rules: vec![
                rule(Scope::All, ""),
                rule(Scope::Type("deploy".to_owned()), "deploy"),
                rule(Scope::Repo("0b1e".to_owned()), "group/app"),
            ],
        }));
        assert!(!text.contains("longshore_queue_paused"), "{text}");
        for line in [
            "longshore_database_up 1",
            "longshore_tasks{type=\"fix_build\",status=\"pending\"} 3",
            "longshore_tasks{type=\"a\\\"b\\\\c\\nd\",status=\"held\"} 1",
            "longshore_oldest_pending_task_age_seconds{type=\"fix_build\"} 12.5",
            "longshore_ticket_notes{state=\"failing\"} 2",
            "longshore_oldest_due_ticket_note_age_seconds 7.25",
            "longshore_workers 2",
            "longshore_queue_limit{kind=\"all\",name=\"\"} 3",
            "longshore_queue_limit{kind=\"type\",name=\"deploy\"} 3",
            "longshore_queue_limit{kind=\"repo\",name=\"0b1e\",project=\"group/app\"} 3",
            "longshore_queue_limit_used{kind=\"repo\",name=\"0b1e\",project=\"group/app\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("# HELP ")).count(),
            families
        );
        assert_eq!(render(None).lines().last(), Some("longshore_database_up 0"));
    }

    #[test]
    fn no_series_is_told_twice() {
        let long = |end: &str| format!("{}{end}", "x".repeat(LABEL_CHARS - 1));
        let text = render(Some(&Figures {
            tasks: ["a", "b", "ba"].map(|end| live(&long(end), "pending", 1)).into(),
            rules: vec![
                // A project and its mirror on another forge.
                rule(Scope::Repo("r1".to_owned()), "group/app"),
                rule(Scope::Repo("r2".to_owned()), "group/app"),
                rule(Scope::Type(long("a")), &long("a")),
                rule(Scope::Type(long("b")), &long("b")),
            ],
            ..Figures::default()
        }));
        let mut series: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.rsplit_once(' ')?.0))
            .collect();
        series.sort_unstable();
        let all = series.len();
        series.dedup();
        assert_eq!(series.len(), all, "{text}");
    }

    #[test]
    fn words_of_strangers_do_not_make_series_without_end() {
        let tasks = (0..500)
            .map(|n| live(&format!("type-{n}"), "pending", 1))
            .collect();
        let text = render(Some(&Figures {
            tasks,
            ..Figures::default()
        }));
        let series = text
            .lines()
            .filter(|line| line.starts_with("longshore_tasks{"))
            .count();
        assert_eq!(series, MOST_TYPES + 1);
        assert!(
            text.contains("longshore_tasks{type=\"(other)\",status=\"pending\"} 400"),
            "{text}"
        );
    }
}
