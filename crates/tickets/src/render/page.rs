use chrono::{DateTime, Utc};
use domain::{Evidence, Report, TaskId, Verdict};
use store::outbox::Earlier;

use super::code::{fence, span};
use super::text::{clip, inline, link};

/// What a note is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub task: &'a TaskId,
    pub report: &'a Report,
    /// What was told before, oldest first.
    pub history: &'a [Earlier],
    /// When this was told.
    pub at: DateTime<Utc>,
}

/// How much of each part is shown; smaller ones are tried until the note fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) evidence_lines: usize,
    pub(super) line_chars: usize,
    pub(super) history: usize,
    pub(super) items: usize,
    pub(super) text: usize,
}

/// Verdict, environment, version, and who must act.
pub(super) fn head(report: &Report, room: Room) -> String {
    let short = room.text.min(120);
    let mut parts = vec![format!("{} **{}**", sign(report.verdict), words(report.verdict))];
    parts.extend(report.environment.as_deref().map(|e| inline(e, short)));
    parts.extend(
        report
            .version
            .as_deref()
            .map(|v| format!("version {}", span(&clip(v, short)))),
    );
    parts.push(match (&report.who, report.verdict) {
        (Some(who), _) => format!("**to act: {}**", inline(who, short)),
        (None, Verdict::NeedsApproval | Verdict::Held | Verdict::ActionNeeded) => {
            "**to act: whoever is responsible here**".to_owned()
        }
        (None, Verdict::Failed) => "**to act: whoever asked for this**".to_owned(),
        (None, _) => "nobody has to act".to_owned(),
    });
    parts.join(" · ")
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Running => "⚙️",
        Verdict::Waiting => "⏳",
        Verdict::NeedsApproval => "✋",
        Verdict::Held => "🛑",
        Verdict::ActionNeeded => "🔧",
        Verdict::Succeeded => "✅",
        Verdict::RolledBack => "↩️",
        Verdict::Failed => "❌",
        Verdict::Cancelled => "🚫",
    }
}

pub(super) fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Running => "Running",
        Verdict::Waiting => "Pending",
        Verdict::NeedsApproval => "Approval needed",
        Verdict::Held => "Held",
        Verdict::ActionNeeded => "Action needed",
        Verdict::Succeeded => "Done",
        Verdict::RolledBack => "Rolled back",
        Verdict::Failed => "Failed",
        Verdict::Cancelled => "Cancelled",
    }
}

pub(super) fn facts(report: &Report, room: Room) -> Option<String> {
    let shown = report.facts.iter().take(room.items).map(|fact| {
        let value = inline(&fact.value, room.text);
        let value = match &fact.link {
            Some(address) => link(&value, address),
            None => value,
        };
        format!("- **{}:** {value}", inline(&fact.label, 80))
    });
    list(shown.collect(), report.facts.len(), "facts")
}

pub(super) fn why(report: &Report, room: Room) -> Option<String> {
    report
        .why
        .as_ref()
        .map(|why| format!("**Why:** {}", inline(why, room.text)))
}

pub(super) fn next_steps(report: &Report, room: Room) -> Option<String> {
    if let [only] = report.next_steps.as_slice() {
        return Some(format!("**What to do:** {}", inline(only, room.text)));
    }
    let shown: Vec<String> = report
        .next_steps
        .iter()
        .take(room.items)
        .enumerate()
        .map(|(i, step)| format!("{}. {}", i + 1, inline(step, room.text)))
        .collect();
    list(shown, report.next_steps.len(), "steps").map(|steps| format!("**What to do:**\n\n{steps}"))
}

pub(super) fn follow_ons(report: &Report, room: Room) -> Option<String> {
    let shown = report.follow_ons.iter().take(room.items).map(|task| {
        let agent = task
            .agent
            .as_deref()
            .map(|agent| format!(" for {}", inline(agent, 80)))
            .unwrap_or_default();
        let id = span(&clip(task.task_id.as_str(), 80));
        format!(
            "- {id} ({}{agent}): {}",
            span(&clip(&task.task_type, 80)),
            inline(&task.why, room.text)
        )
    });
    list(shown.collect(), report.follow_ons.len(), "tasks")
        .map(|tasks| format!("**Follow-on tasks:**\n\n{tasks}"))
}

fn list(mut shown: Vec<String>, of: usize, what: &str) -> Option<String> {
    if of == 0 {
        return None;
    }
    if shown.len() < of {
        shown.push(format!(
            "- … {} more {what}, left out to keep the comment short",
            of - shown.len()
        ));
    }
    Some(shown.join("\n"))
}

pub(super) fn evidence(evidence: &Evidence, room: Room) -> String {
    let lines: Vec<&str> = evidence.text.lines().collect();
    let first = evidence.first_line.unwrap_or(1);
    let last = first + (lines.len() as u64).saturating_sub(1);
    let deciding = evidence
        .deciding_line
        .filter(|line| (first..=last).contains(line));
    let mut title = format!("**{}**", inline(&evidence.title, 200));
    match (evidence.first_line, lines.len()) {
        (Some(_), 1) => title.push_str(&format!(", line {first}")),
        (Some(_), 2..) => title.push_str(&format!(", lines {first}–{last}")),
        _ => {}
    }
    if let Some(address) = &evidence.link {
        let shown = deciding.map_or("open".to_owned(), |line| format!("line {line}"));
        title.push_str(&format!(" ({})", link(&shown, address)));
    }
    if room.evidence_lines == 0 || lines.is_empty() {
        let left_out = if lines.is_empty() {
            ""
        } else {
            "\n\n(The excerpt is left out: the comment would be too long.)"
        };
        return format!("{title}{left_out}");
    }
    let (from, to) = window(
        lines.len(),
        deciding.map(|line| (line - first) as usize),
        room.evidence_lines,
    );
    let width = last.to_string().len();
    let number = |line: u64| match evidence.first_line {
        Some(_) => format!("{line:width$} | "),
        None => "| ".to_owned(),
    };
    let gap = |count: usize| {
        format!(
            "  {} … {count} {} left out to keep the comment short",
            " ".repeat(if evidence.first_line.is_some() { width } else { 0 }),
            if count == 1 { "line" } else { "lines" }
        )
    };
    let mut shown = Vec::with_capacity(to - from + 2);
    if from > 0 {
        shown.push(gap(from));
    }
    for (i, line) in lines[from..to].iter().enumerate() {
        let at = first + (from + i) as u64;
        let mark = if deciding == Some(at) { ">" } else { " " };
        shown.push(format!(
            "{mark} {}{}",
            number(at),
            clip(line.trim_end(), room.line_chars)
        ));
    }
    if to < lines.len() {
        shown.push(gap(lines.len() - to));
    }
    format!("{title}\n\n{}", fence(&shown))
}

/// As many lines as there is room for, two thirds of them before the deciding one; without one, the last lines.
fn window(lines: usize, deciding: Option<usize>, room: usize) -> (usize, usize) {
    if lines <= room {
        return (0, lines);
    }
    let from = match deciding {
        Some(at) => at.saturating_sub(room * 2 / 3).min(lines - room),
        None => lines - room,
    };
    (from, from + room)
}

pub(super) fn history(earlier: &[Earlier], room: Room) -> Option<String> {
    if earlier.is_empty() || room.history == 0 {
        return None;
    }
    let skipped = earlier.len().saturating_sub(room.history);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(format!("- … {skipped} earlier"));
    }
    for entry in &earlier[skipped..] {
        lines.push(format!(
            "- {} **{}**: {}",
            time(entry.at),
            words(entry.verdict),
            inline(&entry.summary, room.text.min(400))
        ));
    }
    Some(format!(
        "<details>\n<summary>History ({})</summary>\n\n{}\n\n</details>",
        earlier.len(),
        lines.join("\n")
    ))
}

pub(super) fn footer(subject: &Subject<'_>) -> String {
    format!(
        "Task {} · {}",
        span(&clip(subject.task.as_str(), 80)),
        time(subject.at)
    )
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
