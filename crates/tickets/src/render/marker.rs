use std::fmt;

use domain::TaskId;
use sha2::{Digest, Sha256};

/// The hidden last line by which a note is found again.
///
/// Only a note's very last line counts, and only in notes of our own user: everything above it may hold text from
/// outside, which no line of a rendered note starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    task: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The task's one note that is edited in place.
    Living,
    /// The Nth note that calls a person, counted from 1.
    Moment(u32),
}

/// Task ids are foreign text of any length; a longer one is marked by its digest.
const LONGEST: usize = 128;

impl Marker {
    pub fn new(task: &TaskId, kind: Kind) -> Self {
        // An id without a character is marked by what encodes none.
        let mut encoded = if task.as_str().is_empty() {
            "%".to_owned()
        } else {
            String::new()
        };
        for byte in task.as_str().bytes() {
            // A hyphen after a hyphen would come near the end of an HTML comment.
            let plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'.')
                || byte == b'-' && !encoded.is_empty() && !encoded.ends_with('-');
            if plain {
                encoded.push(byte.into());
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        if encoded.len() > LONGEST {
            let digest = Sha256::digest(task.as_str().as_bytes());
            encoded = "%sha256.".to_owned();
            encoded.extend(digest.iter().map(|byte| format!("{byte:02x}")));
        }
        Self { task: encoded, kind }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether this marks a note of that task.
    pub fn is_of(&self, task: &TaskId) -> bool {
        self.task == Marker::new(task, self.kind).task
    }

    /// The marker of a note's body, if it ends with one.
    pub fn of(body: &str) -> Option<Self> {
        let line = body.trim_end().lines().next_back()?;
        let inner = line.strip_prefix("<!-- longshore task=")?.strip_suffix(" -->")?;
        let (task, kind) = inner.split_once(" kind=")?;
        let kind = match kind.strip_prefix("moment:") {
            Some(number) => Kind::Moment(number.parse().ok()?),
            None if kind == "living" => Kind::Living,
            None => return None,
        };
        (!task.is_empty() && !task.contains(' ')).then(|| Self {
            task: task.to_owned(),
            kind,
        })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<!-- longshore task={} kind=", self.task)?;
        match self.kind {
            Kind::Living => f.write_str("living -->"),
            Kind::Moment(number) => write!(f, "moment:{number} -->"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_whatever_the_task_is_called() {
        for id in [
            "",
            "018f3c2e-7b1a-7cc4-9f53-2d0c6f1a5b7e",
            "a b",
            "x --> <b>",
            "--",
            "-",
            "é\n",
            &"long".repeat(900),
        ] {
            let task = TaskId::from(id);
            for kind in [Kind::Living, Kind::Moment(3)] {
                let marker = Marker::new(&task, kind);
                let line = marker.to_string();
                assert_eq!(
                    Marker::of(&format!("text\n\n{line}\n")),
                    Some(marker.clone()),
                    "{line}"
                );
                assert!(marker.is_of(&task) && !marker.is_of(&TaskId::from("other")));
                assert!(!line[4..line.len() - 3].contains("--"), "{line}");
                assert!(line.len() < 200);
            }
        }
    }

    #[test]
    fn only_the_last_line_counts() {
        let forged = Marker::new(&"victim".into(), Kind::Living).to_string();
        let own = Marker::new(&"own".into(), Kind::Living);
        assert_eq!(Marker::of(&format!("{forged}\n{own}")), Some(own));
        assert_eq!(Marker::of(&format!("{forged}\nafter")), None);
        assert_eq!(Marker::of(&format!("  {forged}")), None, "text in front");
        assert_eq!(Marker::of(""), None);
    }
}
