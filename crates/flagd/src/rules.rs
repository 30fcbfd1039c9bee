//! What a flag's definition says about shares of users, and what it would say at another one.

use std::fmt::Write as _;

use ports::{Flag, Mark};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::text::{Edit, Fields, fields, items};

const DISABLED: &str = "DISABLED";

/// A flag as it stands: two variants, and one place where the share between them is said.
pub(crate) struct Rules<'a> {
    text: &'a str,
    flag: &'a RawValue,
    fields: Fields<'a>,
    on: String,
    off: String,
    /// What users have for whom no rule says anything.
    default: Option<String>,
    seat: Seat<'a>,
}

/// Where the share is said.
enum Seat<'a> {
    /// Nothing says one yet.
    Nowhere,
    /// Neither does this, which stands there.
    Empty(&'a RawValue),
    /// Off for all for whom no rule before it is; it gives way to a share.
    Whole(&'a RawValue),
    Parts {
        on: Arm<'a>,
        off: Arm<'a>,
    },
}

/// A variant of a `fractional` with its weight.
struct Arm<'a> {
    name: String,
    whole: &'a RawValue,
    weight: Option<&'a RawValue>,
    worth: u64,
}

/// What a rule comes to for those whom it is for.
enum End<'a> {
    /// The same for all: a variant, or the default.
    Same(Option<String>, &'a RawValue),
    Parts(Vec<Arm<'a>>),
}

impl<'a> Rules<'a> {
    /// Or why it is no share of users, in words that follow a colon.
    pub(crate) fn of(text: &'a str, flag: &'a RawValue) -> Result<Self, String> {
        let fields = fields(flag).ok_or("it is no object")?;
        let default = fields.get("defaultVariant").and_then(|raw| name(raw));
        let mut ends = Vec::new();
        let targeting = fields.get("targeting").copied().filter(|raw| !is_empty(raw));
        if let Some(targeting) = targeting {
            walk(targeting, &mut ends)?;
        }
        let parted: Vec<&Vec<Arm<'_>>> = ends
            .iter()
            .filter_map(|end| match end {
                End::Parts(arms) => Some(arms),
                End::Same(..) => None,
            })
            .collect();
        let over = match parted.as_slice() {
            [] => None,
            [arms] => Some([arms[0].name.clone(), arms[1].name.clone()]),
            more => return Err(format!("its `targeting` has {} shares", more.len())),
        };
        let (on, off) = variants(&fields, default.as_deref(), over.as_ref())?;
        let mut seat = match (targeting, fields.get("targeting")) {
            (None, Some(empty)) => Seat::Empty(empty),
            _ => Seat::Nowhere,
        };
        let count = ends.len();
        for (at, end) in ends.into_iter().enumerate() {
            match end {
                End::Parts(mut arms) => {
                    let second = arms.pop().ok_or("it has no second part")?;
                    let first = arms.pop().ok_or("it has no first part")?;
                    let (on, off) = if first.name == on {
                        (first, second)
                    } else {
                        (second, first)
                    };
                    seat = Seat::Parts { on, off };
                }
                End::Same(given, whole) => {
                    let given = given.or_else(|| default.clone());
                    if given.as_ref().is_some_and(|given| *given != off) {
                        return Err(format!(
                            "a rule of its `targeting` gives `{}`",
                            given.unwrap_or_default()
                        ));
                    }
                    // Nobody is given it yet: those whom no other rule is for.
                    if over.is_none() && at + 1 == count {
                        seat = Seat::Whole(whole);
                    }
                }
            }
        }
        let rules = Self {
            text,
            flag,
            fields,
            on,
            off,
            default,
            seat,
        };
        rules.share().map(|_| rules)
    }

    fn share(&self) -> Result<u32, String> {
        let share = match &self.seat {
            // No rule says anything: all have the default.
            Seat::Nowhere | Seat::Empty(_) if self.is_default() => 100,
            Seat::Nowhere | Seat::Empty(_) | Seat::Whole(_) => 0,
            Seat::Parts { on, off } => {
                let whole = on.worth + off.worth;
                if whole == 0 || !(on.worth * 100).is_multiple_of(whole) {
                    return Err(format!("{} to {} is no whole percentage", on.worth, off.worth));
                }
                on.worth * 100 / whole
            }
        };
        // At most a hundred.
        Ok(u32::try_from(share).unwrap_or(100))
    }

    fn is_default(&self) -> bool {
        self.default.as_ref() == Some(&self.on)
    }

    /// A flag that is off as a whole is one that flagd does not know.
    fn is_disabled(&self) -> bool {
        let state = self.fields.get("state").and_then(|raw| name(raw));
        state.as_deref() == Some(DISABLED)
    }

    pub(crate) fn flag(&self) -> Flag {
        let said = ["state", "variants", "defaultVariant", "targeting"].map(|field| {
            let raw = self.fields.get(field);
            raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
        });
        let digest = Sha256::digest(json!(said).to_string().as_bytes());
        let mark = digest.iter().take(12).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let share = self.share().unwrap_or_default();
        Flag {
            percent: if self.is_disabled() { 0 } else { share },
            mark: Mark(mark),
        }
    }

    /// The text with the flag on for that share.
    pub(crate) fn at(&self, percent: u32) -> String {
        let mut edit = Edit::of(self.text);
        let rest = 100_u32.saturating_sub(percent);
        let parts = || {
            let (on, off) = (Value::from(self.on.as_str()), Value::from(self.off.as_str()));
            format!("{{\"fractional\": [[{on}, {percent}], [{off}, {rest}]]}}")
        };
        match &self.seat {
            Seat::Nowhere => edit.add(self.flag, &self.fields, "targeting", &parts()),
            Seat::Empty(whole) | Seat::Whole(whole) => edit.replace(whole, parts()),
            Seat::Parts { on, off } => {
                for (arm, worth) in [(on, percent), (off, rest)] {
                    match arm.weight {
                        Some(weight) => edit.replace(weight, worth.to_string()),
                        None => edit.replace(
                            arm.whole,
                            format!("[{}, {worth}]", Value::from(arm.name.as_str())),
                        ),
                    }
                }
            }
        }
        if let Some(state) = self.fields.get("state")
            && self.is_disabled()
        {
            edit.replace(state, "\"ENABLED\"");
        }
        // Else those without a key to hash would have it at every share.
        if let Some(default) = self.fields.get("defaultVariant")
            && self.is_default()
        {
            edit.replace(default, Value::from(self.off.as_str()).to_string());
        }
        edit.done()
    }
}

/// `{}` and `null` are no rule.
fn is_empty(targeting: &RawValue) -> bool {
    targeting.get() == "null" || fields(targeting).is_some_and(|fields| fields.is_empty())
}

/// A name, which flagd also takes as a plain `true` or `false`.
fn name(raw: &RawValue) -> Option<String> {
    match serde_json::from_str(raw.get()).ok()? {
        Value::String(name) => Some(name),
        Value::Bool(name) => Some(name.to_string()),
        _ => None,
    }
}

/// Which variant is rolled out, and which stands for off.
fn variants(
    fields: &Fields<'_>,
    default: Option<&str>,
    over: Option<&[String; 2]>,
) -> Result<(String, String), String> {
    let all: serde_json::Map<String, Value> = fields
        .get("variants")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or("it has no `variants`")?;
    let names: Vec<&str> = match over {
        Some(over) => over.iter().map(String::as_str).collect(),
        None => all.keys().map(String::as_str).collect(),
    };
    if let Some(unknown) = names.iter().find(|name| !all.contains_key(**name)) {
        return Err(format!(
            "it has no variant `{unknown}`, which its `targeting` gives"
        ));
    }
    let [one, other] = names[..] else {
        let names = names.join(", ");
        return Err(format!(
            "nothing says which of its variants is rolled out ({names})"
        ));
    };
    let (on, off) = match (&all[one], &all[other]) {
        (Value::Bool(true), Value::Bool(false)) => (one, other),
        (Value::Bool(false), Value::Bool(true)) => (other, one),
        _ if default == Some(one) => (other, one),
        _ if default == Some(other) => (one, other),
        _ => return Err(format!("neither `{one}` nor `{other}` is its `defaultVariant`")),
    };
    Ok((on.to_owned(), off.to_owned()))
}

/// Follows the branches of `if`, whatever the conditions are, to where they end.
fn walk<'a>(rule: &'a RawValue, ends: &mut Vec<End<'a>>) -> Result<(), String> {
    let Some(operation) = fields(rule) else {
        let end = match rule.get() == "null" {
            true => None,
            false => Some(name(rule).ok_or_else(|| format!("a rule of its `targeting` is {}", rule.get()))?),
        };
        ends.push(End::Same(end, rule));
        return Ok(());
    };
    let Some((kind, operands)) = operation.iter().next().filter(|_| operation.len() == 1) else {
        return Err("a rule of its `targeting` is no operation".to_owned());
    };
    let operands = items(operands).ok_or_else(|| format!("its `{kind}` has no list"))?;
    match kind.as_str() {
        "if" if operands.len() % 2 == 1 => {
            let (last, pairs) = operands.split_last().ok_or("its `if` is empty")?;
            for pair in pairs.chunks(2) {
                walk(pair[1], ends)?;
            }
            walk(last, ends)
        }
        "if" => Err("an `if` of its `targeting` has no else".to_owned()),
        "fractional" => {
            // By what users are told apart comes first, if it is said.
            let skip = usize::from(
                operands
                    .first()
                    .is_some_and(|first| !first.get().starts_with('[')),
            );
            let arms = operands.iter().skip(skip).map(|raw| arm(raw));
            let arms = arms.collect::<Option<Vec<_>>>();
            match arms {
                Some(arms) if arms.len() == 2 => ends.push(End::Parts(arms)),
                Some(arms) => return Err(format!("its `fractional` is over {} variants", arms.len())),
                None => {
                    return Err(
                        "its `fractional` has parts that are no variant with a whole weight".to_owned(),
                    );
                }
            }
            Ok(())
        }
        other => Err(format!("its `targeting` is by `{other}`")),
    }
}

fn arm(raw: &RawValue) -> Option<Arm<'_>> {
    let parts = items(raw)?;
    let (first, weight) = match parts[..] {
        [first] => (first, None),
        [first, weight] => (first, Some(weight)),
        _ => return None,
    };
    let worth = match weight {
        None => 1,
        Some(weight) if weight.get() == "null" => 1,
        // As much as flagd can count.
        Some(weight) => serde_json::from_str::<u32>(weight.get()).ok()?.into(),
    };
    Some(Arm {
        name: name(first)?,
        whole: raw,
        weight,
        worth,
    })
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
