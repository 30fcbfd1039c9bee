use async_trait::async_trait;
use domain::{Error, Idem, Result};
use ports::{Flag, FlagRef, FlagStore, Mark};
use serde_json::{Map, Value};

use crate::connection::{Connection, Op, escaped};
use crate::names::Name;

const CORE: &str = "api/v1";
const TRIES: u32 = 10;

/// The flags in a ConfigMap that flagd reads.
///
/// One value of it is written, under the condition that the object is still as it was looked at.
#[derive(Clone, Debug)]
pub struct KubeFlags {
    connection: Connection,
    name: Name,
    /// The one that there is when left out.
    key: Option<String>,
}

/// A ConfigMap as it stands.
struct Sight {
    version: String,
    key: String,
    text: String,
}

impl KubeFlags {
    /// `config_map`: `NAMESPACE/NAME`, or `NAME` where names without a namespace are.
    pub fn new(connection: &Connection, config_map: &str, key: Option<&str>) -> Result<Self> {
        Ok(Self {
            name: Name::read(config_map, connection.namespace())?,
            connection: connection.clone(),
            key: key.map(str::to_owned),
        })
    }

    /// Whether it holds flags, and may be changed by us. Nothing is changed.
    pub async fn check(&self) -> Result<()> {
        let sight = self.look().await?;
        flagd::check(&sight.text, &self.whose(&sight))?;
        let (namespace, name) = (&self.name.namespace, Some(self.name.name.as_str()));
        let may = self.connection.may("patch", "", "configmaps", namespace, name);
        if may.await? {
            return Ok(());
        }
        let what = format!("longshore may not patch the ConfigMap {}", self.name);
        Err(Error::denied(what).next("Grant it: docs/kubernetes.md shows the Role that longshore needs"))
    }

    fn whose(&self, sight: &Sight) -> String {
        format!("the ConfigMap {} ({})", self.name, sight.key)
    }

    fn path(&self) -> String {
        self.name.path(CORE, "configmaps")
    }

    async fn look(&self) -> Result<Sight> {
        let doing = format!("read the ConfigMap {}", self.name);
        let found = self.connection.get(&self.path(), &doing).await?;
        let found = found.ok_or_else(|| {
            Error::not_found(format!("there is no ConfigMap {}", self.name)).next(
                "Make it, with the flags in it, or correct the store's `config_map` in the configuration",
            )
        })?;
        self.sight(&found)
    }

    fn sight(&self, object: &Value) -> Result<Sight> {
        let none = Map::new();
        let data = object["data"].as_object().unwrap_or(&none);
        let mut keys = data.keys();
        let key = match (&self.key, keys.next(), keys.next()) {
            (Some(key), ..) => key,
            (None, Some(only), None) => only,
            (None, ..) => {
                return Err(Error::invalid(format!(
                    "the ConfigMap {} has {} keys, and nothing says under which the flags are",
                    self.name,
                    data.len()
                ))
                .next("Name it as the store's `key` in the configuration"));
            }
        };
        let text = data.get(key).and_then(Value::as_str).ok_or_else(|| {
            Error::not_found(format!("the ConfigMap {} has nothing under {key}", self.name))
                .next("Put the flags there, or correct the store's `key` in the configuration")
        })?;
        let version = object["metadata"]["resourceVersion"].as_str();
        Ok(Sight {
            version: version.unwrap_or_default().to_owned(),
            key: key.to_owned(),
            text: text.to_owned(),
        })
    }
}

#[async_trait]
impl FlagStore for KubeFlags {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        let sight = self.look().await?;
        flagd::read(&sight.text, at, &self.whose(&sight))
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Flag> {
        for _ in 0..TRIES {
            let sight = self.look().await?;
            let whose = self.whose(&sight);
            let Some(changed) = flagd::change(&sight.text, at, &whose, percent, seen)? else {
                return flagd::read(&sight.text, at, &whose);
            };
            let doing = format!("set flag {} in {whose} to {percent} %", at.key);
            let ops = [Op::put(
                format!("/data/{}", escaped(&sight.key)),
                Value::from(changed),
            )];
            let written = self
                .connection
                .patch(&self.path(), &sight.version, &ops, &doing)
                .await?;
            if let Some(written) = written {
                // The answer is the object as it was stored.
                return flagd::read(&self.sight(&written)?.text, at, &whose);
            }
        }
        Err(Error::unavailable(format!(
            "could not set flag {} in the ConfigMap {}: somebody else changes it all the time",
            at.key, self.name
        )))
    }
}
