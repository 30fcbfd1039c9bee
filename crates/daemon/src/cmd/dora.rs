//! `longshore dora`: how well deployments go, of those that were made.

use chrono::{DateTime, Utc};
use deploy::dora::{self, Durations, Measures, Scope, Share};
use deploy::records::of_log;
use domain::{Error, Span};
use ports::DeploymentLog;
use serde_json::json;
use store::Store;

use super::repos::no_such_repo;
use crate::cli::Dora;
use crate::config::Settings;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, Paint, harmless, moment};
use crate::wiring::{self, As};

pub async fn run(command: &Dora, settings: &Settings, out: Output) -> Outcome {
    let store = wiring::store(settings, As::Command).await?;
    let outcome = show(command, &store, out).await;
    store.close().await;
    outcome
}

async fn show(command: &Dora, store: &Store, out: Output) -> Outcome {
    let to = store.now().await?;
    let from = since(&command.since, to)?;
    let repo = match &command.repo {
        None => None,
        Some(named) => match store.find_repo(named).await? {
            Some(repo) => Some(repo),
            None => return Err(no_such_repo(store, named).await?.into()),
        },
    };
    let log = store
        .since(from, repo.as_ref().map(|repo| repo.id.as_str()))
        .await?;
    let scope = Scope {
        repo: repo.map(|repo| repo.id),
        environment: command.environment.clone(),
        from,
        to,
    };
    let records = of_log(&log);
    let measures = dora::measures(&records, &scope);
    // Where several are in it, their figures are shown apart too: a mean of services says little of any of them.
    let by_repo = match scope.repo {
        None => dora::by_repo(&records, &scope),
        Some(_) => Default::default(),
    };
    let mut parts = Vec::new();
    for (id, measures) in by_repo.iter().filter(|_| by_repo.len() > 1) {
        let known = store.find_repo(id).await?;
        parts.push((known.map_or_else(|| id.clone(), |repo| repo.at.project), measures));
    }
    let answer = json!({ "measures": measures, "by_repo": by_repo });
    out.answer(&answer, |out| {
        let mut text = heading(&measures, out);
        text.push_str(&figures(&measures));
        for (name, measures) in &parts {
            text.push_str(&format!("\n{}\n", out.paint(Paint::Bold, &harmless(name))));
            text.push_str(&figures(measures));
        }
        if !command.ids {
            text.push_str("\n--ids lists the deployments behind each figure.");
        } else {
            text.push_str(&format!("\n{}", ids(&measures, out)));
        }
        text
    })?;
    Ok(Exit::Done)
}

/// A length of time before now, or a moment.
fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    let wrong = || {
        Error::invalid(format!("--since {text:?} is neither a length of time nor a date"))
            .next("Write it like 30d, 12h, 2026-01-31 or 2026-01-31T08:00:00Z")
    };
    if let Ok(span) = text.parse::<Span>() {
        let span = chrono::TimeDelta::from_std(span.0).map_err(|_| wrong())?;
        return now.checked_sub_signed(span).ok_or_else(wrong);
    }
    let day = || text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    let from = match text.parse::<DateTime<Utc>>() {
        Ok(moment) => moment,
        Err(_) => day().ok_or_else(wrong)?.and_utc(),
    };
    if from > now {
        return Err(Error::invalid(format!("--since {text} lies ahead")).next("Name a time that is over"));
    }
    Ok(from)
}

fn heading(measures: &Measures, out: &Output) -> String {
    let scope = &measures.scope;
    let title = format!("Deployments to {}", scope.environment);
    format!(
        "{}  {} to {}\n",
        out.paint(Paint::Bold, &harmless(&title)),
        moment(scope.from),
        moment(scope.to)
    )
}

/// The five, each with what it rests on.
fn figures(measures: &Measures) -> String {
    let frequency = &measures.frequency;
    let often = match (frequency.n, frequency.per_day) {
        (0, _) | (_, None) => "none".to_owned(),
        (_, Some(per_day)) if per_day >= 1.0 => format!("{per_day:.1} a day"),
        (_, Some(per_day)) => format!("{:.1} a week", per_day * 7.0),
    };
    let rows = [
        (
            "deployment frequency",
            often,
            format!("{} in {:.1} days", frequency.n, frequency.days),
        ),
        (
            "change lead time",
            time(&measures.lead_time),
            durations(&measures.lead_time, "changes whose commit's time is known"),
        ),
        (
            "change fail rate",
            rate(&measures.change_fail_rate),
            share(&measures.change_fail_rate),
        ),
        (
            "failed deployment recovery time",
            time(&measures.recovery_time),
            durations(&measures.recovery_time, "failed deployments that are made good"),
        ),
        (
            "deployment rework rate",
            rate(&measures.rework_rate),
            share(&measures.rework_rate),
        ),
    ];
    rows.iter()
        .map(|(name, figure, of)| format!("  {name:<33}{figure:<22}{of}\n"))
        .collect()
}

fn rate(share: &Share) -> String {
    share
        .rate
        .map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0))
}

fn share(share: &Share) -> String {
    format!("{} of {} deployments", share.n, share.of)
}

fn time(durations: &Durations) -> String {
    durations
        .median_s
        .map_or_else(|| "-".to_owned(), |median| format!("{} (median)", length(median)))
}

fn durations(durations: &Durations, what: &str) -> String {
    let mean = durations
        .mean_s
        .map_or_else(String::new, |mean| format!(", mean {}", length(mean)));
    format!("{} of {} {what}{mean}", durations.n, durations.of)
}

/// Of a long time nobody wants the seconds.
fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let coarse = match whole {
        0..3600 => whole,
        3600..172_800 => whole / 60 * 60,
        _ => whole / 3600 * 3600,
    };
    Span::seconds(coarse).to_string()
}

/// Which deployments each figure counts.
fn ids(measures: &Measures, out: &Output) -> String {
    let names = |ids: &[String]| match ids {
        [] => "none".to_owned(),
        ids => ids.join(" "),
    };
    let timed = |durations: &Durations| {
        let each = durations.each.iter();
        let mut all: Vec<String> = each
            .map(|(id, seconds)| format!("{id}={}", length(*seconds)))
            .collect();
        all.extend(durations.without.iter().map(|id| format!("{id}=unknown")));
        names(&all)
    };
    let parts = [
        ("deployments", names(&measures.frequency.ids)),
        ("lead times", timed(&measures.lead_time)),
        ("failed", names(&measures.change_fail_rate.ids)),
        ("recovery times", timed(&measures.recovery_time)),
        ("rework", names(&measures.rework_rate.ids)),
    ];
    parts
        .iter()
        .map(|(name, ids)| {
            let name = out.paint(Paint::Dim, name);
            format!("{name}\n  {}\n", harmless(ids))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_a_length_a_day_or_a_moment_that_is_over() {
        let now: DateTime<Utc> = "2026-03-31T12:00:00Z".parse().unwrap();
        let read = |text: &str| since(text, now).map(|at| at.to_rfc3339());
        assert_eq!(read("30d").unwrap(), "2026-03-01T12:00:00+00:00");
        assert_eq!(read("2026-01-31").unwrap(), "2026-01-31T00:00:00+00:00");
        assert_eq!(
            read("2026-01-31T08:00:00+02:00").unwrap(),
            "2026-01-31T06:00:00+00:00"
        );
        assert!(read("2027-01-01").unwrap_err().to_string().contains("lies ahead"));
        assert!(read("soon").unwrap_err().to_string().contains("neither a length"));
        assert!(read("99999999999d").is_err());
    }

    #[test]
    fn long_times_are_told_coarsely() {
        assert_eq!(length(42.4), "42s");
        assert_eq!(length(3725.0), "1h2m");
        assert_eq!(length(200_000.0), "2d7h");
    }
}
