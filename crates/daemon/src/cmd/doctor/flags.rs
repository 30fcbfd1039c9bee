//! The stores of feature flags that flagd reads: there, with flags in them, and ours to change. Of those on a forge it is told
//! whether the forge answers, beside this.

use adapter_host::FlagFile;
use adapter_kube::{Connection, KubeFlags};
use domain::Error;

use super::Findings;
use crate::config::{FlagPlace, Settings};

pub async fn look(settings: &Settings, found: &mut Findings) {
    for (name, source) in &settings.flags {
        let Ok(place) = source.place() else { continue };
        let (what, looked) = match place {
            FlagPlace::Project { .. } => continue,
            FlagPlace::File(path) => (path.display().to_string(), FlagFile::new(path).check()),
            FlagPlace::ConfigMap { cluster, name, key } => (
                format!("the ConfigMap {name} of {cluster}"),
                config_map(settings, cluster, name, key).await,
            ),
        };
        match looked {
            Ok(()) => found.ok("flags", format!("{name}: {what} holds flags that we may change")),
            Err(error) => found.error(
                "flags",
                &error.context(name.clone()),
                "docs/deploy.md says what flagd's flags must be like",
            ),
        }
    }
}

async fn config_map(settings: &Settings, cluster: &str, name: &str, key: Option<&str>) -> Result<(), Error> {
    let config = settings.clusters.get(cluster);
    let config = config.ok_or_else(|| Error::invalid(format!("there is no cluster {cluster}")))?;
    let connection = Connection::open(config).await?;
    KubeFlags::new(&connection, name, key)?.check().await
}
