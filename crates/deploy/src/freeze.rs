//! Freeze windows: times in which no deployment starts, on the wall clocks of the repository's time zone.
//!
//! A weekly window runs from a weekday and time to another weekday and time; a dated one from a local date and time to another.
//! Starts belong to a window and ends do not. Where clocks go forward over a start or an end, it is the first moment after the gap;
//! where they go back, a start is the first of its two moments and an end is the second, so that no freeze is shorter than it reads.

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
mod tests {
    use super::*;

    fn weekly(name: &str, from: &str, to: &str) -> FreezeWindow {
        FreezeWindow::weekly(name, from, to)
    }

    fn dates(name: &str, from: &str, to: &str) -> FreezeWindow {
        FreezeWindow::dates(name, from, to)
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn berlin(windows: Vec<FreezeWindow>) -> Freeze {
        Freeze {
            time_zone: "Europe/Berlin".to_owned(),
            windows,
        }
    }

    /// The end and the window, or nothing if open.
    fn frozen(freeze: &Freeze, now: &str) -> Option<(DateTime<Utc>, String)> {
        match freeze.at(at(now), None).unwrap() {
            Gate::Frozen { until, window } => Some((until, window)),
            Gate::Open => None,
            Gate::Overridden { .. } => panic!("nobody overrode it"),
        }
    }

    fn until(text: &str, window: &str) -> Option<(DateTime<Utc>, String)> {
        Some((at(text), window.to_owned()))
    }

    #[test]
    fn no_friday_afternoon_by_default() {
        let freeze = Freeze {
            time_zone: "Europe/Berlin".to_owned(),
            ..Freeze::default()
        };
        // 20 November 2026 is a Friday; Berlin is an hour ahead of UTC in winter.
        assert_eq!(frozen(&freeze, "2026-11-20T10:59:59Z"), None);
        assert_eq!(
            frozen(&freeze, "2026-11-20T11:00:00Z"),
            until("2026-11-20T23:00:00Z", "Friday afternoon")
        );
        assert_eq!(
            frozen(&freeze, "2026-11-20T22:59:59Z"),
            until("2026-11-20T23:00:00Z", "Friday afternoon")
        );
        assert_eq!(frozen(&freeze, "2026-11-20T23:00:00Z"), None);
        assert_eq!(frozen(&freeze, "2026-11-19T12:00:00Z"), None, "a Thursday");
        // In summer it is two hours.
        assert_eq!(
            frozen(&freeze, "2026-07-17T10:00:00Z"),
            until("2026-07-17T22:00:00Z", "Friday afternoon")
        );
        assert_eq!(frozen(&freeze, "2026-07-17T09:59:59Z"), None);
    }

    #[test]
    fn it_is_friday_where_the_repository_is() {
        let auckland = Freeze {
            time_zone: "Pacific/Auckland".to_owned(),
            ..Freeze::default()
        };
        // Thursday evening in UTC is Friday noon there (13 hours ahead in their summer).
        assert_eq!(
            frozen(&auckland, "2026-11-19T23:00:00Z"),
            until("2026-11-20T11:00:00Z", "Friday afternoon")
        );
        assert_eq!(frozen(&auckland, "2026-11-20T11:00:00Z"), None);
    }

    #[test]
    fn a_weekly_window_may_cross_the_end_of_the_week() {
        let freeze = berlin(vec![weekly("weekend", "fri 18:00", "mon 08:00")]);
        assert_eq!(
            frozen(&freeze, "2026-11-22T12:00:00Z"),
            until("2026-11-23T07:00:00Z", "weekend")
        );
        assert_eq!(
            frozen(&freeze, "2026-11-23T06:59:59Z"),
            until("2026-11-23T07:00:00Z", "weekend")
        );
        assert_eq!(frozen(&freeze, "2026-11-23T07:00:00Z"), None);
        let nightly = berlin(vec![weekly("sunday", "sun 00:00", "mon 00:00")]);
        assert_eq!(
            frozen(&nightly, "2026-11-22T22:59:00Z"),
            until("2026-11-22T23:00:00Z", "sunday")
        );
    }

    /// On 29 March 2026 Berlin's clocks go from 02:00 to 03:00, on 25 October from 03:00 back to 02:00.
    #[test]
    fn a_window_across_a_change_of_the_clocks_is_longer_or_shorter_by_it() {
        let freeze = berlin(vec![weekly("night", "sat 22:00", "sun 06:00")]);
        assert_eq!(
            frozen(&freeze, "2026-03-28T21:00:00Z"),
            until("2026-03-29T04:00:00Z", "night"),
            "seven hours"
        );
        assert_eq!(
            frozen(&freeze, "2026-10-24T20:00:00Z"),
            until("2026-10-25T05:00:00Z", "night"),
            "nine hours"
        );
    }

    #[test]
    fn an_edge_in_a_gap_is_after_it_and_one_that_comes_twice_makes_the_freeze_longer() {
        let freeze = berlin(vec![weekly("gap", "sun 02:30", "sun 05:00")]);
        assert_eq!(frozen(&freeze, "2026-03-29T00:59:59Z"), None);
        assert_eq!(
            frozen(&freeze, "2026-03-29T01:00:00Z"),
            until("2026-03-29T03:00:00Z", "gap")
        );
        let twice = berlin(vec![weekly("twice", "sun 02:30", "sun 02:45")]);
        assert_eq!(frozen(&twice, "2026-10-25T00:29:59Z"), None);
        assert_eq!(
            frozen(&twice, "2026-10-25T00:30:00Z"),
            until("2026-10-25T01:45:00Z", "twice")
        );
        assert_eq!(frozen(&twice, "2026-10-25T01:45:00Z"), None);
    }

    #[test]
    fn dates_are_local_and_a_day_begins_at_midnight() {
        let freeze = berlin(vec![dates("Christmas", "2026-12-21", "2027-01-04 06:00")]);
        assert_eq!(frozen(&freeze, "2026-12-20T22:59:59Z"), None);
        assert_eq!(
            frozen(&freeze, "2026-12-20T23:00:00Z"),
            until("2027-01-04T05:00:00Z", "Christmas")
        );
        assert_eq!(frozen(&freeze, "2027-01-04T05:00:00Z"), None);
        assert_eq!(frozen(&freeze, "2027-12-25T12:00:00Z"), None, "once");
    }

    #[test]
    fn windows_that_touch_are_open_only_after_the_last() {
        let freeze = berlin(vec![
            FreezeWindow::friday_afternoon(),
            weekly("weekend", "sat 00:00", "mon 00:00"),
            dates("launch", "2026-11-23", "2026-11-24"),
        ]);
        assert_eq!(
            frozen(&freeze, "2026-11-20T12:00:00Z"),
            until("2026-11-23T23:00:00Z", "Friday afternoon")
        );
        assert_eq!(
            frozen(&freeze, "2026-11-27T12:00:00Z"),
            until("2026-11-29T23:00:00Z", "Friday afternoon")
        );
        let longer = berlin(vec![
            weekly("short", "mon 10:00", "mon 11:00"),
            weekly("long", "mon 09:00", "mon 17:00"),
        ]);
        assert_eq!(
            frozen(&longer, "2026-11-23T09:30:00Z"),
            until("2026-11-23T16:00:00Z", "long")
        );
    }

    #[test]
    fn an_override_has_a_name_and_a_reason() {
        let freeze = Freeze::default();
        let by = |name: &str, reason: &str| Override {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let friday = at("2026-11-20T13:00:00Z");
        let through = freeze
            .at(friday, Some(&by("Ada", "certificate expires tonight")))
            .unwrap();
        let expected = Gate::Overridden {
            until: at("2026-11-21T00:00:00Z"),
            window: "Friday afternoon".to_owned(),
            name: "Ada".to_owned(),
            reason: "certificate expires tonight".to_owned(),
        };
        assert_eq!(through, expected);
        assert_eq!(
            freeze.at(friday, Some(&by("Ada", " "))),
            Err(FreezeError::Override("reason"))
        );
        assert_eq!(
            freeze.at(friday, Some(&by("", "now"))),
            Err(FreezeError::Override("name"))
        );
        assert_eq!(
            freeze.at(at("2026-11-18T13:00:00Z"), Some(&by("", ""))),
            Ok(Gate::Open),
            "nothing to override"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let now = at("2026-11-18T13:00:00Z");
        let problem = |freeze: Freeze| freeze.at(now, None).unwrap_err().to_string();
        let zone = Freeze {
            time_zone: "Berlin".to_owned(),
            ..Freeze::default()
        };
        assert!(problem(zone).contains("Europe/Berlin"));
        assert!(problem(berlin(vec![weekly("w", "fri", "sat 00:00")])).contains("fri 12:00"));
        assert!(problem(berlin(vec![weekly("w", "fri 25:00", "sat 00:00")])).contains("25:00"));
        assert!(problem(berlin(vec![dates("d", "21.12.2026", "2027-01-04")])).contains("2026-12-21"));
        assert!(problem(berlin(vec![dates("d", "2027-01-04", "2026-12-21")])).contains("ends before"));
        let neither = FreezeWindow {
            name: "n".to_owned(),
            ..FreezeWindow::default()
        };
        assert!(problem(berlin(vec![neither])).contains("`weekly` or `dates`"));
        assert!(problem(berlin(vec![weekly(" ", "fri 12:00", "sat 00:00")])).contains("name"));
        let always = berlin(vec![weekly("always", "mon 00:00", "mon 00:00")]);
        assert!(problem(always).contains("no open moment"));
    }

    #[test]
    fn settings_read_as_they_are_documented() {
        let text = r#"{"time_zone": "Europe/Berlin", "windows": [
            {"name": "late", "weekly": {"from": "Fri 12:00", "to": "sat 00:00"}},
            {"name": "Christmas", "dates": {"from": "2026-12-21", "to": "2027-01-04 06:00"}}]}"#;
        let freeze: Freeze = serde_json::from_str(text).unwrap();
        assert_eq!(
            freeze.windows[1],
            dates("Christmas", "2026-12-21", "2027-01-04 06:00")
        );
        assert_eq!(
            frozen(&freeze, "2026-11-20T12:00:00Z"),
            until("2026-11-20T23:00:00Z", "late")
        );
        assert!(serde_json::from_str::<Freeze>(r#"{"zone": "UTC"}"#).is_err());
    }
}
