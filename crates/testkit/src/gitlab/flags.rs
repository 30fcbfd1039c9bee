//! Feature flags.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::site::Call;
use super::world::{Role, World};
use crate::peer::Reply;

#[derive(Clone, Debug, Serialize)]
pub struct FeatureFlag {
    pub project: u64,
    pub name: String,
    pub active: bool,
    pub strategies: Vec<Strategy>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Strategy {
    pub id: u64,
    pub name: String,
    pub parameters: Map<String, Value>,
    /// Number and environment scope.
    pub scopes: Vec<(u64, String)>,
}

impl World {
    /// A flag that is switched on, without rules.
    pub fn add_flag(&mut self, path: &str, name: &str) -> &mut FeatureFlag {
        let project = self.project(path);
        self.flags.push(FeatureFlag {
            project,
            name: name.to_owned(),
            active: true,
            strategies: Vec::new(),
        });
        self.flags.last_mut().expect("it was just added")
    }

    /// Gives a flag a rule for one environment scope.
    pub fn add_strategy(&mut self, flag: &str, name: &str, parameters: &Value, scope: &str) {
        let strategy = Strategy {
            id: self.number(),
            name: name.to_owned(),
            parameters: parameters.as_object().cloned().unwrap_or_default(),
            scopes: vec![(self.number(), scope.to_owned())],
        };
        let flag = self.flags.iter_mut().find(|known| known.name == flag);
        flag.expect("the flag").strategies.push(strategy);
    }
}

pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    call.need(Role::Developer)?;
    let not_found = || Reply::message(404, "404 Not found");
    let [name] = rest else {
        return Err(not_found());
    };
    let here = |flag: &FeatureFlag| flag.project == call.project && flag.name == *name;
    let at = world.flags.iter().position(here).ok_or_else(not_found)?;
    match call.request.method.as_str() {
        "GET" => {}
        "PUT" => {
            let mut changed = world.flags[at].clone();
            apply(world, &mut changed, &call.request.fields())?;
            world.flags[at] = changed;
            world.flag_changes += 1;
        }
        _ => return Err(Reply::json(405, &json!({ "error": "405 Not Allowed" }))),
    }
    Ok(Reply::json(200, &flag_json(&world.flags[at])))
}

/// Rules that are not named stay as they are; one without a number is new.
fn apply(world: &mut World, flag: &mut FeatureFlag, fields: &Map<String, Value>) -> Result<(), Reply> {
    let refused = |why: &str| Reply::json(400, &json!({ "message": [why] }));
    if let Some(active) = fields.get("active") {
        flag.active = active.as_bool().ok_or_else(|| refused("active is invalid"))?;
    }
    for sent in fields
        .get("strategies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let at = match sent.get("id").and_then(Value::as_u64) {
            Some(id) => {
                let known = flag.strategies.iter().position(|known| known.id == id);
                known.ok_or_else(|| Reply::message(404, "404 Not found"))?
            }
            None => {
                flag.strategies.push(Strategy {
                    id: world.number(),
                    name: String::new(),
                    parameters: Map::new(),
                    scopes: Vec::new(),
                });
                flag.strategies.len() - 1
            }
        };
        let strategy = &mut flag.strategies[at];
        if let Some(name) = sent.get("name").and_then(Value::as_str) {
            strategy.name = name.to_owned();
        }
        if let Some(parameters) = sent.get("parameters").and_then(Value::as_object) {
            strategy.parameters = parameters.clone();
        }
        for scope in sent.get("scopes").and_then(Value::as_array).into_iter().flatten() {
            let scope = scope["environment_scope"]
                .as_str()
                .ok_or_else(|| refused("scope is invalid"))?;
            strategy.scopes.push((world.number(), scope.to_owned()));
        }
        check(strategy).map_err(refused)?;
    }
    Ok(())
}

/// The parameters that each kind of rule must have, all of them texts.
fn check(strategy: &Strategy) -> Result<(), &'static str> {
    let wanted: &[&str] = match strategy.name.as_str() {
        "default" => &[],
        "gradualRolloutUserId" => &["groupId", "percentage"],
        "flexibleRollout" => &["groupId", "rollout", "stickiness"],
        "userWithId" => &["userIds"],
        _ => return Err("Strategies name strategy name is invalid"),
    };
    let names: Vec<&str> = strategy.parameters.keys().map(String::as_str).collect();
    let texts = strategy.parameters.values().all(Value::is_string);
    let share = |name| {
        strategy
            .parameters
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("0")
    };
    let within = ["percentage", "rollout"]
        .iter()
        .all(|&name| share(name).parse().is_ok_and(|n: u32| n <= 100));
    match names == wanted && texts && within && !strategy.scopes.is_empty() {
        true => Ok(()),
        false => Err("Strategies parameters parameters are invalid"),
    }
}

fn flag_json(flag: &FeatureFlag) -> Value {
    let scopes = |strategy: &Strategy| {
        let scopes = strategy.scopes.iter();
        let scopes = scopes.map(|(id, scope)| json!({ "id": id, "environment_scope": scope }));
        scopes.collect::<Vec<_>>()
    };
    let strategies = flag.strategies.iter().map(|strategy| {
        json!({
            "id": strategy.id,
            "name": strategy.name,
            "parameters": strategy.parameters,
            "scopes": scopes(strategy),
            "user_list": null,
        })
    });
    json!({
        "name": flag.name,
        "description": "",
        "active": flag.active,
        "version": "new_version_flag",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
        "scopes": [],
        "strategies": strategies.collect::<Vec<_>>(),
    })
}
