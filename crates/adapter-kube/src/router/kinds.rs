//! The objects that part traffic, each read in its own way; pure.

use domain::{Error, Result};
use ports::{Share, Side};
use serde_json::Value;

use super::parting::{Backend, Place, Weighted, Write, places, side_of};
use crate::connection::escaped;
use crate::names::{Name, beside};

pub(super) const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const TOTAL: &str = "nginx.ingress.kubernetes.io/canary-weight-total";

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A Service that is switched from one side to the other by its selector.
pub(super) fn service(service: &Value, label: &str, route: &str) -> Result<Vec<Place>> {
    let part = match service["spec"]["selector"][label].as_str() {
        Some("stable") => 0,
        Some("candidate") => 1,
        other => {
            let found = other.map_or_else(
                || format!("its selector says nothing of {label}, so it sends to both sides"),
                |other| format!("its selector wants {label} to be {other}"),
            );
            return Err(
                Error::invalid(format!("{route} cannot be switched: {found}")).next(format!(
                    "Label the workload's pods {label}=stable, and add that to the Service's selector"
                )),
            );
        }
    };
    Ok(vec![Place {
        now: Share { part, of: 1 },
        parts: 1,
        write: Write::SideName(format!("/spec/selector/{}", escaped(label))),
    }])
}

/// Gateway API: `backendRefs` with weights; a weight that is left out is 1.
pub(super) fn http_route(
    object: &Value,
    at: &Name,
    service: Option<&str>,
    route: &str,
) -> Result<(Vec<Place>, Vec<Backend>)> {
    let rules: Vec<_> = items(&object["spec"]["rules"])
        .enumerate()
        .map(|(rule, value)| {
            items(&value["backendRefs"])
                .enumerate()
                .map(|(place, backend)| {
                    let is_service = matches!(backend["kind"].as_str(), None | Some("Service"))
                        && matches!(backend["group"].as_str(), None | Some(""));
                    let name = backend["name"].as_str().unwrap_or_default();
                    // What is no Service is somebody else's; it has no name that could be meant.
                    let (service, side) = if is_service {
                        side_of(name)
                    } else {
                        ("", Side::Stable)
                    };
                    let namespace = backend["namespace"].as_str().unwrap_or(&at.namespace);
                    Weighted {
                        service: service.to_owned(),
                        namespace: namespace.to_owned(),
                        side,
                        by_subset: false,
                        weight: weight(&backend["weight"]).unwrap_or(1),
                        path: format!("/spec/rules/{rule}/backendRefs/{place}/weight"),
                    }
                })
                .collect()
        })
        .collect();
    places(&rules, service, route)
}

/// Istio: destinations with weights, the sides Services of their own or subsets `stable` and `candidate` of one. A
/// single destination gets all, and of several one without a weight gets nothing.
pub(super) fn virtual_service(
    object: &Value,
    at: &Name,
    service: Option<&str>,
    route: &str,
) -> Result<(Vec<Place>, Vec<Backend>)> {
    let rules: Vec<_> = items(&object["spec"]["http"])
        .enumerate()
        .map(|(rule, value)| {
            let all: Vec<_> = items(&value["route"]).collect();
            let left_out = if all.len() == 1 { 100 } else { 0 };
            all.iter()
                .enumerate()
                .map(|(place, destination)| {
                    let (to, path) = (
                        &destination["destination"],
                        format!("/spec/http/{rule}/route/{place}"),
                    );
                    let host = to["host"].as_str().unwrap_or_default();
                    let mut parts = host.split('.');
                    let name = parts.next().unwrap_or_default();
                    let namespace = parts.next().unwrap_or(&at.namespace).to_owned();
                    let (service, side, by_subset) = match to["subset"].as_str() {
                        Some("stable") => (name, Side::Stable, true),
                        Some("candidate") => (name, Side::Candidate, true),
                        Some(_) => ("", Side::Stable, true),
                        None => (side_of(name).0, side_of(name).1, false),
                    };
                    Weighted {
                        service: service.to_owned(),
                        namespace,
                        side,
                        by_subset,
                        weight: weight(&destination["weight"]).unwrap_or(left_out),
                        path: format!("{path}/weight"),
                    }
                })
                .collect()
        })
        .collect();
    places(&rules, service, route)
}

/// ingress-nginx: a second Ingress of the same hosts and paths, whose annotations say what it gets.
pub(super) fn canary(object: &Value, at: &Name, route: &str) -> Result<Vec<Place>> {
    let annotations = &object["metadata"]["annotations"];
    let name = beside(&at.name);
    let wrong = |what: String| {
        Error::invalid(format!("{route} cannot be parted: {what}")).next(format!(
            "See to it that the Ingress {name} is a canary: docs/kubernetes.md"
        ))
    };
    if annotations[CANARY] != "true" {
        return Err(wrong(format!("the Ingress {name} has not {CANARY}: \"true\"")));
    }
    let number = |annotation: &str, left_out: u32| match annotations[annotation].as_str() {
        None => Ok(left_out),
        Some(text) => text.trim().parse::<u32>().map_err(|_| {
            wrong(format!(
                "{annotation} of the Ingress {name} is {text:?}, which is no number"
            ))
        }),
    };
    let (part, of) = (number(WEIGHT, 0)?, number(TOTAL, 100)?);
    if of == 0 {
        return Err(wrong(format!("{TOTAL} of the Ingress {name} is 0")));
    }
    Ok(vec![Place {
        now: Share {
            part: part.min(of),
            of,
        },
        parts: of,
        write: Write::Text(format!("/metadata/annotations/{}", escaped(WEIGHT))),
    }])
}

/// The Services that the canary sends to, and those of the stable side that it takes requests from.
pub(super) fn ingress_backends(main: &Value, canary: &Value, at: &Name) -> Vec<Backend> {
    let services = |ingress: &Value| -> Vec<String> {
        let rules = items(&ingress["spec"]["rules"]);
        let paths = rules.flat_map(|rule| items(&rule["http"]["paths"]));
        let all = paths
            .map(|path| &path["backend"])
            .chain([&ingress["spec"]["defaultBackend"]]);
        let names = all.filter_map(|backend| backend["service"]["name"].as_str());
        names.map(str::to_owned).collect()
    };
    let (mains, mut backends) = (services(main), Vec::new());
    let mut add = |name: String, side| {
        let backend = Backend {
            service: Name {
                namespace: at.namespace.clone(),
                name,
            },
            selects: Some(side),
            to_candidate: side == Side::Candidate,
        };
        if !backends.contains(&backend) {
            backends.push(backend);
        }
    };
    for name in services(canary) {
        let (stable, _) = side_of(&name);
        if mains.iter().any(|main| main == stable) {
            add(stable.to_owned(), Side::Stable);
        }
        add(name, Side::Candidate);
    }
    backends
}

fn weight(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|weight| u32::try_from(weight).ok())
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
