use std::fmt::Display;

/// The name of a step, unique within its scope: `"launch"`, or with a number or name, `("shift", 30)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepKey(String);

impl StepKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StepKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl From<String> for StepKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl<A: Display, B: Display> From<(A, B)> for StepKey {
    fn from((name, of): (A, B)) -> Self {
        Self(format!("{name}/{of}"))
    }
}

impl<A: Display, B: Display, C: Display> From<(A, B, C)> for StepKey {
    fn from((name, of, part): (A, B, C)) -> Self {
        Self(format!("{name}/{of}/{part}"))
    }
}
