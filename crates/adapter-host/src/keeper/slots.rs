//! Servers of HAProxy pointed at replicas.

use ports::Side;

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
pub(super) fn is_pointed(server: &Server, replica: &Replica) -> bool {
    // One address may be written in many ways.
    server.port == replica.port && server.address.parse() == Ok(replica.address)
}

/// What gives the candidate's servers back the weights of haproxy.cfg.
pub(super) fn weighed_anew(servers: &[Server], haproxy: &HaproxyConfig, backend: &str) -> Vec<String> {
    let slots = of_side(servers, haproxy, Side::Candidate).into_iter();
    let left_over = slots.filter(|slot| slot.weight != slot.first_weight);
    left_over
        .map(|slot| format!("set weight {backend}/{} {}", slot.name, slot.first_weight))
        .collect()
}

/// What makes the servers what the replicas need, and changes nothing that is so already.
pub(super) fn commands(
    replicas: &[Replica],
    servers: &[Server],
    haproxy: &HaproxyConfig,
    backend: &str,
) -> Vec<String> {
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
            let pointed = is_pointed(slot, replica);
            if !pointed {
                // Nothing may go there while it points at a port that is another's now.
                if !slot.in_maintenance {
                    tell("state maint");
                }
                tell(&format!("addr {} port {}", replica.address, replica.port));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::Address;

    fn replica(address: &str, slot: &str) -> Replica {
        Replica {
            id: 1,
            side: Side::Stable,
            version: "v1".to_owned(),
            address: address.parse().expect("an address"),
            port: 8000,
            phase: Phase::Running,
            run: 1,
            healthy: true,
            slot: Some(slot.to_owned()),
            routed: true,
            restarts: 0,
            trouble: None,
        }
    }

    fn server(name: &str, address: &str, weight: u32) -> Server {
        Server {
            name: name.to_owned(),
            address: address.to_owned(),
            port: 8000,
            weight,
            first_weight: 0,
            in_rotation: true,
            in_maintenance: false,
            drains: false,
            is_down: false,
        }
    }

    #[test]
    fn a_server_is_pointed_at_where_its_replica_listens() {
        let haproxy = HaproxyConfig::new(Address::Tcp("127.0.0.1:1".to_owned()));
        let told = |listens: &str, points: &str| {
            let servers = [server("stable1", points, 100)];
            commands(&[replica(listens, "stable1")], &servers, &haproxy, "shop")
        };
        assert_eq!(told("127.0.0.1", "127.0.0.1"), Vec::<String>::new());
        assert_eq!(
            told("::1", "0:0:0:0:0:0:0:1"),
            Vec::<String>::new(),
            "the same address"
        );
        assert_eq!(
            told("127.0.0.2", "127.0.0.1"),
            [
                "set server shop/stable1 state maint",
                "set server shop/stable1 addr 127.0.0.2 port 8000",
                "set server shop/stable1 state ready",
            ]
        );
    }

    #[test]
    fn only_the_candidates_weights_are_given_back() {
        let haproxy = HaproxyConfig::new(Address::Tcp("127.0.0.1:1".to_owned()));
        let servers = [
            server("stable1", "-", 204),
            server("candidate1", "-", 52),
            server("candidate2", "-", 0),
            server("spare", "-", 7),
        ];
        assert_eq!(
            weighed_anew(&servers, &haproxy, "shop"),
            ["set weight shop/candidate1 0"]
        );
    }
}
