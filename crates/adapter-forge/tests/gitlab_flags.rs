//! GitLab's feature flags against the fake, over real HTTP: the port's suite, and what is special to GitLab's rules.

use std::sync::atomic::{AtomicUsize, Ordering};

use adapter_forge::{Config, ForgeFlags, Forges, HostConfig, Provider};
use async_trait::async_trait;
use domain::{ErrorKind, Idem};
use ports::conformance::Breakage;
use ports::conformance::flags::FlagWorld;
use ports::{FlagRef, FlagStore};
use serde_json::{Value, json};
use testkit::gitlab::{FakeGitlab, Role, Scope, TOKEN};
use testkit::peer::{Fault, When};

const PROJECT: &str = "group/app";

struct World {
    fake: FakeGitlab,
    flags: ForgeFlags,
    made: AtomicUsize,
    /// The kind of rule that new flags have.
    kind: &'static str,
}

fn start(kind: &'static str) -> World {
    let fake = FakeGitlab::start();
    let mut host = HostConfig::new(Provider::Gitlab);
    host.url = Some(fake.url().parse().expect("the fake's address"));
    host.token = Some(TOKEN.into());
    host.requests_per_minute = 100_000;
    let hosts = vec![host];
    let forges = Forges::new(&Config { hosts, local: None }).expect("a usable configuration");
    World {
        flags: ForgeFlags::new(forges, fake.repo(PROJECT)),
        fake,
        made: AtomicUsize::new(0),
        kind,
    }
}

fn at(key: &str) -> FlagRef {
    FlagRef {
        store: "app".to_owned(),
        key: key.to_owned(),
        scope: Some("production".to_owned()),
    }
}

fn idem() -> Idem {
    Idem::new("task/run/flag")
}

impl World {
    fn parameters(&self, percent: u32) -> Value {
        match self.kind {
            "gradualRolloutUserId" => json!({ "groupId": "g", "percentage": percent.to_string() }),
            _ => json!({ "groupId": "g", "rollout": percent.to_string(), "stickiness": "userId" }),
        }
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut testkit::gitlab::FeatureFlag)) {
        self.fake.with(|world| {
            let flag = world.flags.iter_mut().find(|flag| flag.name == key);
            change(flag.expect("the flag"));
        });
    }

    /// A rule for one environment, on a flag that is there or is made.
    fn rule(&self, key: &str, kind: &str, parameters: &Value, scope: &str) {
        self.fake.with(|world| {
            if !world.flags.iter().any(|flag| flag.name == key) {
                world.add_flag(PROJECT, key);
            }
            world.add_strategy(key, kind, parameters, scope);
        });
    }

    async fn refused(&self, at: &FlagRef) -> String {
        let error = self.flags.read(at).await.expect_err("is no percentage");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        error.to_string()
    }
}

#[async_trait]
impl FlagWorld for World {
    fn port(&self) -> &dyn FlagStore {
        &self.flags
    }
    async fn flag(&self, percent: u32) -> FlagRef {
        let key = format!("new-checkout-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.rule(&key, self.kind, &self.parameters(percent), "production");
        let staging = json!({ "groupId": "s", "rollout": "80", "stickiness": "default" });
        self.rule(&key, "flexibleRollout", &staging, "staging");
        self.rule("somebody-elses", "default", &json!({}), "*");
        at(&key)
    }
    fn missing(&self) -> FlagRef {
        at("never-made")
    }
    async fn meddle(&self, at: &FlagRef, percent: u32) {
        let parameters = self.parameters(percent);
        self.change(&at.key, |flag| {
            flag.strategies[0].parameters = parameters.as_object().cloned().expect("an object");
        });
    }
    async fn foreign(&self, at: &FlagRef) -> String {
        let flags = self.fake.with(|world| world.flags.clone());
        let foreign = flags.iter().map(|flag| {
            let own = flag.name == at.key;
            let rules = flag
                .strategies
                .iter()
                .filter(|rule| !own || rule.scopes[0].1 != "production");
            json!([flag.name, flag.active, rules.collect::<Vec<_>>()])
        });
        foreign.collect::<Vec<_>>().iter().map(Value::to_string).collect()
    }
    async fn changes(&self) -> usize {
        self.fake.with(|world| world.flag_changes)
    }
    async fn deny_writes(&self) {
        self.fake
            .with(|world| world.limit_token(Scope::ReadApi, Role::Developer));
    }
    async fn break_next(&self, breakage: Breakage) {
        let fault = match breakage {
            Breakage::RateLimited(wait) => Fault::RateLimited(wait),
            Breakage::OutOfOrder => Fault::Status(503),
            Breakage::DoneThenCut => Fault::DoneThenCut,
            Breakage::NoAnswer => Fault::Hang,
        };
        self.fake.fault(&When::write(), &fault);
    }
}

mod flexible {
    ports::flags_conformance!(super::start("flexibleRollout"));
}

mod gradual {
    ports::flags_conformance!(super::start("gradualRolloutUserId"));
}

#[tokio::test]
async fn a_flag_without_a_rule_for_the_environment_is_given_one_and_the_others_stay() {
    let world = start("flexibleRollout");
    let staging = json!({ "groupId": "s", "rollout": "80", "stickiness": "default" });
    world.rule("bare", "flexibleRollout", &staging, "staging");
    let seen = world.flags.read(&at("bare")).await.expect("reads");
    assert_eq!(seen.percent, 0);
    let set = world
        .flags
        .set(&at("bare"), 20, &seen.mark, &idem())
        .await
        .expect("sets");
    assert_eq!(set.percent, 20);
    let flag = world.fake.with(|world| world.flags[0].clone());
    assert_eq!(flag.strategies.len(), 2);
    assert_eq!(Value::Object(flag.strategies[0].parameters.clone()), staging);
    assert_eq!(flag.strategies[1].scopes[0].1, "production");
}

#[tokio::test]
async fn a_flag_that_is_on_for_all_is_rolled_back_to_a_share() {
    let world = start("flexibleRollout");
    world.rule("all", "default", &json!({}), "production");
    let seen = world.flags.read(&at("all")).await.expect("reads");
    assert_eq!(seen.percent, 100);
    let set = world
        .flags
        .set(&at("all"), 0, &seen.mark, &idem())
        .await
        .expect("sets");
    assert_eq!(set.percent, 0);
    let rules = world.fake.with(|world| world.flags[0].strategies.clone());
    assert_eq!((rules.len(), rules[0].name.as_str()), (1, "flexibleRollout"));
}

#[tokio::test]
async fn other_rules_than_a_percentage_are_a_conflict_that_names_them() {
    let world = start("flexibleRollout");
    world.rule("users", "userWithId", &json!({ "userIds": "ada" }), "production");
    assert!(world.refused(&at("users")).await.contains("`userWithId`"));
    world.rule("shared", "default", &json!({}), "*");
    assert!(world.refused(&at("shared")).await.contains("is for * as well"));
    let random = json!({ "groupId": "g", "rollout": "10", "stickiness": "random" });
    world.rule("random", "flexibleRollout", &random, "production");
    assert!(world.refused(&at("random")).await.contains("anew each time"));
    assert_eq!(world.changes().await, 0);
}

#[tokio::test]
async fn a_flag_that_is_off_is_switched_on_only_if_that_touches_no_other_environment() {
    let world = start("flexibleRollout");
    world.rule("alone", "flexibleRollout", &world.parameters(50), "production");
    world.change("alone", |flag| flag.active = false);
    let seen = world.flags.read(&at("alone")).await.expect("reads");
    assert_eq!(seen.percent, 0, "off is off for all");
    let set = world
        .flags
        .set(&at("alone"), 5, &seen.mark, &idem())
        .await
        .expect("sets");
    assert_eq!(set.percent, 5);
    assert!(world.fake.with(|world| world.flags[0].active));

    let beside = world.flag(50).await;
    world.change(&beside.key, |flag| flag.active = false);
    let seen = world.flags.read(&beside).await.expect("reads");
    let changes = world.changes().await;
    let error = world
        .flags
        .set(&beside, 5, &seen.mark, &idem())
        .await
        .expect_err("staging would go on");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(world.changes().await, changes);
}
