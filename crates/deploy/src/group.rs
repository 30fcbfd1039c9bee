//! A group: several services in one task, those that others need first, all of them or none.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Error, Evidence, Fact, Repo, RepoStatus, Report, Verdict, nearest};
use durable::Cause;
use serde_json::{Map, Value, json};

use crate::outside::Outside;
use crate::params::DeployParams;
use crate::part::Part;

/// One service of a group, as the payload has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Where its environment is described; in the task's own repository when absent.
    pub(crate) repo: Option<String>,
    pub(crate) after: Vec<String>,
    pub(crate) params: DeployParams,
}

pub(crate) const AN_EXAMPLE: &str = "Write it as {\"strategy\": \"group\", \"environment\": \"staging\", \"services\": \
                          {\"db\": {\"repo\": \"shop-db\", \"version\": \"v3\"}, \
                          \"api\": {\"repo\": \"shop-api\", \"version\": \"v7\", \"after\": [\"db\"]}}}";

/// The services of a group in the order in which they are brought out; none when the payload is about one deployment.
pub(crate) fn members(params: &DeployParams) -> Result<Option<Vec<Member>>, Error> {
    let Some(services) = &params.services else {
        return Ok(None);
    };
    if services.is_empty() {
        return Err(Error::invalid("payload.services is empty").next(AN_EXAMPLE));
    }
    let mut members = BTreeMap::new();
    for (name, written) in services {
        let member = member(name, written, params).map_err(|error| of(name, error))?;
        members.insert(name.clone(), member);
    }
    let needs: BTreeMap<String, Vec<String>> = members
        .iter()
        .map(|(name, member)| (name.clone(), member.after.clone()))
        .collect();
    let order = order(&needs)?;
    Ok(Some(
        order.iter().filter_map(|name| members.remove(name)).collect(),
    ))
}

pub(crate) fn of(name: &str, error: Error) -> Error {
    error.context(format!("payload.services.{name}"))
}

fn member(name: &str, written: &Value, group: &DeployParams) -> Result<Member, Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Error::invalid(
            "a service's name has letters, digits, `-`, `_` and `.` only",
        ));
    }
    let mut written = match written {
        Value::String(version) => Map::from_iter([("version".to_owned(), json!(version))]),
        Value::Object(map) => map.clone(),
        _ => return Err(Error::invalid("it is neither a version nor an object").next(AN_EXAMPLE)),
    };
    let text = |value: Option<Value>, what: &str| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::invalid(format!("{what} is {other}, which is no name"))),
    };
    let repo = text(written.remove("repo"), "repo")?;
    let after = match written.remove("after") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(list) => serde_json::from_value(list)
            .map_err(|_| Error::invalid("after is no list of services").next(AN_EXAMPLE))?,
    };
    only_known(&written)?;
    if let Some(version) = group
        .version
        .as_ref()
        .filter(|_| !written.contains_key("version"))
    {
        written.insert("version".to_owned(), json!(version));
    }
    // Of another repository it is the group's environment; of this one each service is an environment of its own.
    let environment = match repo {
        Some(_) => group.environment.clone(),
        None => Some(name.to_owned()),
    };
    if let Some(environment) = environment.filter(|_| !written.contains_key("environment")) {
        written.insert("environment".to_owned(), json!(environment));
    }
    let mut params = DeployParams::read(&Value::Object(written))?;
    params.override_freeze.clone_from(&group.override_freeze);
    Ok(Member {
        name: name.to_owned(),
        repo,
        after,
        params,
    })
}

/// A misspelt `after` would change the order.
fn only_known(written: &Map<String, Value>) -> Result<(), Error> {
    let schema = schemars::schema_for!(DeployParams);
    let of_the_group = ["services", "dry_run", "override_freeze", "instruction"];
    let fields = schema.get("properties").and_then(Value::as_object);
    let fields = fields.into_iter().flat_map(Map::keys).map(String::as_str);
    let known: Vec<&str> = fields
        .filter(|field| !of_the_group.contains(field))
        .chain(["repo", "after"])
        .collect();
    let Some(unknown) = written.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let near = nearest(unknown, known.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let what = match of_the_group.contains(&unknown.as_str()) {
        true => format!("{unknown} is a matter of the whole group"),
        false => format!("there is no field {unknown:?}{near}"),
    };
    Err(Error::invalid(what).next(format!("A service has {}", known.join(", "))))
}

/// Each after all that it needs, and by name where nothing else decides.
fn order(needs: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, Error> {
    for (name, after) in needs {
        if let Some(unknown) = after.iter().find(|before| !needs.contains_key(*before)) {
            let near = nearest(unknown, needs.keys().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let names: Vec<&str> = needs.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "payload.services.{name} comes after {unknown:?}, which is no service of the group{near}"
            ))
            .next(format!("The group has {}", names.join(", "))));
        }
    }
    let mut order: Vec<String> = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while order.len() < needs.len() {
        let is_next = |(name, after): &(&String, &Vec<String>)| {
            !done.contains(name.as_str()) && after.iter().all(|before| done.contains(before.as_str()))
        };
        let Some((next, _)) = needs.iter().find(is_next) else {
            return Err(Error::invalid(format!(
                "payload.services need each other in a circle: {}",
                circle(needs, &done).join(" after ")
            ))
            .next("Take one `after` out of the circle"));
        };
        done.insert(next);
        order.push(next.clone());
    }
    Ok(order)
}

/// One way round, its first name at its end again.
fn circle(needs: &BTreeMap<String, Vec<String>>, done: &BTreeSet<&str>) -> Vec<String> {
    let open = |name: &&String| !done.contains(name.as_str());
    let mut way: Vec<String> = Vec::new();
    let mut at = needs.keys().find(open).cloned();
    while let Some(name) = at {
        if let Some(start) = way.iter().position(|known| *known == name) {
            way.push(name);
            return way.split_off(start);
        }
        at = needs
            .get(&name)
            .and_then(|after| after.iter().find(open).cloned());
        way.push(name);
    }
    way
}

/// The repository of a service that names one.
pub(crate) async fn repo(outside: &Outside, service: &str, named: &str) -> Result<Repo, Error> {
    let found = outside
        .repos
        .find(named)
        .await
        .map_err(|error| of(service, error))?;
    let Some(repo) = found else {
        let missing = Error::not_found(format!("there is no repository {named:?}"))
            .next("Name one of `longshore repos list` by its id, slug, project or name");
        return Err(of(service, missing));
    };
    if repo.status != RepoStatus::Active {
        let resting = Error::rejected(format!(
            "the repository {} is {}",
            repo.name,
            repo.status.as_str()
        ))
        .next(format!(
            "Make it active with `longshore repos resume {}` first",
            repo.id
        ));
        return Err(of(service, resting));
    }
    Ok(repo)
}

/// Two services in one place would undo each other.
pub(crate) fn apart(parts: &[Part]) -> Result<(), Error> {
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    for part in parts {
        let name = part.service.as_deref().unwrap_or_default();
        if let Some(other) = places.insert(part.place.lock(), name) {
            return Err(Error::invalid(format!(
                "payload.services.{other} and payload.services.{name} are both {} of {}",
                part.place.name, part.place.repo_name
            ))
            .next("Give each service an environment of its own: `environment`, or a `repo`"));
        }
    }
    Ok(())
}

/// What a question about the plan is about.
pub(crate) fn of_what(parts: &[Part]) -> String {
    match parts {
        [one] if one.service.is_none() => format!("{} to {}", one.version, one.place.name),
        _ => {
            let each = parts.iter().map(|part| {
                let name = part.service.as_deref().unwrap_or_default();
                format!("{name} {}", part.version)
            });
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

type Reports = Vec<(String, Report)>;

fn names(reports: &Reports) -> String {
    let names: Vec<&str> = reports.iter().map(|(name, _)| name.as_str()).collect();
    match &names[..] {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// What each has to tell, under its name.
fn merged(reports: Reports, verdict: Verdict, summary: String, more: Value) -> Report {
    let mut whole = Report::new(verdict, summary);
    let mut services = Map::new();
    let order: Vec<String> = reports.iter().map(|(name, _)| name.clone()).collect();
    let (mut environments, mut who) = (BTreeSet::new(), BTreeSet::new());
    for (name, report) in reports {
        environments.extend(report.environment);
        who.extend(report.who);
        whole.facts.push(Fact {
            label: name.clone(),
            value: report.summary,
            link: None,
        });
        whole.facts.extend(report.facts.into_iter().map(|fact| Fact {
            label: format!("{name}: {}", fact.label),
            ..fact
        }));
        whole
            .evidence
            .extend(report.evidence.into_iter().map(|evidence| Evidence {
                title: format!("{name}: {}", evidence.title),
                ..evidence
            }));
        for next in report.next_steps {
            if !whole.next_steps.contains(&next) {
                whole.next_steps.push(next);
            }
        }
        services.insert(name, report.data);
    }
    whole.environment = environments.pop_first().filter(|_| environments.is_empty());
    whole.who = (!who.is_empty()).then(|| who.into_iter().collect::<Vec<_>>().join(", "));
    whole.data = json!({"strategy": "group", "order": order, "services": services});
    if let (Some(data), Value::Object(more)) = (whole.data.as_object_mut(), more) {
        data.extend(more);
    }
    whole
}

pub(crate) fn planned(reports: Reports, hash: &str) -> Report {
    let mut summary = format!(
        "Nothing was touched: {} would be brought out in this order, all of them or none",
        names(&reports)
    );
    let shut =
        |(name, report): &(String, Report)| Some((name.clone(), report.data["refused"].as_str()?.to_owned()));
    let verdict = match reports.iter().find_map(shut) {
        Some((name, why)) => {
            summary.push_str(&format!(", but all would be refused now for {name}: {why}"));
            Verdict::ActionNeeded
        }
        None => Verdict::Succeeded,
    };
    let needs = |(_, report): &(String, Report)| report.data["needs_approval"] == true;
    let takes: u64 = reports
        .iter()
        .filter_map(|(_, report)| report.data["takes_s"].as_u64())
        .sum();
    let more =
        json!({"dry_run": true, "hash": hash, "takes_s": takes, "needs_approval": reports.iter().any(needs)});
    merged(reports, verdict, summary, more)
}

pub(crate) fn to_approve(reports: Reports, hash: &str) -> Report {
    let summary = format!(
        "{} wait for approval to go out together, in this order",
        names(&reports)
    );
    merged(reports, Verdict::NeedsApproval, summary, json!({ "hash": hash }))
}

pub(crate) fn done(reports: Reports) -> Report {
    let summary = format!("{} are live, brought out together in this order", names(&reports));
    merged(
        reports,
        Verdict::Succeeded,
        summary,
        json!({"outcome": "succeeded"}),
    )
}

/// `last` is the place of the one that was begun last.
pub(crate) fn taken_back(reports: Reports, last: Option<usize>, is_left: bool, cause: &Cause) -> Report {
    let why = cause
        .error()
        .map_or_else(|| "it was cancelled".to_owned(), crate::report::told_once);
    let at = last
        .and_then(|last| reports.get(last))
        .map(|(name, _)| name.clone());
    let names = names(&reports);
    let by = at
        .as_ref()
        .map_or_else(String::new, |name| format!(" while {name} was on its way"));
    let (verdict, outcome, summary) = match (last, is_left) {
        (None, _) => {
            let verdict = match cause {
                Cause::Cancelled => Verdict::Cancelled,
                _ => Verdict::Failed,
            };
            let summary = format!("The group of {names} did not go out, and nothing was touched: {why}");
            (verdict, "not_begun", summary)
        }
        (Some(_), true) => {
            let summary = format!("The group of {names} is half out, and was left so{by}: {why}");
            (Verdict::Failed, "left", summary)
        }
        (Some(_), false) => {
            let (verdict, outcome) = match cause {
                Cause::Cancelled => (Verdict::Cancelled, "cancelled"),
                _ => (Verdict::RolledBack, "rolled_back"),
            };
            let summary =
                format!("The group of {names} was taken back{by}, what served before serves again: {why}");
            (verdict, outcome, summary)
        }
    };
    let more = json!({"outcome": outcome, "at": at, "cause": why});
    merged(reports, verdict, summary, more)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
