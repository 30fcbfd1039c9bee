use proptest::prelude::*;
use serde_json::json;

use super::*;

fn needs(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    pairs
        .iter()
        .map(|(name, after)| ((*name).to_owned(), owned(after)))
        .collect()
}

fn read(payload: Value) -> Result<Vec<Member>, String> {
    let params = DeployParams::read(&payload).map_err(|error| error.to_string())?;
    let members = members(&params).map_err(|error| error.to_string())?;
    members.ok_or_else(|| "it is no group".to_owned())
}

#[test]
fn what_is_needed_comes_first_and_else_the_name_decides() {
    let found = order(&needs(&[
        ("web", &["api", "auth"]),
        ("api", &["db"]),
        ("auth", &[]),
        ("db", &[]),
    ]));
    assert_eq!(found.unwrap(), ["auth", "db", "api", "web"]);
}

#[test]
fn a_service_may_be_its_version_alone_and_has_what_the_group_says() {
    let members = read(
        json!({"strategy": {"name": "group"}, "version": "v7", "environment": "staging",
        "override_freeze": {"name": "ada", "reason": "the shop is down"},
        "services": {"api": "v9", "db": {}, "pay": {"repo": "pay", "after": "db", "strategy": "canary", "increment": 5},
                     "web": {"environment": "shop-web"}}}),
    );
    let members = members.unwrap();
    let requests: Vec<_> = members
        .iter()
        .map(|member| member.params.request().unwrap())
        .collect();
    let to: Vec<_> = requests
        .iter()
        .map(|request| (request.version.as_str(), request.environment.as_str()))
        .collect();
    assert_eq!(
        to,
        [("v9", "api"), ("v7", "db"), ("v7", "staging"), ("v7", "shop-web")]
    );
    assert_eq!(members[2].after, ["db"]);
    assert_eq!(requests[2].wishes.increment, Some(5));
    assert!(
        members
            .iter()
            .all(|member| member.params.override_freeze.is_some())
    );
}

#[test]
fn what_is_no_group_or_not_only_one_is_told() {
    let one = json!({"db": "v2"});
    for (payload, words) in [
        (json!({"strategy": "group"}), "there are no payload.services"),
        (
            json!({"strategy": "group", "services": {}}),
            "payload.services is empty",
        ),
        (
            json!({"strategy": "canary", "services": one}),
            "belong to the strategy group, not to canary",
        ),
        (
            json!({"services": one, "interval": "5m"}),
            "parameters of one deployment beside its services",
        ),
        (
            json!({"services": {"db": {"version": "v2", "dry_run": true}}}),
            "dry_run is a matter of the whole group",
        ),
        (
            json!({"services": {"db": 7}}),
            "payload.services.db: it is neither a version nor an object",
        ),
        (json!({"services": {"a/b": "v2"}}), "letters, digits"),
        (
            json!({"services": {"db": {"version": "v2", "strategy": "group"}}}),
            "payload.strategy is group",
        ),
        (json!({"services": {"db": {}}}), "which version"),
        (
            json!({"services": {"db": {"version": "v2", "after": "db"}}}),
            "in a circle: db after db",
        ),
    ] {
        let error = read(payload).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

/// A graph of up to eight services, any of which may need any.
fn graphs() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    let name = |at: usize| format!("s{at}");
    (1_usize..9).prop_flat_map(move |count| {
        proptest::collection::vec((0..count, 0..count), 0..14).prop_map(move |edges| {
            let mut graph: BTreeMap<String, Vec<String>> =
                (0..count).map(|at| (name(at), Vec::new())).collect();
            for (from, to) in edges {
                graph.entry(name(from)).or_default().push(name(to));
            }
            graph
        })
    })
}

proptest! {
    #[test]
    fn an_order_has_each_once_after_all_that_it_needs_or_there_is_a_circle(graph in graphs()) {
        match order(&graph) {
            Ok(order) => {
                let mut sorted = order.clone();
                sorted.sort();
                prop_assert_eq!(&sorted, &graph.keys().cloned().collect::<Vec<_>>());
                for (at, name) in order.iter().enumerate() {
                    for before in &graph[name] {
                        prop_assert!(order[..at].contains(before), "{} comes before {}", name, before);
                    }
                }
            }
            Err(error) => {
                let (_, way) = error.what.split_once("circle: ").expect("names one");
                let way: Vec<&str> = way.split(" after ").collect();
                prop_assert!(way.len() > 1 && way.first() == way.last());
                for step in way.windows(2) {
                    let needs = &graph[step[0]];
                    prop_assert!(needs.iter().any(|name| name == step[1]), "{:?}", way);
                }
            }
        }
    }

    /// Needs that only point backwards in some list of the services have an order.
    #[test]
    fn what_has_an_order_gets_one(graph in graphs(), seed in any::<u64>()) {
        let names: Vec<&String> = graph.keys().collect();
        let place = |name: &String| {
            let at = names.iter().position(|known| *known == name).unwrap_or_default() as u64;
            (at.wrapping_mul(seed | 1), at)
        };
        let backwards: BTreeMap<String, Vec<String>> = graph
            .iter()
            .map(|(name, after)| {
                let earlier = after.iter().filter(|before| place(before) < place(name));
                (name.clone(), earlier.cloned().collect())
            })
            .collect();
        prop_assert!(order(&backwards).is_ok());
    }
}
