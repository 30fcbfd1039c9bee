use chrono::{NaiveDate, NaiveTime};
use domain::{Error, Result};
use sqlx::Row;

/// A place in the order of tasks, newest first: a list goes on behind it. Its text is for programs to hand back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// As Postgres writes it, so that no moment is rounded and `infinity` has its place.
    pub(super) created_at: String,
    pub(super) id: String,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One that was handed back has its T.
        let spaces = usize::from(!self.created_at.contains('T'));
        write!(f, "{}~{}", self.created_at.replacen(' ', "T", spaces), self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('~') {
            Some((at, id)) if is_moment(at) && !id.contains('\0') => Ok(Self {
                created_at: at.to_owned(),
                id: id.to_owned(),
            }),
            _ => Err(Error::invalid(format!("{text:?} is no place in a list"))
                .next("Hand back `next` of the page before as it is")),
        }
    }
}

impl Cursor {
    pub(super) fn read(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            created_at: row.try_get("at")?,
            id: row.try_get("id")?,
        })
    }
}

/// Whether Postgres writes a timestamp so, and so reads it: years up to 294276 and those before Christ among them.
fn is_moment(text: &str) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        return true;
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    text.split_once('T').is_some_and(|(date, time)| {
        let plain = time
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b":.".contains(&byte));
        plain && NaiveTime::parse_from_str(time, "%H:%M:%S%.f").is_ok() && is_date(date, before_christ)
    })
}

fn is_date(text: &str, before_christ: bool) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|_| digits)
    };
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (number(year), number(month), number(day)) else {
        return false;
    };
    let year = match before_christ {
        false if (1..=294_276).contains(&year) => year,
        // The year before 1 is 1 BC.
        true if (1..=4713).contains(&year) => 1 - year,
        _ => return false,
    };
    // The calendar repeats itself every 400 years; chrono's own ends before Postgres's.
    let (month, day) = (u32::try_from(month).unwrap_or(0), u32::try_from(day).unwrap_or(0));
    NaiveDate::from_ymd_opt(2000 + year.rem_euclid(400), month, day).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_postgres_wrote_and_nothing_else() {
        for text in [
            "2026-01-29T16:28:00.123456~id",
            "2026-01-29T16:28:00~",
            "infinity~id",
            "-infinity~id~x",
            "294276-12-31T23:59:59.999999~id",
            "0044-03-15T00:00:00 BC~id",
            "0001-02-29T00:00:00 BC~id",
        ] {
            let read: Result<Cursor> = text.parse();
            assert_eq!(read.expect(text).to_string(), text);
        }
        for wrong in [
            "",
            "~",
            "x~id",
            "2026-01-29~id",
            "2026-01-29T16:28:00",
            "9999-99-99T00:00:00~x",
            "2026-02-29T00:00:00~x",
            "294277-01-01T00:00:00~x",
            "2026-01-29T25:00:00~x",
            "2026-01-29T16:28:00 BC BC~x",
            "2026-01-29T16:28:00+01~x",
            "now~x",
            "2026-01-29T16:28:00~a\0b",
        ] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong:?}");
        }
    }
}
