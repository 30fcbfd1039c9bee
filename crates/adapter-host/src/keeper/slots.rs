//! Servers of HAProxy pointed at replicas.

use ports::Side;

use crate::config::Settings;
use crate::haproxy::{HaproxyConfig, Server};
use crate::status::{Phase, Replica};

/// The servers of a side, by number.
pub(super) fn of_side<'a>(servers: &'a [Server], haproxy: &HaproxyConfig, side: Side) -> Vec<&'a Server> {
    let prefix = prefix(haproxy, side);
    let mut slots: Vec<_> = servers
        .iter()
        .filter_map(|s| Some((s.number(prefix)?, s)))
        .collect();
    slots.sort_by_key(|(number, _)| *number);
    slots.into_iter().map(|(_, server)| server).collect()
}

pub(super) fn prefix(haproxy: &HaproxyConfig, side: Side) -> &str {
    match side {
        Side::Stable => &haproxy.stable,
        Side::Candidate => &haproxy.candidate,
    }
}

/// Gives every replica that became healthy a server of its side that nobody has.
pub(super) fn assign(replicas: &mut [Replica], servers: &[Server], haproxy: &HaproxyConfig) {
    for side in [Side::Stable, Side::Candidate] {
        let slots = of_side(servers, haproxy, side);
        let mut free: Vec<_> = slots
            .iter()
            .map(|slot| slot.name.clone())
            .filter(|slot| !replicas.iter().any(|replica| replica.slot.as_ref() == Some(slot)))
            .collect();
        free.reverse();
        let waits =
            |r: &&mut Replica| r.side == side && r.slot.is_none() && r.healthy && r.phase == Phase::Running;
        for replica in replicas.iter_mut().filter(waits) {
            replica.slot = free.pop();
            if replica.slot.is_none() {
                replica.trouble = Some(format!(
                    "it is ready, and HAProxy has no free server for it: declare more than {} named {}1 and so on",
                    slots.len(),
                    prefix(haproxy, side)
                ));
            }
        }
    }
}

/// Whether HAProxy sends requests to that replica through that server.
pub(super) fn is_pointed(server: &Server, replica: &Replica, settings: &Settings) -> bool {
    server.port == replica.port && server.address == settings.workload.address
}

/// What makes the servers what the replicas need, and changes nothing that is so already.
pub(super) fn commands(
    replicas: &[Replica],
    servers: &[Server],
    settings: &Settings,
    backend: &str,
) -> Vec<String> {
    let Some(haproxy) = &settings.haproxy else {
        return Vec::new();
    };
    let mut commands = Vec::new();
    for side in [Side::Stable, Side::Candidate] {
        for slot in of_side(servers, haproxy, side) {
            let mut tell = |what: &str| commands.push(format!("set server {backend}/{} {what}", slot.name));
            let holder = replicas
                .iter()
                .find(|replica| replica.slot.as_ref() == Some(&slot.name));
            let Some(replica) = holder.filter(|r| matches!(r.phase, Phase::Running | Phase::Draining)) else {
                if !slot.in_maintenance {
                    tell("state maint");
                }
                continue;
            };
            let pointed = is_pointed(slot, replica, settings);
            if !pointed {
                // Nothing may go there while it points at a port that is another's now.
                if !slot.in_maintenance {
                    tell("state maint");
                }
                tell(&format!(
                    "addr {} port {}",
                    settings.workload.address, replica.port
                ));
            }
            if replica.phase == Phase::Running && replica.healthy {
                if !(pointed && slot.in_rotation) {
                    tell("state ready");
                }
            } else if !(pointed && slot.drains) {
                tell("state drain");
            }
        }
    }
    commands
}
