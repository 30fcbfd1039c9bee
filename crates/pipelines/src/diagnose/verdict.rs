//! Weighs what the scan found: which line decides, and how sure that is.

use std::collections::HashMap;

use super::class::{Class, Kind, Retry};
use super::command;
use super::diagnosis::{Context, Diagnosis};
use super::excerpt::Excerpt;
use super::form::{MarkKind, Rule};
use super::heard;
use super::ledger::{Captures, Hit, Kept, Ledger, Seen, State};
use super::rules::{Rank, RuleSet};

/// A line below this explains nothing.
const FLOOR: f64 = 18.0;
/// Distance, in lines before the end of its step, at which a line is no longer near the end.
const FAR: f64 = 3000.0;
const NEAR_BONUS: f64 = 12.0;
/// A line of the machinery's yields to one of a tool that is this many points behind, of the same class.
const MARK_YIELDS: f64 = 8.0;
/// How many lines behind "cannot find it" the reason may stand.
const CAUSE_BEHIND: u64 = 8;

struct Scored<'k> {
    rule: u16,
    kept: &'k Kept,
    score: f64,
}

pub(super) fn judge(rules: &RuleSet, mut ledger: Ledger, lines: u64, context: &Context) -> Diagnosis {
    let kept = ledger.finish(lines);
    let exit_code = exit_code(&ledger, context);
    if let Some((MarkKind::JobOk, seen)) = &ledger.job
        && context.exit_code.is_none_or(|code| code == 0)
    {
        return passed(
            rules,
            seen,
            lines,
            context,
            0.98,
            "The log ends with the job's own word that it succeeded.",
        );
    }
    let failed = ledger.first_failed.is_some()
        || ledger.step_error.is_some()
        || matches!(ledger.job, Some((MarkKind::JobFailed, _)))
        || context.exit_code.is_some_and(|code| code != 0);
    let candidates = score(rules, &kept, exit_code, failed);
    let best = decide(rules, &candidates);
    if !failed {
        if let Some(seen) = &ledger.job_end {
            let why = "The job ran to its end and no step of it reported a failure.";
            return passed(rules, seen, lines, context, 0.9, why);
        }
        let weak = best
            .as_ref()
            .is_none_or(|best| rules.rules[best.top.rule as usize].weight < 55);
        if let Some(seen) = &ledger.tool_ok
            && ledger
                .tool_failed
                .as_ref()
                .is_none_or(|fail| fail.line < seen.line)
            && weak
            && lines.saturating_sub(seen.line) < 200
        {
            let why = "The last tool that ran reported success, and nothing after it failed.";
            return passed(rules, seen, lines, context, 0.75, why);
        }
    }
    match best {
        Some(best) => explained(rules, &best, failed, exit_code, lines, context),
        None => unexplained(rules, &ledger, failed, exit_code, lines, context),
    }
}

fn exit_code(ledger: &Ledger, context: &Context) -> Option<i32> {
    let job = match &ledger.job {
        Some((MarkKind::JobFailed, seen)) => seen.exit,
        _ => None,
    };
    context
        .exit_code
        .or_else(|| ledger.first_failed.as_ref().and_then(|seen| seen.exit))
        .or_else(|| ledger.exit_code.map(|(_, code)| code))
        .or(job)
}

fn score<'k>(
    rules: &RuleSet,
    kept: &'k [(u16, Kept)],
    exit_code: Option<i32>,
    failed: bool,
) -> Vec<Scored<'k>> {
    let mut all = Vec::new();
    for (at, hit) in kept {
        let rule = &rules.rules[*at as usize];
        if !needs_met(rules, *at, rule, hit, kept, exit_code) || is_aftermath(rule, hit, exit_code) {
            continue;
        }
        let mut score = f64::from(rule.weight);
        score += match hit.state {
            State::FirstFailed => 8.0,
            State::Failed => -4.0,
            State::Open => 0.0,
            State::After if hit.hit.is_mark => 0.0,
            State::After => -12.0,
            State::Cleanup if hit.hit.is_mark => 0.0,
            State::Cleanup => -30.0,
            State::Behind => -20.0,
            State::Passed if failed => -100.0,
            State::Passed => -60.0,
        };
        score += match hit.hit.rank {
            Rank::Error => 4.0,
            Rank::Plain => 0.0,
            // Style checks and compilers warn of what fails the job.
            Rank::Warning if matches!(rule.class, Class::Lint | Class::CompileError | Class::FlakyTest) => {
                0.0
            }
            Rank::Warning => -20.0,
            Rank::Echo => -45.0,
        };
        score += heard::penalty(&hit.hit.text);
        if rule.consequence && follows(rules, *at, hit, kept) {
            score -= 22.0;
        }
        let distance = hit.step_end.saturating_sub(hit.hit.line) as f64;
        score += NEAR_BONUS * (1.0 - (1.0 + distance).ln() / (1.0 + FAR).ln()).max(0.0);
        if score >= FLOOR {
            all.push(Scored {
                rule: *at,
                kept: hit,
                score,
            });
        }
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.rule.cmp(&b.rule)));
    all
}

/// Whether the line only tells what an earlier failure left behind, or failed nothing.
fn is_aftermath(rule: &Rule, hit: &Kept, exit_code: Option<i32>) -> bool {
    rule.aftermath
        && (hit.hit.rank == Rank::Warning
            || hit.state == State::After
            || hit.state == State::Cleanup && exit_code.is_some_and(|code| code != 0))
}

/// Whether the surroundings of the build failed before this line, in the same step: missing files and commands are
/// then their echo. A manager that cannot find a package may give the cause in the lines that follow.
fn follows(rules: &RuleSet, at: u16, hit: &Kept, kept: &[(u16, Kept)]) -> bool {
    let asks = rules.rules[at as usize].class;
    kept.iter().any(|(other, earlier)| {
        let rule = &rules.rules[*other as usize];
        let gives_cause = asks == Class::Dependency
            && !matches!(
                rule.class,
                Class::Dependency | Class::Permission | Class::GitError
            )
            && (hit.hit.line..=hit.hit.line + CAUSE_BEHIND).contains(&earlier.hit.line);
        let surroundings = matches!(
            rule.class,
            Class::Network
                | Class::Auth
                | Class::DiskFull
                | Class::Oom
                | Class::ServiceUnavailable
                | Class::RateLimit
                | Class::Permission
                | Class::Dependency
                | Class::GitError
                | Class::ImagePull
        );
        surroundings
            && rule.weight >= 80
            && matches!(earlier.hit.rank, Rank::Error | Rank::Plain)
            && (earlier.state == hit.state || matches!(earlier.state, State::FirstFailed | State::Behind))
            && (earlier.hit.line < hit.hit.line || gives_cause)
    })
}

fn needs_met(
    rules: &RuleSet,
    at: u16,
    rule: &Rule,
    hit: &Kept,
    kept: &[(u16, Kept)],
    exit_code: Option<i32>,
) -> bool {
    let living = |other: &&(u16, Kept)| other.1.state != State::Passed;
    if !rule.needs_class.is_empty() {
        let met = kept
            .iter()
            .filter(living)
            .any(|(other, _)| *other != at && rule.needs_class.contains(&rules.rules[*other as usize].class));
        if !met {
            return false;
        }
    }
    let needed = &rules.needed[at as usize];
    if !needed.is_empty()
        && !kept
            .iter()
            .filter(living)
            .any(|(other, _)| needed.contains(other))
    {
        return false;
    }
    rule.needs_exit.is_empty()
        || [hit.step_exit, exit_code]
            .into_iter()
            .flatten()
            .any(|code| rule.needs_exit.contains(&code))
}

struct Best<'s, 'k> {
    top: &'s Scored<'k>,
    /// How far the runner-up class lies behind, in points.
    margin: f64,
    runner_up: Option<Class>,
    /// Further rules that speak for the same class.
    agreeing: usize,
}

fn decide<'s, 'k>(rules: &RuleSet, candidates: &'s [Scored<'k>]) -> Option<Best<'s, 'k>> {
    let class_of = |scored: &Scored| rules.rules[scored.rule as usize].class;
    let mut support: HashMap<Class, (f64, usize)> = HashMap::new();
    for scored in candidates {
        let entry = support.entry(class_of(scored)).or_insert((scored.score, 0));
        if scored.score < entry.0 && scored.score > entry.0 - 30.0 {
            entry.1 += 1;
        }
    }
    let strength = |(best, agreeing): (f64, usize)| best + (agreeing as f64 * 1.5).min(4.5);
    let mut ranked: Vec<(Class, f64, usize)> = support
        .into_iter()
        .map(|(class, held)| (class, strength(held), held.1))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (class, strength, agreeing) = *ranked.first()?;
    let first = candidates.iter().find(|scored| class_of(scored) == class)?;
    // What the tool itself said says more than the machinery's word for it.
    let top = candidates
        .iter()
        .take_while(|scored| scored.score > first.score - MARK_YIELDS)
        .find(|scored| class_of(scored) == class && !scored.kept.hit.is_mark)
        .unwrap_or(first);
    let second = ranked.get(1);
    Some(Best {
        top,
        margin: second.map_or(40.0, |second| strength - second.1),
        runner_up: second
            .filter(|second| strength - second.1 < 40.0)
            .map(|second| second.0),
        agreeing,
    })
}

/// How often an answer of this standing is right; docs/diagnosis.md shows the measured shares.
fn confidence(rule: &Rule, best: &Best, failed: bool) -> f64 {
    let weight = f64::from(rule.weight);
    let mut sure = 0.35 + 0.6 * ((weight - 25.0) / 60.0).clamp(0.0, 1.0);
    sure += match best.top.kept.state {
        State::FirstFailed => 0.03,
        State::Open => 0.0,
        State::Failed => -0.08,
        State::After | State::Behind => -0.1,
        State::Cleanup | State::Passed => -0.3,
    };
    if !failed {
        sure -= 0.03;
    }
    if best.margin < 4.0 {
        sure -= 0.2;
    } else if best.margin < 10.0 {
        sure -= 0.08;
    }
    if best.agreeing > 0 {
        sure += 0.03;
    }
    (sure.clamp(0.05, 0.98) * 100.0).round() / 100.0
}

fn explained(
    rules: &RuleSet,
    best: &Best,
    failed: bool,
    exit_code: Option<i32>,
    lines: u64,
    context: &Context,
) -> Diagnosis {
    let rule = &rules.rules[best.top.rule as usize];
    let hit = &best.top.kept.hit;
    let excerpt = Excerpt::around(hit, &rules.decoration);
    let retry = rule.retry.unwrap_or(rule.class.retry());
    let captures = match &hit.captures {
        Captures::None => Vec::new(),
        Captures::InText(pattern) => rules.captured(*pattern, &hit.text),
        Captures::Taken(captures) => captures.clone(),
    };
    Diagnosis {
        class: rule.class,
        confidence: confidence(rule, best, failed),
        line: Some(hit.line),
        excerpt: excerpt.lines.join("\n"),
        excerpt_start: Some(excerpt.start),
        exit_code: best.top.kept.step_exit.filter(|code| *code != 0).or(exit_code),
        why: filled(&rule.why, &captures),
        advice: filled(&rule.advice, &captures),
        rule: Some(rule.id.clone()),
        kind: rule.class.kind(),
        retry,
        job: context.job.clone(),
        stage: context.stage.clone(),
        lines,
        runner_up: best.runner_up,
    }
}

fn unexplained(
    rules: &RuleSet,
    ledger: &Ledger,
    failed: bool,
    exit_code: Option<i32>,
    lines: u64,
    context: &Context,
) -> Diagnosis {
    let job = match &ledger.job {
        Some((MarkKind::JobFailed, seen)) => Some(seen),
        _ => None,
    };
    // Without a rule for its words, a failing step's last complaint is the best there is to show.
    let failing = ledger.failing.as_ref().filter(|_| failed);
    let complaint = failing.and_then(|(_, complaint)| complaint.as_ref());
    let likely = complaint.and_then(|_| command::likely(&failing?.0));
    let seen: Option<&Hit> = complaint.or_else(|| {
        let said = ledger.first_failed.as_ref().or(ledger.step_error.as_ref());
        said.or(ledger.tool_failed.as_ref()).or(job).map(|seen| &seen.hit)
    });
    let excerpt = seen
        .map(|hit| Excerpt::around(hit, &rules.decoration))
        .unwrap_or_default();
    let why = if let Some(hit) = complaint {
        format!(
            "No rule knows this failure; the failing step complains last with: {}",
            hit.text.trim()
        )
    } else if lines == 0 {
        "The cause is not in this log: the log is empty.".to_owned()
    } else if failed || seen.is_some() {
        let code = exit_code
            .map(|code| format!(" with exit code {code}"))
            .unwrap_or_default();
        format!("The cause is not in this log: it says that a step failed{code}, and no line of it says why.")
    } else {
        "The cause is not in this log: no line of it tells of a failure, and it does not say how the job ended."
            .to_owned()
    };
    Diagnosis {
        class: likely.unwrap_or(Class::Unknown),
        confidence: match (likely, seen) {
            (Some(_), _) => 0.45,
            (None, Some(_)) => 0.5,
            (None, None) => 0.6,
        },
        line: seen.map(|hit| hit.line),
        excerpt: excerpt.lines.join("\n"),
        excerpt_start: seen.map(|_| excerpt.start),
        exit_code,
        why,
        advice: "Look at what the job's host reports beside the log (runner events, limits, services), or run the \
                 failing command again with more output."
            .to_owned(),
        rule: None,
        kind: likely.map_or(Kind::Unknown, Class::kind),
        retry: Retry::No,
        job: context.job.clone(),
        stage: context.stage.clone(),
        lines,
        runner_up: None,
    }
}

fn passed(
    rules: &RuleSet,
    seen: &Seen,
    lines: u64,
    context: &Context,
    confidence: f64,
    why: &str,
) -> Diagnosis {
    let excerpt = Excerpt::around(&seen.hit, &rules.decoration);
    Diagnosis {
        class: Class::Success,
        confidence,
        line: Some(seen.line),
        excerpt: excerpt.lines.join("\n"),
        excerpt_start: Some(excerpt.start),
        exit_code: context.exit_code.or(seen.exit).or(Some(0)),
        why: why.to_owned(),
        advice: "Nothing to do: errors that it printed did not fail it.".to_owned(),
        rule: None,
        kind: Kind::Passed,
        retry: Retry::No,
        job: context.job.clone(),
        stage: context.stage.clone(),
        lines,
        runner_up: None,
    }
}

/// The text with each `{name}` replaced by the capture of that name; `{name|otherwise}` says what stands for a
/// capture that the matching pattern does not have. A part in `[` and `]` is left out when a capture in it is missing;
/// `[The test {name}|A test]` says what stands in its place.
fn filled(text: &str, captures: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let Some(length) = rest[open..].find(']') else {
            break;
        };
        put(&mut out, &rest[..open], captures);
        let before = out.len();
        let part = &rest[open + 1..open + length];
        let last_capture = part.rfind('}').unwrap_or(0);
        let (part, otherwise) = match part[last_capture..].find('|') {
            Some(bar) => (&part[..last_capture + bar], &part[last_capture + bar + 1..]),
            None => (part, ""),
        };
        if !put(&mut out, part, captures) {
            out.truncate(before);
            out.push_str(otherwise);
        }
        rest = &rest[open + length + 1..];
    }
    let complete = put(&mut out, rest, captures);
    out.truncate(out.trim_end().len());
    if !complete && out.ends_with(':') {
        out.pop();
        out.push('.');
    }
    out
}

/// Whether no capture that `text` names was missing.
fn put(out: &mut String, text: &str, captures: &[(String, String)]) -> bool {
    let mut complete = true;
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else {
            break;
        };
        out.push_str(&rest[..open]);
        let body = &rest[open + 1..open + length];
        rest = &rest[open + length + 1..];
        let (name, otherwise) = body.split_once('|').unwrap_or((body, ""));
        let captured = captures
            .iter()
            .find(|(key, value)| key == name && !value.is_empty());
        let said = captured.map_or(otherwise, |(_, value)| value);
        out.push_str(said);
        if said.is_empty() {
            complete = false;
            if rest.starts_with(' ') && out.ends_with(' ') {
                out.pop();
            }
        }
    }
    out.push_str(rest);
    complete
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn captures_are_put_into_texts() {
        let captures = vec![("package".to_owned(), "left-pad".to_owned())];
        assert_eq!(filled("{package} is gone", &captures), "left-pad is gone");
        assert_eq!(filled("{thing|A thing} is gone", &captures), "A thing is gone");
        assert_eq!(filled("an open { brace", &captures), "an open { brace");
        assert_eq!(filled("It[ at {line}] fails: {what}", &captures), "It fails.");
        assert_eq!(
            filled("It[ in {package}] fails", &captures),
            "It in left-pad fails"
        );
        let alternative = "[The package {package}|A package] of [the team {team}|somebody] is gone";
        assert_eq!(
            filled(alternative, &captures),
            "The package left-pad of somebody is gone"
        );
        assert_eq!(
            filled("It fails: {what} {package}", &captures),
            "It fails: left-pad"
        );
    }
}
