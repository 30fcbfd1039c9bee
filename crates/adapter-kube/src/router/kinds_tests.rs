use super::*;
use crate::router::parting::{granularity, ops, share};
use ports::Granularity;
use serde_json::json;

const ROUTE: &str = "httproute/shop/web";

fn at() -> Name {
    Name::read("shop/web", "default").expect("a name")
}

fn written(places: &[Place], percent: u32) -> Vec<(String, Value)> {
    let text = |op: &crate::connection::Op| {
        let op = op.json();
        (
            op["path"].as_str().expect("a path").to_owned(),
            op["value"].clone(),
        )
    };
    ops(places, percent).iter().map(text).collect()
}

fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("is refused").to_string()
}

#[test]
fn a_route_is_parted_where_both_sides_of_the_service_stand() {
    let route = json!({ "spec": { "rules": [
        { "backendRefs": [{ "name": "checkout", "weight": 90 }, { "name": "checkout-candidate", "weight": 10 }] },
        { "backendRefs": [{ "name": "checkout" }] },
        { "backendRefs": [{ "name": "assets" }, { "name": "x", "kind": "Bucket" }] },
    ] } });
    let (places, backends) = http_route(&route, &at(), None, ROUTE).expect("is parted");
    assert_eq!(granularity(&places), Granularity::Parts(100));
    assert_eq!(share(&places), Share { part: 10, of: 100 });
    let names: Vec<_> = backends
        .iter()
        .map(|backend| (backend.service.to_string(), backend.selects))
        .collect();
    assert_eq!(
        names,
        [
            ("shop/checkout".to_owned(), Some(Side::Stable)),
            ("shop/checkout-candidate".to_owned(), Some(Side::Candidate)),
        ]
    );
    assert_eq!(
        written(&places, 30),
        [
            ("/spec/rules/0/backendRefs/0/weight".to_owned(), json!(70)),
            ("/spec/rules/0/backendRefs/1/weight".to_owned(), json!(30)),
        ]
    );
    assert_eq!(written(&places, 10), [], "it is so");
}

#[test]
fn what_others_get_of_a_rule_stays_what_it_is() {
    let route = json!({ "spec": { "rules": [{ "backendRefs": [
        { "name": "checkout", "weight": 8 },
        { "name": "legacy", "weight": 2 },
        { "name": "checkout-candidate", "weight": 0 },
    ] }] } });
    let (places, _) = http_route(&route, &at(), None, ROUTE).expect("is parted");
    assert_eq!(granularity(&places), Granularity::Parts(8));
    let weights = written(&places, 25);
    let weights: Vec<_> = weights.iter().map(|(_, weight)| weight.clone()).collect();
    assert_eq!(weights, [json!(6), json!(2)], "eight together as before");
}

#[test]
fn a_route_of_several_services_says_which_one_it_wants_named() {
    let pair =
        |name: &str| json!({ "backendRefs": [{ "name": name }, { "name": beside(name), "weight": 0 }] });
    let route = json!({ "spec": { "rules": [pair("cart"), pair("checkout")] } });
    assert_eq!(
        told(http_route(&route, &at(), None, ROUTE)),
        "httproute/shop/web parts the traffic of several Services, and nothing says which is meant. \
         Add its name to the route: httproute/shop/web/cart or /checkout"
    );
    let (places, _) = http_route(&route, &at(), Some("checkout"), ROUTE).expect("is named");
    assert_eq!(written(&places, 100)[0].0, "/spec/rules/1/backendRefs/0/weight");
    let missing = http_route(&route, &at(), Some("basket"), ROUTE);
    assert!(told(missing).contains("sends nothing to a Service basket"));
    let unknown = json!({ "spec": { "rules": [{ "backendRefs": [{ "name": "cart" }] }] } });
    let (places, backends) = http_route(&unknown, &at(), None, ROUTE).expect("is read");
    assert_eq!(
        (places.len(), backends.len()),
        (0, 1),
        "a candidate that it does not know"
    );
    let nothing = json!({ "spec": { "rules": [{ "backendRefs": [
        { "name": "cart", "weight": 0 }, { "name": "cart-candidate", "weight": 0 },
    ] }] } });
    assert!(told(http_route(&nothing, &at(), None, ROUTE)).contains("both weights are 0"));
}

#[test]
fn istio_parts_between_services_or_subsets() {
    let by = |routes: Value| json!({ "spec": { "http": [{ "route": routes }] } });
    let services = by(json!([
        { "destination": { "host": "checkout.shop.svc.cluster.local" } },
        { "destination": { "host": "checkout-candidate" }, "weight": 100 },
    ]));
    let (places, backends) = virtual_service(&services, &at(), None, ROUTE).expect("is parted");
    assert_eq!(
        share(&places).percent(),
        100.0,
        "what has no weight beside others gets nothing"
    );
    assert_eq!(backends[1].service.to_string(), "shop/checkout-candidate");

    let subsets = by(json!([
        { "destination": { "host": "checkout", "subset": "stable" }, "weight": 75 },
        { "destination": { "host": "checkout", "subset": "candidate" }, "weight": 25 },
        { "destination": { "host": "checkout", "subset": "debug" }, "weight": 0 },
    ]));
    let (places, backends) = virtual_service(&subsets, &at(), None, ROUTE).expect("is parted");
    assert_eq!(share(&places), Share { part: 25, of: 100 });
    assert!(
        backends
            .iter()
            .all(|backend| backend.selects.is_none() && backend.service.name == "checkout")
    );

    let alone = by(json!([{ "destination": { "host": "checkout" } }]));
    let (places, _) = virtual_service(&alone, &at(), None, ROUTE).expect("is read");
    assert_eq!(share(&places).percent(), 0.0);
}

#[test]
fn a_canary_ingress_says_what_it_gets() {
    let with = |annotations: Value| json!({ "metadata": { "annotations": annotations } });
    let of = |annotations: Value| canary(&with(annotations), &at(), "ingress/shop/web");
    let places = of(json!({ CANARY: "true", WEIGHT: "5", TOTAL: "1000" })).expect("is one");
    assert_eq!(
        (share(&places), granularity(&places)),
        (Share { part: 5, of: 1000 }, Granularity::Parts(1000))
    );
    assert_eq!(
        written(&places, 10),
        [(
            "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight".to_owned(),
            json!("100")
        )]
    );
    let places = of(json!({ CANARY: "true" })).expect("is one");
    assert_eq!(share(&places), Share { part: 0, of: 100 });
    assert!(told(of(json!({ WEIGHT: "5" }))).contains("has not nginx.ingress.kubernetes.io/canary"));
    assert!(told(of(json!({ CANARY: "true", WEIGHT: "5%" }))).contains("is \"5%\", which is no number"));
}

#[test]
fn a_service_is_switched_by_the_side_that_it_selects() {
    let selecting = |selector: Value| json!({ "spec": { "selector": selector } });
    let of = |selector| service(&selecting(selector), "longshore/side", "service/shop/web");
    let places = of(json!({ "app": "web", "longshore/side": "stable" })).expect("is switched");
    assert_eq!(granularity(&places), Granularity::AllOrNothing);
    assert_eq!(
        written(&places, 100),
        [("/spec/selector/longshore~1side".to_owned(), json!("candidate"))]
    );
    assert_eq!(written(&places, 49), []);
    assert_eq!(
        told(of(json!({ "app": "web" }))),
        "service/shop/web cannot be switched: its selector says nothing of longshore/side, so it sends to both sides. \
         Label the workload's pods longshore/side=stable, and add that to the Service's selector"
    );
}
