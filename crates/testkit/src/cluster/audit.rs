//! What the API server itself says was written, by whom and when.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// A change that a service account asked for, as the API server answered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// When it came.
    pub at: DateTime<Utc>,
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub who: String,
    /// `create`, `patch`, `update` or `delete`
    pub verb: String,
    /// `deployments`, `services` and so on.
    pub kinds: String,
    pub name: String,
    pub status: u64,
    /// The object, the patch or the options that were sent.
    pub sent: Value,
}

impl Write {
    pub fn was_done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Writes the policy; answers how the API server is told of it. It writes each line before it answers the request.
pub(super) fn args(dir: &Path) -> [String; 2] {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Request", "userGroups": ["system:serviceaccounts"], "verbs": ["create", "update", "patch", "delete"] },
            { "level": "None" },
        ],
    });
    let path = dir.join("audit-policy.json");
    fs::write(&path, policy.to_string()).expect("write the policy of the audit");
    [
        format!("--audit-policy-file={}", path.display()),
        format!("--audit-log-path={}", log(dir).display()),
    ]
}

fn log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

/// Of this namespace, in the order in which they came.
pub(super) fn read(dir: &Path, namespace: &str) -> Vec<Write> {
    let log = fs::read_to_string(log(dir)).unwrap_or_default();
    // A line that is being written is not whole yet.
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut writes: Vec<_> = lines
        .filter(|event: &Value| event["objectRef"]["namespace"] == namespace)
        .map(|event| write(&event))
        .collect();
    writes.sort_by_key(|write| write.at);
    writes
}

fn write(event: &Value) -> Write {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (at, of) = (text(&event["requestReceivedTimestamp"]), &event["objectRef"]);
    let name = [&of["name"], &event["requestObject"]["metadata"]["name"]];
    Write {
        at: at
            .parse()
            .unwrap_or_else(|error| panic!("{error} in the audit: {at:?}")),
        who: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        kinds: text(&of["resource"]),
        name: name
            .into_iter()
            .map(text)
            .find(|name| !name.is_empty())
            .unwrap_or_default(),
        status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        sent: event["requestObject"].clone(),
    }
}
