//! What a keeper asks of HAProxy.

use domain::{Error, Result};

use super::slots;
use crate::config::Settings;
use crate::haproxy::Runtime;
use crate::status::{Phase, Replica};

/// The backend that stands before a workload.
pub(super) struct Front<'a> {
    runtime: Runtime,
    backend: &'a str,
    settings: &'a Settings,
}

impl<'a> Front<'a> {
    /// None where a workload is behind no HAProxy.
    pub(super) fn of(settings: &'a Settings) -> Option<Self> {
        let (haproxy, backend) = (settings.haproxy.as_ref()?, settings.workload.backend.as_deref()?);
        Some(Self {
            runtime: Runtime::new(haproxy.socket.clone(), haproxy.timeout.0),
            backend,
            settings,
        })
    }

    /// Points servers at replicas, and notes which of them get requests. What HAProxy lost in a restart it is told anew.
    pub(super) async fn point(&self, replicas: &mut [Replica]) -> Result<()> {
        let Some(haproxy) = &self.settings.haproxy else {
            return Ok(());
        };
        let mut servers = self.runtime.servers(self.backend).await?;
        slots::assign(replicas, &servers, haproxy);
        let commands = slots::commands(replicas, &servers, self.settings, self.backend);
        if !commands.is_empty() {
            self.runtime.tell(&commands).await?;
            servers = self.runtime.servers(self.backend).await?;
        }
        let mut wrong = Vec::new();
        for replica in replicas.iter_mut() {
            let slot = replica
                .slot
                .as_ref()
                .and_then(|slot| servers.iter().find(|s| s.name == *slot));
            let pointed = slot.filter(|slot| slots::is_pointed(slot, replica, self.settings));
            replica.routed = pointed.is_some_and(|slot| slot.in_rotation);
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
