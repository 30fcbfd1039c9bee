//! What a keeper asks of HAProxy.

use domain::{Error, ErrorKind, Result};

use super::slots;
use crate::config::Settings;
use crate::haproxy::{HaproxyConfig, Runtime};
use crate::status::{Phase, Replica, Status};

/// The backend that stands before a workload.
pub(super) struct Front<'a> {
    runtime: Runtime,
    backend: &'a str,
    haproxy: &'a HaproxyConfig,
}

/// Replicas get requests from the backend that is configured now and from no earlier one. `launch` is that of the
/// candidate, if there is one.
pub(super) async fn follow(status: &mut Status, settings: &Settings, launch: Option<u64>) -> Result<()> {
    leave(status, settings).await?;
    if let Some(front) = Front::of(settings) {
        return front.point(status, launch).await;
    }
    for replica in &mut status.replicas {
        replica.routed = replica.phase == Phase::Running && replica.healthy;
    }
    Ok(())
}

/// Closes the servers that replicas have in a backend that stood before the workload earlier.
async fn leave(status: &mut Status, settings: &Settings) -> Result<()> {
    let now = settings.haproxy.as_ref().and(settings.workload.backend.clone());
    if status.backend == now {
        return Ok(());
    }
    if let (Some(before), Some(haproxy)) = (&status.backend, &settings.haproxy) {
        let runtime = Runtime::new(haproxy.socket.clone(), haproxy.timeout.0);
        let servers = match runtime.servers(before).await {
            Ok(servers) => servers,
            // It was renamed in haproxy.cfg.
            Err(error) if error.kind == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_ours = |name: &String| status.replicas.iter().any(|r| r.slot.as_ref() == Some(name));
        let open = servers.iter().filter(|s| !s.in_maintenance && is_ours(&s.name));
        let close: Vec<_> = open
            .map(|s| format!("set server {before}/{} state maint", s.name))
            .collect();
        runtime.tell(&close).await?;
        for replica in &mut status.replicas {
            replica.slot = None;
        }
        status.launch = None;
    }
    status.backend = now;
    Ok(())
}

impl<'a> Front<'a> {
    /// None where a workload is behind no HAProxy.
    pub(super) fn of(settings: &'a Settings) -> Option<Self> {
        let (haproxy, backend) = (settings.haproxy.as_ref()?, settings.workload.backend.as_deref()?);
        Some(Self {
            runtime: Runtime::new(haproxy.socket.clone(), haproxy.timeout.0),
            backend,
            haproxy,
        })
    }

    /// Points servers at replicas, and notes which of them get requests. What HAProxy lost in a restart it is told anew.
    async fn point(&self, status: &mut Status, launch: Option<u64>) -> Result<()> {
        let mut servers = self.runtime.servers(self.backend).await?;
        // What an earlier candidate's servers weigh is not for the next one. No router weighs a candidate that has not
        // come or has gone, so this is in nobody's way; and it comes before anybody of it gets requests.
        let mut commands = if status.launch == launch {
            Vec::new()
        } else {
            slots::weighed_anew(&servers, self.haproxy, self.backend)
        };
        let replicas = &mut status.replicas;
        slots::assign(replicas, &servers, self.haproxy);
        commands.extend(slots::commands(replicas, &servers, self.haproxy, self.backend));
        if !commands.is_empty() {
            self.runtime.tell(&commands).await?;
            servers = self.runtime.servers(self.backend).await?;
        }
        status.launch = launch;
        let mut wrong = Vec::new();
        for replica in replicas.iter_mut() {
            let slot = replica
                .slot
                .as_ref()
                .and_then(|slot| servers.iter().find(|s| s.name == *slot));
            let pointed = slot.filter(|slot| slots::is_pointed(slot, replica));
            let in_rotation = pointed.filter(|slot| slot.in_rotation);
            let is_down = in_rotation.is_some_and(|slot| slot.is_down);
            replica.routed = in_rotation.is_some() && !is_down;
            if replica.is_available() {
                replica.trouble = None;
            } else if is_down && replica.healthy {
                replica.trouble = Some(format!(
                    "replica {} of {} is ready, and HAProxy's own check of {}/{} fails",
                    replica.id,
                    replica.version,
                    self.backend,
                    replica.slot.as_deref().unwrap_or_default()
                ));
            }
            if replica.slot.is_some() && slot.is_none() {
                // haproxy.cfg has it no more: it gets another the next time.
                replica.slot = None;
            } else if let (Some(slot), None, Phase::Running) = (slot, pointed, replica.phase) {
                wrong.push(slot.name.clone());
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::rejected(format!(
            "HAProxy did not point {} of {} at its replica",
            wrong.join(", "),
            self.backend
        ))
        .next("See HAProxy's log"))
    }

    /// Whether nothing is under way any more to a replica that is to go.
    pub(super) async fn is_drained(&self, replica: &Replica) -> Result<bool> {
        let Some(slot) = &replica.slot else {
            return Ok(true);
        };
        let sessions = self.runtime.sessions(self.backend).await?;
        Ok(sessions.get(slot).is_none_or(|count| *count == 0))
    }

    /// Nothing at all is sent there from now on.
    pub(super) async fn close(&self, replica: &Replica) -> Result<()> {
        match &replica.slot {
            Some(slot) => {
                let close = format!("set server {}/{slot} state maint", self.backend);
                self.runtime.tell(&[close]).await
            }
            None => Ok(()),
        }
    }
}
