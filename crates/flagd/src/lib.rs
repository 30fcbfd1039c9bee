//! Flag definitions of OpenFeature's flagd (<https://flagd.dev/reference/flag-definitions/>): for how many users a flag is on,
//! read off and changed in the text. Wherever the text stands, in a file or in a cluster, is somebody else's business.
//!
//! Only the values that mean the share are replaced; every other byte of the text stays, order and spaces too.
//!
//! A share is flagd's `fractional`: it hashes the flag's key with the user's `targetingKey`, or what the operation names
//! itself, and the variant that comes first gets the hashes from the bottom on. As long as the order stays, a user for whom
//! the flag is on at a share has it on at every larger one.

mod rules;
mod text;

use domain::{Error, Result};
use ports::{Flag, FlagRef, Mark};

use rules::Rules;

/// How a flag stands in a text. `whose` names the text for people: `/etc/flagd/flags.json`.
pub fn read(text: &str, at: &FlagRef, whose: &str) -> Result<Flag> {
    Ok(rules(text, at, whose)?.flag())
}

/// The text with the flag on for that share of users; none where it is so already. `Conflict` where somebody changed the
/// flag since it was seen.
pub fn change(text: &str, at: &FlagRef, whose: &str, percent: u32, seen: &Mark) -> Result<Option<String>> {
    let name = name(at, whose);
    if percent > 100 {
        return Err(
            Error::invalid(format!("{name} cannot be on for {percent} % of users"))
                .next("Name a share between 0 and 100"),
        );
    }
    let rules = rules(text, at, whose)?;
    let now = rules.flag();
    if now.percent == percent {
        return Ok(None);
    }
    if now.mark != *seen {
        return Err(Error::conflict(format!("{name} was changed by somebody else"))
            .next("Look at it and start again"));
    }
    Ok(Some(rules.at(percent)))
}

fn name(at: &FlagRef, whose: &str) -> String {
    format!("flag {} in {whose}", at.key)
}

fn rules<'a>(text: &'a str, at: &FlagRef, whose: &str) -> Result<Rules<'a>> {
    if at.scope.is_some() {
        let what = format!(
            "{} has no `scope`: flagd's flags are the same wherever they are read",
            name(at, whose)
        );
        let next =
            "Leave `scope` out of the environment's `flag`, and give each environment a store of its own";
        return Err(Error::invalid(what).next(next));
    }
    let flag = text::flag(text, &at.key).map_err(|error| unreadable(whose, &error))?;
    let Some(flag) = flag else {
        return Err(Error::not_found(format!("there is no {}", name(at, whose)))
            .next("Add it there, or correct the environment's `flag`"));
    };
    Rules::of(text, flag).map_err(|why| {
        Error::conflict(format!("{} is not a rollout by percentage: {why}", name(at, whose))).next(
            "Give it two variants, of which the default is off, and as `targeting` nothing or `fractional` over the two; \
             rules around that may keep it off for some, and must not turn it on",
        )
    })
}

/// Whether a text holds flags at all.
pub fn check(text: &str, whose: &str) -> Result<()> {
    text::flag(text, "")
        .map(|_| ())
        .map_err(|error| unreadable(whose, &error))
}

fn unreadable(whose: &str, error: &serde_json::Error) -> Error {
    Error::rejected(format!("{whose} does not hold flags as flagd reads them in JSON"))
        .because(error)
        .next("Correct it; `flags` is an object with a flag under each key")
}
