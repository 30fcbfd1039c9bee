//! Names: of workloads, of the two sides' objects, and of what they are marked with.

use domain::{Error, Result};
use ports::Side;

/// What stands beside NAME is NAME with this at its end: Deployments, Services, Ingresses.
pub(crate) const BESIDE: &str = "-candidate";

pub(crate) fn beside(name: &str) -> String {
    format!("{name}{BESIDE}")
}

/// Something in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    /// `NAMESPACE/NAME`, or `NAME` in the default one.
    pub(crate) fn read(text: &str, default: &str) -> Result<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or((default, text));
        if !is_plain(namespace) || !is_plain(name) {
            return Err(Error::invalid(format!("`{text}` names nothing in Kubernetes"))
                .next("Write NAMESPACE/NAME, as in shop/checkout"));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Of the object of a side.
    pub(crate) fn on(&self, side: Side) -> Self {
        match side {
            Side::Stable => self.clone(),
            Side::Candidate => Self {
                namespace: self.namespace.clone(),
                name: beside(&self.name),
            },
        }
    }

    /// `kinds` as in paths of the API, with the group: `apis/apps/v1`, `deployments`.
    pub(crate) fn path(&self, group: &str, kinds: &str) -> String {
        format!("{}/{}", self.folder(group, kinds), self.name)
    }

    pub(crate) fn folder(&self, group: &str, kinds: &str) -> String {
        format!("/{group}/namespaces/{}/{kinds}", self.namespace)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A DNS subdomain: what names in Kubernetes are. Nothing else may get into a path.
pub(crate) fn is_plain(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 253
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_nothing_else_gets_into_a_path() {
        let name = Name::read("shop/checkout", "default").expect("a name");
        assert_eq!(
            name.path("apis/apps/v1", "deployments"),
            "/apis/apps/v1/namespaces/shop/deployments/checkout"
        );
        assert_eq!(name.on(Side::Candidate).to_string(), "shop/checkout-candidate");
        let short = Name::read("checkout", "default").expect("a name");
        assert_eq!(short.to_string(), "default/checkout");
        for wrong in [
            "",
            "/",
            "shop/",
            "a/b/c",
            "shop/../x",
            "Shop/a",
            "shop/a?b",
            "a b",
        ] {
            assert!(Name::read(wrong, "default").is_err(), "{wrong}");
        }
    }
}
