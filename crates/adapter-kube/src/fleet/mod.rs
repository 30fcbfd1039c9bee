mod deployment;
mod progress;

use async_trait::async_trait;
use domain::{Error, Idem, Result};
use ports::{Fleet, Group, Launch, Mark, Revision, RevisionId, RollOut, Side, WorkloadRef};
use serde_json::{Value, json};

use crate::connection::{Connection, Op};
use crate::image;
use crate::names::Name;
use crate::registry::Registries;
use deployment::{Deployment, container, without_hash};
use progress::{Following, newest, owned_by};

const APPS: &str = "apis/apps/v1";
const CORE: &str = "api/v1";

/// How often a write is tried anew because the object has moved on: the controller writes into it all the time.
const TRIES: u32 = 10;

/// Deployments: `NAMESPACE/NAME` is the stable side, and `NAME-candidate` beside it what is tried.
///
/// A change is a JSON patch of the fields that are wished for, under the condition that the object is still as it was
/// looked at. Server-side apply would take away what an earlier wish of ours had set and this one does not name, and
/// could take away nothing of what others set, which going back to a revision must.
#[derive(Clone, Debug)]
pub struct KubeFleet {
    connection: Connection,
    registries: Registries,
}

/// What a write finds that it has to do.
enum Wish {
    IsSo,
    Patch(Vec<Op>),
    Delete,
}

impl KubeFleet {
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            registries: Registries::default(),
        }
    }

    /// Versions that never ran here must be in their registry, where it is one of these.
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { registries, ..self }
    }

    fn name(&self, at: &WorkloadRef) -> Result<Name> {
        Name::read(&at.name, self.connection.namespace())
    }

    async fn deployment(&self, name: &Name, side: Side) -> Result<Option<Deployment>> {
        let name = name.on(side);
        let doing = format!("read the Deployment {name}");
        let path = name.path(APPS, "deployments");
        let Some(object) = self.connection.get(&path, &doing).await? else {
            return Ok(None);
        };
        let autoscaled = side == Side::Stable && self.is_autoscaled(&name).await?;
        let found = Deployment::new(object, autoscaled);
        if side == Side::Candidate && !found.is_ours() {
            return Err(Error::conflict(format!(
                "the Deployment {name} was made by somebody else, and it is where a candidate would stand"
            ))
            .next("Give it another name"));
        }
        Ok(Some(found))
    }

    async fn is_autoscaled(&self, name: &Name) -> Result<bool> {
        let doing = format!("read the autoscalers of {}", name.namespace);
        let path = name.folder("apis/autoscaling/v1", "horizontalpodautoscalers");
        let all = self.connection.list(&path, &[], &doing).await?;
        Ok(all.iter().any(|scaler| {
            let of = &scaler["spec"]["scaleTargetRef"];
            of["kind"] == "Deployment" && of["name"] == name.name.as_str()
        }))
    }

    /// From which a workload can be made that is not there yet.
    async fn pod_template(&self, name: &Name) -> Result<Value> {
        let doing = format!("read the PodTemplate {name}");
        let path = name.path(CORE, "podtemplates");
        let found = self.connection.get(&path, &doing).await?;
        found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no Deployment {name}, and no PodTemplate of that name to make it from"
            ))
            .next("Make one of the two, or correct the environment's `workload`")
        })
    }

    async fn sets(&self, name: &Name, deployment: &Deployment) -> Result<Vec<Value>> {
        let selector = deployment::selector(deployment.spec());
        let doing = format!("read the ReplicaSets of {name}");
        let path = name.folder(APPS, "replicasets");
        let all = self
            .connection
            .list(&path, &[("labelSelector", &selector)], &doing)
            .await?;
        Ok(owned_by(all, deployment.uid()))
    }

    async fn following(&self, name: &Name, deployment: &Deployment) -> Result<Following> {
        let sets = self.sets(name, deployment).await?;
        let Some(set) = newest(&sets, deployment) else {
            return Ok(Following {
                sets,
                ..Following::default()
            });
        };
        let selector = deployment::selector(&set["spec"]);
        let doing = format!("read the pods of {name}");
        let path = name.folder(CORE, "pods");
        let pods = self
            .connection
            .list(&path, &[("labelSelector", &selector)], &doing)
            .await?;
        let pods = owned_by(pods, &set["metadata"]["uid"]);
        Ok(Following {
            sets,
            pods,
            events: Vec::new(),
        })
    }

    async fn warnings(&self, name: &Name) -> Result<Vec<Value>> {
        let doing = format!("read the events of {}", name.namespace);
        let path = name.folder(CORE, "events");
        let query = [("fieldSelector", "type=Warning"), ("limit", "500")];
        self.connection.list(&path, &query, &doing).await
    }

    /// Makes a side as wished, again and again while others write into it, unless what they write is a wish.
    async fn change(
        &self,
        name: &Name,
        side: Side,
        seen: Option<&Mark>,
        wish: impl Fn(&Deployment) -> Result<Wish>,
    ) -> Result<Option<Mark>> {
        let on = name.on(side);
        let path = on.path(APPS, "deployments");
        let doing = format!("change the Deployment {on}");
        for _ in 0..TRIES {
            let Some(found) = self.deployment(name, side).await? else {
                return Ok(None);
            };
            let wish = match found.is_going() {
                // Nothing stands there any more for whoever wants it gone.
                true => {
                    return match wish(&found)? {
                        Wish::Delete => Ok(None),
                        _ => Err(going(&on)),
                    };
                }
                false => wish(&found)?,
            };
            if matches!(wish, Wish::IsSo) {
                return Ok(Some(found.mark()));
            }
            if seen != Some(&found.mark()) {
                return Err(changed(&on, &found, seen));
            }
            let version = found.resource_version();
            let written = match &wish {
                Wish::Delete => self.connection.delete(&path, found.object(), &doing).await?,
                Wish::Patch(ops) => self.connection.patch(&path, version, ops, &doing).await?,
                Wish::IsSo => None,
            };
            match (written, wish) {
                (None, _) => continue,
                (Some(_), Wish::Delete) => return Ok(None),
                (Some(written), _) => {
                    return Ok(Some(Deployment::new(written, found.is_autoscaled()).mark()));
                }
            }
        }
        Err(Error::unavailable(format!(
            "could not change the Deployment {on}: others wrote into it each of the {TRIES} times that we tried"
        )))
    }

    /// Makes the Deployment of a side; none when there is one by now.
    async fn create(&self, on: &Name, object: &Value) -> Result<Option<Mark>> {
        let doing = format!("make the Deployment {on}");
        let path = on.folder(APPS, "deployments");
        let made = self.connection.create(&path, object, &doing).await?;
        Ok(made.map(|made| Deployment::new(made, false).mark()))
    }

    async fn stable(
        &self,
        at: &WorkloadRef,
        seen: Option<&Mark>,
        wish: impl Fn(&Deployment) -> Result<Wish>,
    ) -> Result<Mark> {
        let name = self.name(at)?;
        let mark = self.change(&name, Side::Stable, seen, wish).await?;
        mark.ok_or_else(|| gone(&name, at))
    }
}

fn gone(on: &Name, at: &WorkloadRef) -> Error {
    Error::not_found(format!("there is no Deployment {on} in {}", at.target))
}

fn going(on: &Name) -> Error {
    Error::unavailable(format!(
        "the Deployment {on} is being deleted, and is not gone yet"
    ))
    .next("Try again when it is gone, or see what holds it (metadata.finalizers)")
}

fn changed(on: &Name, found: &Deployment, seen: Option<&Mark>) -> Error {
    let since = match seen {
        Some(_) => "was changed by somebody else",
        None => "was made by somebody else",
    };
    let who = last_writer(found.object())
        .map(|who| format!("; it was last written to by {who}"))
        .unwrap_or_default();
    Error::conflict(format!("the Deployment {on} {since} since it was looked at{who}")).next(format!(
        "kubectl -n {} get deployment {} -o yaml shows it",
        on.namespace, on.name
    ))
}

/// Who changed the wish last, as the object itself has it.
fn last_writer(object: &Value) -> Option<String> {
    let fields = deployment::items(&object["metadata"]["managedFields"]);
    // What follows wishes writes into the status alone.
    let wishes = fields.filter(|entry| !entry["fieldsV1"]["f:spec"].is_null());
    let last = wishes.max_by_key(|entry| entry["time"].as_str())?;
    Some(format!(
        "{} at {}",
        last["manager"].as_str()?,
        last["time"].as_str()?
    ))
}

#[async_trait]
impl Fleet for KubeFleet {
    async fn resolve(&self, at: &WorkloadRef, version: &str) -> Result<String> {
        let name = self.name(at)?;
        let found = self.deployment(&name, Side::Stable).await?;
        let template = match &found {
            Some(found) => found.template().clone(),
            None => self.pod_template(&name).await?["template"].clone(),
        };
        let (_, present) = container(&template, at.container.as_deref(), &name)?;
        let image = image::named(present, version).ok_or_else(|| {
            Error::not_found(format!(
                "there is no version `{version}` of {name}: no image can have that name"
            ))
            .next("Name a tag (v1.4.2), a digest (sha256:…) or a whole image (registry.example/shop:v1.4.2)")
        })?;
        if self.registries.know(&image) {
            // The way back must not wait for a registry.
            let ran = self.revisions(at).await?;
            if !ran.iter().any(|revision| revision.version == image) {
                self.registries.has(&image).await?;
            }
        }
        Ok(image)
    }

    async fn observe(&self, at: &WorkloadRef, side: Side) -> Result<Option<Group>> {
        let name = self.name(at)?;
        let found = self.deployment(&name, side).await?;
        let Some(found) = found.filter(|found| !found.is_going()) else {
            // Nothing stands there yet, or nobody has heard of it.
            if side == Side::Stable || self.deployment(&name, Side::Stable).await?.is_none() {
                self.pod_template(&name).await?;
            }
            return Ok(None);
        };
        let on = name.on(side);
        let (_, version) = container(found.template(), at.container.as_deref(), &on)?;
        let mut following = self.following(&on, &found).await?;
        let group = progress::group(&found, version, &following);
        if group.is_complete() {
            return Ok(Some(group));
        }
        following.events = self.warnings(&on).await?;
        Ok(Some(progress::group(&found, version, &following)))
    }

    async fn revisions(&self, at: &WorkloadRef) -> Result<Vec<Revision>> {
        let name = self.name(at)?;
        let Some(found) = self.deployment(&name, Side::Stable).await? else {
            return Ok(Vec::new());
        };
        let sets = self.sets(&name, &found).await?;
        let version = |template: &Value| {
            let (_, image) = container(template, at.container.as_deref(), &name).ok()?;
            Some(image.to_owned())
        };
        Ok(progress::revisions(&sets, version))
    }

    async fn roll_out(
        &self,
        at: &WorkloadRef,
        wanted: &RollOut,
        seen: Option<&Mark>,
        _: &Idem,
    ) -> Result<Mark> {
        let name = self.name(at)?;
        let version = wanted.version.as_str();
        let roll = |found: &Deployment| {
            let (place, image) = container(found.template(), at.container.as_deref(), &name)?;
            if image == version {
                return Ok(Wish::IsSo);
            }
            let path = format!("/spec/template/spec/containers/{place}/image");
            let mut ops = vec![Op::put(path, json!(version))];
            ops.extend(found.paced(wanted.pace));
            Ok(Wish::Patch(ops))
        };
        for _ in 0..TRIES {
            if let Some(mark) = self.change(&name, Side::Stable, seen, roll).await? {
                return Ok(mark);
            }
            if seen.is_some() {
                return Err(Error::conflict(format!("the Deployment {name} is gone")));
            }
            let pods = self.pod_template(&name).await?;
            let (place, _) = container(&pods["template"], at.container.as_deref(), &name)?;
            let label = &self.connection.config().side_label;
            let version = (place, version);
            let object = deployment::first(&pods, &name, label, version, wanted.replicas, wanted.pace);
            if let Some(mark) = self.create(&name, &object).await? {
                return Ok(mark);
            }
        }
        Err(Error::unavailable(format!(
            "the Deployment {name} comes and goes while we try to make it"
        )))
    }

    async fn pause(&self, at: &WorkloadRef, paused: bool, seen: &Mark, _: &Idem) -> Result<Mark> {
        self.stable(at, Some(seen), |found| {
            Ok(match (found.is_paused(), paused) {
                (true, true) | (false, false) => Wish::IsSo,
                (_, true) => Wish::Patch(vec![Op::put("/spec/paused", json!(true))]),
                (_, false) => Wish::Patch(vec![Op::remove("/spec/paused")]),
            })
        })
        .await
    }

    async fn undo(&self, at: &WorkloadRef, to: &RevisionId, seen: &Mark, _: &Idem) -> Result<Mark> {
        let name = self.name(at)?;
        let found = self.deployment(&name, Side::Stable).await?;
        let found = found.ok_or_else(|| gone(&name, at))?;
        let sets = self.sets(&name, &found).await?;
        let set = sets.iter().find(|set| set["metadata"]["name"] == to.0.as_str());
        let set = set.ok_or_else(|| {
            Error::not_found(format!("there is no revision {} of {name} any more", to.0))
                .next("Deploy the version anew, or keep more with `revisionHistoryLimit`")
        })?;
        let template = without_hash(&set["spec"]["template"]);
        self.stable(at, Some(seen), |found| {
            let mut ops = Vec::new();
            if *found.template() != template {
                ops.push(Op::put("/spec/template", template.clone()));
            }
            if found.is_paused() {
                ops.push(Op::remove("/spec/paused"));
            }
            Ok(if ops.is_empty() {
                Wish::IsSo
            } else {
                Wish::Patch(ops)
            })
        })
        .await
    }

    async fn launch(&self, at: &WorkloadRef, wanted: &Launch, seen: Option<&Mark>, _: &Idem) -> Result<Mark> {
        let name = self.name(at)?;
        let on = name.on(Side::Candidate);
        let stable = self.deployment(&name, Side::Stable).await?;
        let stable = stable.filter(|stable| !stable.is_going()).ok_or_else(|| {
            Error::not_found(format!(
                "there is no Deployment {name}, so no version could stand beside it"
            ))
        })?;
        let (place, _) = container(stable.template(), at.container.as_deref(), &name)?;
        let label = &self.connection.config().side_label;
        let version = (place, wanted.version.as_str());
        let launch = |found: &Deployment| {
            let (_, image) = container(found.template(), at.container.as_deref(), &on)?;
            if image == wanted.version && found.replicas() == wanted.replicas {
                return Ok(Wish::IsSo);
            }
            let template = deployment::beside(stable.template(), label, version);
            Ok(Wish::Patch(vec![
                Op::put("/spec/template", template),
                Op::put("/spec/replicas", json!(wanted.replicas)),
            ]))
        };
        for _ in 0..TRIES {
            if let Some(mark) = self.change(&name, Side::Candidate, seen, launch).await? {
                return Ok(mark);
            }
            if seen.is_some() {
                return Err(Error::conflict(format!("the Deployment {on} is gone")));
            }
            let object = deployment::candidate(&stable, &on, label, version, wanted.replicas);
            if let Some(mark) = self.create(&on, &object).await? {
                return Ok(mark);
            }
        }
        Err(Error::unavailable(format!(
            "the Deployment {on} comes and goes while we try to make it"
        )))
    }

    async fn scale(
        &self,
        at: &WorkloadRef,
        side: Side,
        replicas: u32,
        seen: &Mark,
        _: &Idem,
    ) -> Result<Mark> {
        let name = self.name(at)?;
        let scale = |found: &Deployment| {
            Ok(match found.replicas() == replicas {
                true => Wish::IsSo,
                false => Wish::Patch(vec![Op::put("/spec/replicas", json!(replicas))]),
            })
        };
        let mark = self.change(&name, side, Some(seen), scale).await?;
        mark.ok_or_else(|| gone(&name.on(side), at))
    }

    async fn retire(&self, at: &WorkloadRef, seen: Option<&Mark>, _: &Idem) -> Result<()> {
        let name = self.name(at)?;
        let gone = self.change(&name, Side::Candidate, seen, |_| Ok(Wish::Delete));
        gone.await.map(drop)
    }
}
