//! Freeze windows: times in which no deployment starts, on the wall clocks of the repository's time zone.
//!
//! A weekly window runs from a weekday and time to another weekday and time; a dated one from a local date and time to another.
//! Starts belong to a window and ends do not. Where clocks go forward over a start or an end, it is the first moment after the
//! gap; where they go back, a start is the first of its two moments and an end is the second, so that no freeze is shorter than
//! it reads.

use chrono::{
    DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc,
    Weekday,
};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a repository's settings say. The default is one window, from Friday noon until Saturday: what breaks then is mended by
/// somebody who wanted to go home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Freeze {
    /// An IANA name, such as Europe/Berlin.
    pub time_zone: String,
    pub windows: Vec<FreezeWindow>,
}

impl Default for Freeze {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            windows: vec![FreezeWindow::friday_afternoon()],
        }
    }
}

/// One of `weekly` and `dates`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    /// What people are told.
    pub name: String,
    /// Every week: `{"from": "fri 12:00", "to": "sat 00:00"}`. An end that is no later than its start is in the next week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Range>,
    /// Once: `{"from": "2026-12-21", "to": "2027-01-04 06:00"}`. A day without a time begins at midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<Range>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    pub from: String,
    pub to: String,
}

impl FreezeWindow {
    pub fn friday_afternoon() -> Self {
        Self::weekly("Friday afternoon", "fri 12:00", "sat 00:00")
    }

    pub fn weekly(name: &str, from: &str, to: &str) -> Self {
        Self {
            name: name.to_owned(),
            weekly: Some(Range::new(from, to)),
            dates: None,
        }
    }

    pub fn dates(name: &str, from: &str, to: &str) -> Self {
        Self {
            name: name.to_owned(),
            weekly: None,
            dates: Some(Range::new(from, to)),
        }
    }
}

impl Range {
    fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }
}

/// Somebody lets a deployment through a freeze, and says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Who answers for it.
    pub name: String,
    pub reason: String,
}

/// Whether a deployment may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Gate {
    Open,
    Frozen {
        /// When it is open again: windows that overlap or follow each other without a gap count as one.
        until: DateTime<Utc>,
        /// The name of the window that holds now.
        window: String,
    },
    /// Frozen, and let through.
    Overridden {
        until: DateTime<Utc>,
        window: String,
        name: String,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    #[error("`time_zone` is {0:?}, which is no time zone; use an IANA name, such as Europe/Berlin")]
    Zone(String),
    #[error("freeze window {window:?}: {text:?} is no weekday and time; write it like \"fri 12:00\"")]
    Weekly { window: String, text: String },
    #[error(
        "freeze window {window:?}: {text:?} is no date; write it like \"2026-12-21\" or \"2026-12-21 18:00\""
    )]
    Date { window: String, text: String },
    #[error("freeze window {window:?} needs either `weekly` or `dates`")]
    OneOf { window: String },
    #[error("freeze window {window:?} ends before it starts")]
    Backwards { window: String },
    #[error("a freeze window needs a name, which people are told")]
    Nameless,
    #[error("an override of a freeze needs a name and a reason; the {0} is empty")]
    Override(&'static str),
    #[error("the freeze windows leave no open moment for {0} days from now")]
    Forever(u32),
}

/// Settings that were read and found right.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: Tz,
    windows: Vec<(String, Rule)>,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Weekly {
        from: (Weekday, NaiveTime),
        length: TimeDelta,
    },
    Dates {
        from: NaiveDateTime,
        to: NaiveDateTime,
    },
}

/// No freeze that is meant lasts longer than this.
const LONGEST_DAYS: u32 = 400;

impl Freeze {
    pub fn calendar(&self) -> Result<Calendar, FreezeError> {
        let zone = self
            .time_zone
            .parse()
            .map_err(|_| FreezeError::Zone(self.time_zone.clone()))?;
        let windows = self
            .windows
            .iter()
            .map(|w| Ok((w.name.clone(), w.rule()?)))
            .collect::<Result<_, _>>()?;
        Ok(Calendar { zone, windows })
    }

    /// Whether a deployment may start now.
    pub fn at(&self, now: DateTime<Utc>, with: Option<&Override>) -> Result<Gate, FreezeError> {
        self.calendar()?.at(now, with)
    }
}

impl FreezeWindow {
    fn rule(&self) -> Result<Rule, FreezeError> {
        if self.name.trim().is_empty() {
            return Err(FreezeError::Nameless);
        }
        let window = || self.name.clone();
        match (&self.weekly, &self.dates) {
            (Some(Range { from, to }), None) => {
                let read = |text: &String| {
                    week_time(text).ok_or_else(|| FreezeError::Weekly {
                        window: window(),
                        text: text.clone(),
                    })
                };
                let (from, to) = (read(from)?, read(to)?);
                let since_monday = |(day, time): (Weekday, NaiveTime)| {
                    TimeDelta::days(i64::from(day.num_days_from_monday())) + (time - NaiveTime::MIN)
                };
                let mut length = since_monday(to) - since_monday(from);
                if length <= TimeDelta::zero() {
                    length += TimeDelta::days(7);
                }
                Ok(Rule::Weekly { from, length })
            }
            (None, Some(Range { from, to })) => {
                let read = |text: &String| {
                    date_time(text).ok_or_else(|| FreezeError::Date {
                        window: window(),
                        text: text.clone(),
                    })
                };
                let (from, to) = (read(from)?, read(to)?);
                if to <= from {
                    return Err(FreezeError::Backwards { window: window() });
                }
                Ok(Rule::Dates { from, to })
            }
            _ => Err(FreezeError::OneOf { window: window() }),
        }
    }
}

impl Calendar {
    pub fn at(&self, now: DateTime<Utc>, with: Option<&Override>) -> Result<Gate, FreezeError> {
        let Some((mut until, window)) = self.holding(now) else {
            return Ok(Gate::Open);
        };
        let window = window.to_owned();
        let limit = now + TimeDelta::days(i64::from(LONGEST_DAYS));
        while let Some((later, _)) = self.holding(until) {
            if later > limit {
                return Err(FreezeError::Forever(LONGEST_DAYS));
            }
            until = later;
        }
        let Some(by) = with else {
            return Ok(Gate::Frozen { until, window });
        };
        for (what, text) in [("name", &by.name), ("reason", &by.reason)] {
            if text.trim().is_empty() {
                return Err(FreezeError::Override(what));
            }
        }
        Ok(Gate::Overridden {
            until,
            window,
            name: by.name.clone(),
            reason: by.reason.clone(),
        })
    }

    /// Of the windows that hold a moment, the one that ends last.
    fn holding(&self, moment: DateTime<Utc>) -> Option<(DateTime<Utc>, &str)> {
        let ends = self
            .windows
            .iter()
            .filter_map(|(name, rule)| Some((self.held_until(rule, moment)?, name.as_str())));
        // Of two that end together the first is named.
        ends.reduce(|best, other| if other.0 > best.0 { other } else { best })
    }

    fn held_until(&self, rule: &Rule, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let spans: Vec<(NaiveDateTime, NaiveDateTime)> = match rule {
            Rule::Dates { from, to } => vec![(*from, *to)],
            Rule::Weekly {
                from: (day, time),
                length,
            } => {
                // Starts of this week and the last: a window is no longer than a week, and clocks move it by hours.
                let today = moment.with_timezone(&self.zone).date_naive() + Days::new(1);
                let back = u64::from(today.weekday().days_since(*day));
                let starts = [back, back + 7, back + 14]
                    .into_iter()
                    .filter_map(|days| today.checked_sub_days(Days::new(days)));
                starts
                    .map(|date| date.and_time(*time))
                    .map(|start| (start, start + *length))
                    .collect()
            }
        };
        let real = |(from, to)| (self.moment(from, Edge::Start), self.moment(to, Edge::End));
        let held = spans
            .into_iter()
            .map(real)
            .filter(|(from, to)| (*from..*to).contains(&moment));
        held.map(|(_, to)| to).max()
    }

    /// The moment at which the zone's clocks show a time.
    fn moment(&self, local: NaiveDateTime, edge: Edge) -> DateTime<Utc> {
        match self.zone.from_local_datetime(&local) {
            LocalResult::Single(one) => one.with_timezone(&Utc),
            LocalResult::Ambiguous(first, second) => match edge {
                Edge::Start => first.with_timezone(&Utc),
                Edge::End => second.with_timezone(&Utc),
            },
            LocalResult::None => self.after_gap(local),
        }
    }

    /// The first moment after a gap of the clocks that holds a time: found by halving, to the second.
    fn after_gap(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let shown = |moment: DateTime<Utc>| moment.with_timezone(&self.zone).naive_local();
        // No zone is more than a day away from UTC, and no gap longer than one.
        let (mut before, mut after) = (
            local.and_utc() - TimeDelta::days(2),
            local.and_utc() + TimeDelta::days(2),
        );
        while after - before > TimeDelta::seconds(1) {
            let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
            if shown(middle) < local {
                before = middle
            } else {
                after = middle
            }
        }
        after
    }
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

fn week_time(text: &str) -> Option<(Weekday, NaiveTime)> {
    let (day, time) = text.trim().split_once(' ')?;
    Some((
        day.parse().ok()?,
        NaiveTime::parse_from_str(time.trim(), "%H:%M").ok()?,
    ))
}

fn date_time(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let day = |text| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    match text.split_once([' ', 'T']) {
        None => day(text).map(|date| date.and_time(NaiveTime::MIN)),
        Some((date, time)) => {
            Some(day(date)?.and_time(NaiveTime::parse_from_str(time.trim(), "%H:%M").ok()?))
        }
    }
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
