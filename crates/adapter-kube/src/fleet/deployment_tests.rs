use super::*;

fn deployment() -> Deployment {
    let labels = json!({ "app": "checkout" });
    let object = json!({
        "metadata": { "uid": "u", "generation": 2, "labels": { "app.kubernetes.io/instance": "shop" } },
        "spec": {
            "replicas": 3,
            "paused": true,
            "selector": {
                "matchLabels": labels,
                "matchExpressions": [
                    { "key": "tier", "operator": "In", "values": ["web", "api"] },
                    { "key": "side", "operator": "NotIn", "values": ["candidate"] },
                    { "key": "batch", "operator": "DoesNotExist" },
                ],
            },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [
                    { "name": "proxy", "image": "proxy:1" },
                    { "name": "web", "image": "shop:v1", "env": [{ "name": "A", "value": "b" }] },
                ] },
            },
        },
        "status": { "observedGeneration": 1 },
    });
    Deployment::new(object, false)
}

fn name() -> Name {
    Name::read("shop/checkout", "default").expect("a name")
}

#[test]
fn the_container_is_the_one_that_is_named_or_the_only_one() {
    let deployment = deployment();
    let of = |wanted| container(deployment.template(), wanted, &name());
    assert_eq!(of(Some("web")).expect("is there"), (1, "shop:v1"));
    assert_eq!(
        of(None).expect_err("which one?").to_string(),
        "shop/checkout has several containers, and nothing says which one carries the version. \
         Name one of proxy, web as `container`"
    );
    assert_eq!(
        of(Some("wep")).expect_err("there is none").to_string(),
        "shop/checkout has no container wep; it has proxy, web. Did you mean web?"
    );
}

#[test]
fn what_stands_beside_is_made_like_it_and_told_apart_by_the_label() {
    let stable = deployment();
    let made = candidate(&stable, &name().on(Side::Candidate), "side", (1, "shop:v2"), 1);
    assert_eq!(made["metadata"]["name"], "checkout-candidate");
    assert_eq!(
        made["metadata"]["labels"],
        json!({ MANAGED_BY: MANAGER, "side": "candidate" })
    );
    let mut expected = stable.spec().clone();
    expected.as_object_mut().expect("fields").remove("paused");
    expected["replicas"] = json!(1);
    expected["selector"]["matchLabels"] = json!({ "app": "checkout", "side": "candidate" });
    expected["selector"]["matchExpressions"]
        .as_array_mut()
        .expect("a list")
        .remove(1);
    expected["template"]["metadata"]["labels"] = json!({ "app": "checkout", "side": "candidate" });
    expected["template"]["spec"]["containers"][1]["image"] = json!("shop:v2");
    assert_eq!(made["spec"], expected);
}

#[test]
fn a_mark_is_of_the_wish_alone() {
    let before = deployment();
    let with = |change: fn(&mut Value), autoscaled| {
        let mut object = deployment().object;
        change(&mut object);
        Deployment::new(object, autoscaled).mark()
    };
    assert_eq!(with(|it| it["status"] = json!({}), false), before.mark());
    assert_eq!(
        with(|it| it["metadata"]["labels"] = json!({}), false),
        before.mark()
    );
    for change in [
        (|it| it["spec"]["paused"] = json!(false)) as fn(&mut Value),
        |it| it["spec"]["replicas"] = json!(4),
        |it| it["spec"]["template"]["spec"]["containers"][0]["image"] = json!("proxy:2"),
        |it| it["spec"]["template"]["metadata"]["annotations"] = json!({ "restartedAt": "now" }),
        |it| it["metadata"]["uid"] = json!("another"),
    ] {
        assert_ne!(with(change, false), before.mark());
    }
    let replicas = (|it| it["spec"]["replicas"] = json!(4)) as fn(&mut Value);
    assert_eq!(
        with(replicas, true),
        with(|_| {}, true),
        "an autoscaler's replicas are no wish"
    );
}

#[test]
fn a_pace_changes_what_is_not_so_already_and_never_a_recreate() {
    let pace = Some(Pace {
        max_unavailable: Portion::Replicas(0),
        max_surge: Portion::Percent(50),
    });
    let mut deployment = deployment();
    let wanted = json!({
        "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": "50%" },
    });
    assert_eq!(
        deployment.paced(pace),
        Some(Op::put("/spec/strategy", wanted.clone()))
    );
    assert_eq!(deployment.paced(None), None);
    for strategy in [wanted, json!({ "type": "Recreate" })] {
        deployment.object["spec"]["strategy"] = strategy;
        assert_eq!(deployment.paced(pace), None);
    }
}

#[test]
fn a_selector_is_written_as_lists_take_it() {
    assert_eq!(
        selector(deployment().spec()),
        "app=checkout,tier in (web,api),side notin (candidate),!batch"
    );
}

#[test]
fn a_template_is_compared_without_its_hash() {
    let stable = deployment();
    let mut of_set = stable.template().clone();
    of_set["metadata"]["labels"][HASH] = json!("5d4f8");
    assert_eq!(without_hash(&of_set), *stable.template());
    assert!(!stable.is_observed(), "the newest wish is not followed yet");
}
