//! Flags in a ConfigMap that flagd reads: the port's suite, and what is special to a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter_kube::KubeFlags;
use async_trait::async_trait;
use domain::ErrorKind;
use ports::conformance::flags::FlagWorld;
use ports::conformance::{Breakage, Scene};
use ports::{FlagRef, FlagStore};
use serde_json::{Value, json};
use testkit::cluster::Cluster;
use testkit::peer::Fault;

use crate::site::{Site, idem, scenes};

const KEY: &str = "flags.shop.json";

struct World {
    site: Site,
    flags: KubeFlags,
    made: AtomicUsize,
}

async fn world(site: Site) -> World {
    let flags = json!({ "flags": { "somebody-elses": flag(80) } });
    let map = json!({
        "metadata": { "name": "flags", "annotations": { "example.com/owner": "ada" } },
        "data": { KEY: flags.to_string(), "readme": "of the shop" },
        "binaryData": { "logo": "AAEC" },
    });
    site.admin()
        .create(&site.path("api/v1", "configmaps"), &map)
        .await;
    let name = format!("{}/flags", site.namespace);
    World {
        flags: KubeFlags::new(&site.connection, &name, Some(KEY)).expect("is a name"),
        site,
        made: AtomicUsize::new(0),
    }
}

fn flag(percent: u32) -> Value {
    json!({
        "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off",
        "targeting": { "fractional": [["on", percent], ["off", 100 - percent]] },
    })
}

fn at(key: &str) -> FlagRef {
    FlagRef {
        store: "shop".to_owned(),
        key: key.to_owned(),
        scope: None,
    }
}

impl World {
    fn path(&self) -> String {
        format!("{}/flags", self.site.path("api/v1", "configmaps"))
    }

    async fn text(&self) -> Value {
        let map = self.site.admin().get(&self.path()).await.expect("is there");
        serde_json::from_str(map["data"][KEY].as_str().expect("a text")).expect("is JSON")
    }

    async fn put(&self, key: &str, percent: u32) {
        let mut flags = self.text().await;
        flags["flags"][key] = flag(percent);
        let change = json!({ "data": { KEY: flags.to_string() } });
        self.site.admin().merge(&self.path(), &change).await;
    }
}

#[async_trait]
impl FlagWorld for World {
    fn port(&self) -> &dyn FlagStore {
        &self.flags
    }
    async fn flag(&self, percent: u32) -> FlagRef {
        let key = format!("new-checkout-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.put(&key, percent).await;
        at(&key)
    }
    fn missing(&self) -> FlagRef {
        at("never-made")
    }
    async fn meddle(&self, at: &FlagRef, percent: u32) {
        self.put(&at.key, percent).await;
    }
    async fn foreign(&self, at: &FlagRef) -> String {
        let mut map = self.site.admin().get(&self.path()).await.expect("is there");
        let mut flags = self.text().await;
        flags["flags"][&at.key]["targeting"].take();
        map["data"][KEY].take();
        format!(
            "{flags} {} {} {}",
            map["data"], map["binaryData"], map["metadata"]["annotations"]
        )
    }
    async fn changes(&self) -> usize {
        self.site.changes()
    }
    async fn deny_writes(&self) {
        self.site.deny_writes().await;
    }
    async fn break_next(&self, breakage: Breakage) {
        self.site.break_next(&match breakage {
            Breakage::RateLimited(wait) => Fault::RateLimited(wait),
            Breakage::OutOfOrder => Fault::Status(503),
            Breakage::DoneThenCut => Fault::DoneThenCut,
            Breakage::NoAnswer => Fault::Hang,
        });
    }
}

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    let site = |cluster: &Arc<Cluster>| Site::start(Arc::clone(cluster));
    let mut all = ports::flags_conformance!(scenes {
        let site = site(cluster);
        async move { world(site.await).await }
    });
    all.extend(scenes!(cluster,
        somebody_elses_change_of_another_key_is_no_conflict
        a_map_is_looked_at_before_it_is_used));
    all
}

async fn somebody_elses_change_of_another_key_is_no_conflict(site: Site) {
    let world = world(site).await;
    let at = world.flag(0).await;
    let seen = world.flags.read(&at).await.expect("reads").mark;
    let (admin, path) = (world.site.admin().clone(), world.path());
    world.site.before_next_write(async move {
        admin
            .merge(&path, &json!({ "data": { "readme": "changed" } }))
            .await;
    });
    let set = world
        .flags
        .set(&at, 20, &seen, &idem())
        .await
        .expect("is tried again");
    assert_eq!(set.percent, 20);
    let map = world.site.admin().get(&world.path()).await.expect("is there");
    assert_eq!(map["data"]["readme"], "changed");
    assert_eq!(world.text().await["flags"][&at.key], flag(20));
}

async fn a_map_is_looked_at_before_it_is_used(site: Site) {
    let world = world(site).await;
    world.flags.check().await.expect("is in order");
    let of = |name: &str, key: Option<&str>| {
        let name = format!("{}/{name}", world.site.namespace);
        KubeFlags::new(&world.site.connection, &name, key).expect("is a name")
    };
    let error = of("flags", None).check().await.expect_err("has two keys");
    assert!(error.to_string().contains("has 2 keys"), "{error}");
    let error = of("flags", Some("gone"))
        .check()
        .await
        .expect_err("has no such key");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let error = of("flags", Some("readme")).check().await.expect_err("is no JSON");
    assert!(error.to_string().contains("does not hold flags"), "{error}");
    let error = of("none", None).check().await.expect_err("is none of ours");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    world.site.deny_writes().await;
    let error = world.flags.check().await.expect_err("may not be changed");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}
