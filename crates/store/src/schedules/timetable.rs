//! When a schedule runs: a cron expression on the clocks of a time zone.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use domain::{Error, Result};

/// A cron expression read on the wall clocks of a time zone.
///
/// Where clocks go forward, a fixed time that does not exist is due at the first moment after the gap, and times of a
/// pattern with a wildcard or a step are left out. Where clocks go back, a fixed time that comes twice is due at the first,
/// and a pattern with a wildcard or a step goes on through both hours. (Vixie cron's rules, as the Open Cron Pattern
/// Specification 1.4 has them.)
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// `cron` has five fields, of six the first are seconds, or is a nickname (`@daily`); `zone` is an IANA name.
    pub fn parse(cron: &str, zone: &str) -> Result<Self> {
        let zone = Tz::from_str(zone).map_err(|_| {
            Error::invalid(format!("`time_zone` is {zone:?}, which is no time zone"))
                .next("Use an IANA name, such as Europe/Berlin or UTC")
        })?;
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(cron).map_err(|error| {
            Error::invalid(format!("`cron` is {cron:?}, which is no cron expression"))
                .because(&error)
                .next(
                    r#"Write minute, hour, day of month, month and day of week, such as "30 3 * * MON-FRI""#,
                )
        })?;
        Ok(Self { cron, zone })
    }

    /// The first run after a moment; none when no day that will come fits.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self
            .cron
            .find_next_occurrence(&moment.with_timezone(&self.zone), false);
        next.ok().map(|next| next.with_timezone(&Utc))
    }

    /// The last run at a moment or before.
    pub fn last_until(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let last = self
            .cron
            .find_previous_occurrence(&moment.with_timezone(&self.zone), true);
        last.ok().map(|last| last.with_timezone(&Utc))
    }

    /// The expression in words: "At 03:30, Monday through Friday".
    pub fn in_words(&self) -> String {
        self.cron.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(cron: &str) -> Timetable {
        Timetable::parse(cron, "Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The next runs in UTC.
    fn runs(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
        let mut moment = at(after);
        (0..count)
            .map(|_| {
                moment = timetable.next_after(moment).expect("a next run");
                moment.format("%m-%d %H:%M").to_string()
            })
            .collect()
    }

    #[test]
    fn a_fixed_time_stays_on_the_wall_clock_over_the_year() {
        let summer = runs(&berlin("30 3 * * *"), "2026-07-01T00:00:00Z", 1);
        let winter = runs(&berlin("30 3 * * *"), "2026-12-01T00:00:00Z", 1);
        assert_eq!(
            (summer[0].as_str(), winter[0].as_str()),
            ("07-01 01:30", "12-01 02:30")
        );
    }

    #[test]
    fn a_fixed_time_in_the_gap_is_due_right_after_it() {
        // On 29 March 2026 02:00 to 03:00 does not exist in Berlin; 03:00 there is 01:00 UTC.
        assert_eq!(
            runs(&berlin("30 2 * * *"), "2026-03-28T00:00:00Z", 3),
            ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
        );
    }

    #[test]
    fn a_step_goes_on_after_the_gap_without_what_fell_into_it() {
        assert_eq!(
            runs(&berlin("*/30 * * * *"), "2026-03-29T00:15:00Z", 3),
            ["03-29 00:30", "03-29 01:00", "03-29 01:30"]
        );
    }

    #[test]
    fn a_fixed_time_that_comes_twice_is_due_once() {
        // On 25 October 2026 02:00 to 03:00 comes twice in Berlin: 00:00 to 01:00 UTC and once more to 02:00 UTC.
        assert_eq!(
            runs(&berlin("30 2 * * *"), "2026-10-24T12:00:00Z", 2),
            ["10-25 00:30", "10-26 01:30"]
        );
    }

    #[test]
    fn a_step_goes_on_through_both_hours() {
        assert_eq!(
            runs(&berlin("*/30 * * * *"), "2026-10-24T23:45:00Z", 5),
            [
                "10-25 00:00",
                "10-25 00:30",
                "10-25 01:00",
                "10-25 01:30",
                "10-25 02:00"
            ]
        );
    }

    #[test]
    fn what_is_due_by_now_is_found_backwards() {
        let table = berlin("0 6 * * MON-FRI");
        let last = table.last_until(at("2026-07-05T12:00:00Z"));
        assert_eq!(
            last,
            Some(at("2026-07-03T04:00:00Z")),
            "the Friday before that Sunday"
        );
        assert_eq!(
            table.last_until(at("2026-07-03T04:00:00Z")),
            last,
            "that very moment counts"
        );
    }

    #[test]
    fn seconds_nicknames_and_days_that_never_come() {
        assert_eq!(
            runs(&berlin("@daily"), "2026-07-01T00:00:00Z", 1),
            ["07-01 22:00"]
        );
        let seconds = Timetable::parse("*/20 * * * * *", "UTC").unwrap();
        assert_eq!(
            seconds.next_after(at("2026-07-01T00:00:01Z")),
            Some(at("2026-07-01T00:00:20Z"))
        );
        let never = Timetable::parse("0 0 30 2 *", "UTC").unwrap();
        assert_eq!(never.next_after(at("2026-07-01T00:00:00Z")), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (cron, zone, named) in [
            ("61 * * * *", "UTC", "`cron`"),
            ("often", "UTC", "`cron`"),
            ("", "UTC", "`cron`"),
            ("0 0 0 1 1 * 2030", "UTC", "`cron`"),
            ("@daily", "Mars/Olympus", "`time_zone`"),
        ] {
            let error = Timetable::parse(cron, zone).unwrap_err();
            assert!(
                error.to_string().contains(named) && error.next.is_some(),
                "{error}"
            );
        }
    }
}
