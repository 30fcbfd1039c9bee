use std::collections::HashMap;

use domain::{Error, Result};

use super::{Runtime, name};

/// Any of these bits of `srv_admin_state` keeps new requests away: in maintenance or draining, by its own state or by
/// one that it tracks or could not resolve. The others tell where a state once came from.
const OUT_OF_ROTATION: u32 = 0x01 | 0x02 | 0x08 | 0x10 | 0x20;
const MAINTENANCE: u32 = 0x01;
const DRAIN: u32 = 0x08;
/// Of `srv_op_state`.
const STOPPED: &str = "0";

/// A server of a backend, as `show servers state` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) weight: u32,
    /// What it weighs by haproxy.cfg.
    pub(crate) first_weight: u32,
    /// It may get new requests. One that fails its check keeps its part: who is well is the fleet's to say.
    pub(crate) in_rotation: bool,
    pub(crate) in_maintenance: bool,
    pub(crate) drains: bool,
    /// HAProxy sends it nothing whatever we wish: it fails a check of HAProxy's own, if it is in rotation.
    pub(crate) is_down: bool,
}

impl Server {
    /// Its place on a side whose servers' names begin so.
    pub(crate) fn number(&self, prefix: &str) -> Option<u32> {
        let rest = self.name.strip_prefix(prefix)?;
        let digits = rest.strip_prefix(['-', '_']).unwrap_or(rest);
        digits.parse().ok().filter(|_| !digits.starts_with('+'))
    }
}

impl Runtime {
    pub(crate) async fn servers(&self, backend: &str) -> Result<Vec<Server>> {
        let backend = name(backend, "the name of a backend")?;
        let table = self.ask(&format!("show servers state {backend}")).await?;
        servers(&table).ok_or_else(|| {
            Error::rejected(format!(
                "HAProxy at {} told of the servers of {backend} in words that we do not know",
                self.address()
            ))
            .next("longshore reads what HAProxy 2.0 and newer say to `show servers state`")
        })
    }

    /// How many sessions each server of the backend has now, those that wait for it with them.
    pub(crate) async fn sessions(&self, backend: &str) -> Result<HashMap<String, u64>> {
        let backend = name(backend, "the name of a backend")?;
        let table = self.ask(&format!("show stat {backend} 4 -1")).await?;
        sessions(&table).ok_or_else(|| {
            Error::rejected(format!(
                "HAProxy at {} told of the sessions of {backend} in words that we do not know",
                self.address()
            ))
        })
    }
}

fn servers(table: &str) -> Option<Vec<Server>> {
    let mut lines = table.lines();
    lines.find(|line| line.trim() == "1")?;
    let head: Vec<&str> = lines.next()?.strip_prefix("# ")?.split(' ').collect();
    let place = |column: &str| head.iter().position(|name| *name == column);
    let (called, address, port) = (place("srv_name")?, place("srv_addr")?, place("srv_port")?);
    let (weight, first_weight) = (place("srv_uweight")?, place("srv_iweight")?);
    let (state, operation) = (place("srv_admin_state")?, place("srv_op_state")?);
    let rows = lines.filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(' ').collect();
        let state: u32 = cells.get(state)?.parse().ok()?;
        Some(Server {
            name: (*cells.get(called)?).to_owned(),
            address: (*cells.get(address)?).to_owned(),
            port: cells.get(port)?.parse().ok()?,
            weight: cells.get(weight)?.parse().ok()?,
            first_weight: cells.get(first_weight)?.parse().ok()?,
            in_rotation: state & OUT_OF_ROTATION == 0,
            in_maintenance: state & MAINTENANCE != 0,
            drains: state & DRAIN != 0 && state & MAINTENANCE == 0,
            is_down: *cells.get(operation)? == STOPPED,
        })
    })
    .collect()
}

fn sessions(table: &str) -> Option<HashMap<String, u64>> {
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next()?.strip_prefix("# ")?.split(',').collect();
    let place = |column: &str| head.iter().position(|name| *name == column);
    let (called, queued, current) = (place("svname")?, place("qcur")?, place("scur")?);
    lines
        .map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            let count = |at: usize| cells.get(at)?.parse::<u64>().ok();
            Some(((*cells.get(called)?).to_owned(), count(queued)? + count(current)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                         srv_port\n\
                         3 shop 1 stable1 127.0.0.1 2 4 7 9 99\n3 shop 2 candidate1 127.0.0.1 0 5 0 0 1\n\
                         3 shop 3 other 127.0.0.1 2 8 1 1 3\n";

    #[test]
    fn the_table_of_servers_is_read_by_its_head() {
        let found = servers(TABLE).expect("reads");
        let states: Vec<_> = found
            .iter()
            .map(|s| {
                (
                    s.name.as_str(),
                    s.weight,
                    s.port,
                    s.in_rotation,
                    s.in_maintenance,
                    s.drains,
                )
            })
            .collect();
        assert_eq!(
            states,
            [
                ("stable1", 7, 99, true, false, false),
                ("candidate1", 0, 1, false, true, false),
                ("other", 1, 3, false, false, true),
            ]
        );
        let more: Vec<_> = found.iter().map(|s| (s.first_weight, s.is_down)).collect();
        assert_eq!(more, [(9, false), (0, true), (1, false)]);
        assert_eq!(servers("2\n# something new\n"), None);
        let places = |prefix| found.iter().map(|s| s.number(prefix)).collect::<Vec<_>>();
        assert_eq!(places("stable"), [Some(1), None, None]);
        assert_eq!(places("stab"), [None, None, None], "another word is another's");
    }

    #[test]
    fn sessions_count_what_waits_too() {
        let table = "# pxname,svname,qcur,qmax,scur,smax\nshop,stable1,1,0,2,0\n";
        assert_eq!(sessions(table).expect("reads").get("stable1"), Some(&3));
    }
}
