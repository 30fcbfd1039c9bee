//! Custom resources, kept by the gate: objects under `resourceVersion`, with the API server's own word on who may.
//!
//! They are not real ones because the 1.20 server that is at hand dies of them (it is built with a Go that its JSON
//! library does not know).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::Rest;
use crate::peer::{Reply, Request};

/// Groups with the version that each is served in.
const GROUPS: &[(&str, &str)] = &[
    ("gateway.networking.k8s.io", "v1"),
    ("networking.istio.io", "v1beta1"),
];

#[derive(Default)]
pub(super) struct Custom {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    objects: HashMap<String, Value>,
    version: u64,
}

impl Custom {
    /// None when the path is of no custom resource.
    pub async fn answer(&self, rest: &Rest, request: &Request) -> Option<Reply> {
        let parts = request.parts("/apis/")?;
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let (group, version) = *GROUPS.iter().find(|(group, _)| parts.first() == Some(group))?;
        let (namespace, kinds, name) = match parts.as_slice() {
            [_] => {
                let preferred = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
                let found = json!({ "kind": "APIGroup", "name": group, "preferredVersion": preferred });
                return Some(Reply::json(200, &found));
            }
            [_, at, "namespaces", namespace, kinds] if *at == version => (*namespace, *kinds, None),
            [_, at, "namespaces", namespace, kinds, name] if *at == version => {
                (*namespace, *kinds, Some(*name))
            }
            _ => return Some(refused(404, "the server could not find the requested resource")),
        };
        let verb = match (request.method.as_str(), name) {
            ("POST", None) => "create",
            ("GET", Some(_)) => "get",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            _ => {
                return Some(refused(
                    405,
                    "the server does not allow this method on the requested resource",
                ));
            }
        };
        let token = request.header("authorization").unwrap_or_default();
        let review = json!({ "spec": { "resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": kinds,
        } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let asker = rest.with_token(token.trim_start_matches("Bearer "));
        if asker.create(path, &review).await["status"]["allowed"] != true {
            return Some(refused(
                403,
                &format!("{kinds}.{group} is forbidden: User cannot {verb} resource"),
            ));
        }
        let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let name = name
            .or_else(|| sent["metadata"]["name"].as_str())
            .unwrap_or_default();
        let key = format!("{group}/{namespace}/{kinds}/{name}");
        let missing = || refused(404, &format!("{kinds}.{group} \"{name}\" not found"));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match verb {
            "create" => match kept.objects.contains_key(&key) {
                true => refused(409, &format!("{kinds}.{group} \"{name}\" already exists")),
                false => {
                    let mut object = sent.clone();
                    object["metadata"]["uid"] = json!(uuid::Uuid::new_v4());
                    kept.store(key, object, 201)
                }
            },
            "delete" => kept
                .objects
                .remove(&key)
                .map_or_else(missing, |object| Reply::json(200, &object)),
            "get" => kept
                .objects
                .get(&key)
                .map_or_else(missing, |object| Reply::json(200, object)),
            _ => match kept.objects.get(&key).cloned() {
                None => missing(),
                Some(before) => kept.patched(key, &before, &sent),
            },
        })
    }
}

impl Kept {
    fn store(&mut self, key: String, mut object: Value, status: u16) -> Reply {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let reply = Reply::json(status, &object);
        self.objects.insert(key, object);
        reply
    }

    /// A list of operations is a JSON patch, anything else a merge patch.
    fn patched(&mut self, key: String, before: &Value, patch: &Value) -> Reply {
        let mut after = before.clone();
        match patch.as_array() {
            None => merge(&mut after, patch),
            Some(ops) => {
                for op in ops {
                    if apply(&mut after, op).is_none() {
                        return refused(422, &format!("the patch does not fit: {op}"));
                    }
                }
            }
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if version(&after) != version(before) {
            return refused(
                409,
                "the object has been modified; please apply your changes to the latest version",
            );
        }
        if after == *before {
            return Reply::json(200, before);
        }
        self.store(key, after, 200)
    }
}

/// RFC 7396.
fn merge(to: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *to = patch.clone();
        return;
    };
    if !to.is_object() {
        *to = json!({});
    }
    for (name, value) in fields {
        match (value, to.as_object_mut()) {
            (Value::Null, Some(to)) => _ = to.remove(name),
            _ => merge(&mut to[name], value),
        }
    }
}

/// RFC 6902, for the members of objects.
fn apply(to: &mut Value, op: &Value) -> Option<()> {
    let (parent, field) = op["path"].as_str()?.rsplit_once('/')?;
    let fields = to.pointer_mut(parent)?.as_object_mut()?;
    let field = field.replace("~1", "/").replace("~0", "~");
    match op["op"].as_str()? {
        "add" => _ = fields.insert(field, op["value"].clone()),
        "replace" => *fields.get_mut(&field)? = op["value"].clone(),
        "remove" => _ = fields.remove(&field)?,
        _ => return None,
    }
    Some(())
}

fn refused(status: u16, message: &str) -> Reply {
    let told = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status,
    });
    Reply::json(status, &told)
}
