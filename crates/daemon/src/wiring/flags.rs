//! The stores of feature flags, each under the name that it is configured by.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter_forge::{ForgeFlags, Forges};
use adapter_host::FlagFile;
use adapter_kube::{Connection, KubeFlags};
use async_trait::async_trait;
use domain::{Error, Idem, RepoRef, Result, nearest};
use ports::{Flag, FlagRef, FlagStore, Mark};

use crate::config::{FlagPlace, Settings};

pub struct Flags(BTreeMap<String, Arc<dyn FlagStore>>);

impl Flags {
    /// `clusters` by their names in the configuration. Nobody is asked anything yet.
    pub fn new(
        settings: &Settings,
        forges: &Forges,
        clusters: &BTreeMap<String, Connection>,
    ) -> Result<Self> {
        let mut stores: BTreeMap<String, Arc<dyn FlagStore>> = BTreeMap::new();
        for (name, source) in &settings.flags {
            let wrong = |what: &str| Error::invalid(format!("`flags.{name}` {what}"));
            let store: Arc<dyn FlagStore> = match source.place().map_err(wrong)? {
                FlagPlace::Project { url, project } => {
                    Arc::new(ForgeFlags::new(forges.clone(), gitlab(url, project)))
                }
                FlagPlace::File(path) => Arc::new(FlagFile::new(path)),
                FlagPlace::ConfigMap {
                    cluster,
                    name: map,
                    key,
                } => {
                    let connection = clusters.get(cluster);
                    let connection =
                        connection.ok_or_else(|| wrong("names a cluster that is not configured"))?;
                    let flags = KubeFlags::new(connection, map, key);
                    Arc::new(flags.map_err(|error| error.context(format!("`flags.{name}` cannot be used")))?)
                }
            };
            stores.insert(name.clone(), store);
        }
        Ok(Self(stores))
    }

    fn of(&self, at: &FlagRef) -> Result<&dyn FlagStore> {
        let store = self.0.get(&at.store).map(AsRef::as_ref);
        store.ok_or_else(|| {
            let next = match nearest(&at.store, self.0.keys().map(String::as_str)) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => "Describe it under `flags` in the configuration".to_owned(),
            };
            Error::invalid(format!(
                "no store of feature flags called `{}` is configured",
                at.store
            ))
            .next(next)
        })
    }
}

fn gitlab(url: &str, project: &str) -> RepoRef {
    RepoRef {
        provider: "gitlab".to_owned(),
        url: url.to_owned(),
        project: project.to_owned(),
    }
}

#[async_trait]
impl FlagStore for Flags {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        self.of(at)?.read(at).await
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, idem: &Idem) -> Result<Flag> {
        self.of(at)?.set(at, percent, seen, idem).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Sources, load};

    fn settings(text: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("longshore.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources {
            file: Some(path),
            env: Environment::of([]),
            flags: Vec::new(),
        };
        load(&sources).unwrap().settings
    }

    #[tokio::test]
    async fn a_flag_is_set_in_the_store_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("flags.json");
        std::fs::write(&file, r#"{"flags": {"new": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}}}"#).unwrap();
        let text = format!(
            "[flags.shop]\nprovider = \"flagd\"\nfile = {:?}\n[flags.forge]\nproject = \"shop/checkout\"\n",
            file.display().to_string()
        );
        let settings = settings(&text);
        let forges = Forges::new(&super::super::forge_config(&settings)).unwrap();
        let flags = Flags::new(&settings, &forges, &BTreeMap::new()).unwrap();
        let at = |store: &str| FlagRef {
            store: store.to_owned(),
            key: "new".to_owned(),
            scope: None,
        };
        let seen = flags.read(&at("shop")).await.unwrap().mark;
        let set = flags
            .set(&at("shop"), 30, &seen, &Idem::new("t/r/s"))
            .await
            .unwrap();
        assert_eq!(set.percent, 30);
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .contains(r#"[["on", 30], ["off", 70]]"#)
        );
        let error = flags.read(&at("shp")).await.unwrap_err().to_string();
        assert!(error.ends_with("Did you mean `shop`?"), "{error}");
        // GitLab is asked, for which there is no token here.
        let error = flags.read(&at("forge")).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("gitlab"), "{error}");
    }
}
