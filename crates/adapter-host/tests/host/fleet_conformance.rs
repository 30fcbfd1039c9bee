//! Supervised processes, and units of systemd, pass the suite of the fleet port.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use ports::conformance::Breakage;
use ports::conformance::fleet::{FleetWorld, Versions};
use ports::{Fleet, Launch, RollOut, Side, WorkloadRef};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::peers::{Site, Way, idem, until};

struct World {
    site: Site,
}

fn start(way: Way) -> World {
    World {
        site: Site::start_by(way),
    }
}

#[async_trait]
impl FleetWorld for World {
    fn port(&self) -> &dyn Fleet {
        &self.site.fleet
    }
    fn versions(&self) -> Versions {
        Versions {
            first: "v1".to_owned(),
            second: "v2".to_owned(),
            third: "v3".to_owned(),
            crashing: "crashing".to_owned(),
            missing: "v9".to_owned(),
        }
    }
    async fn running(&self, versions: &[&str], replicas: u32) -> WorkloadRef {
        for version in versions {
            self.site.roll_out(version, replicas).await;
            self.site.complete().await;
        }
        self.site.at()
    }
    async fn empty(&self) -> WorkloadRef {
        self.site.at()
    }
    fn missing(&self) -> WorkloadRef {
        WorkloadRef {
            name: "shop/nothing".to_owned(),
            ..self.site.at()
        }
    }
    async fn settle(&self, _: &WorkloadRef) {
        until("all is done that can be done", || async {
            let mut settled = true;
            for side in [Side::Stable, Side::Candidate] {
                if let Some(group) = self.site.group(side).await {
                    let crashes = group.restarts > 0 && !group.trouble.is_empty();
                    settled &= group.observed && (group.is_complete() || group.paused || crashes);
                }
            }
            settled
        })
        .await;
    }
    async fn meddle(&self, at: &WorkloadRef, side: Side, version: &str) {
        let seen = self.site.group(side).await.map(|group| group.mark);
        let (version, seen) = (version.to_owned(), seen.as_ref());
        match side {
            Side::Stable => {
                let wanted = RollOut {
                    version,
                    replicas: 2,
                    pace: None,
                };
                self.site.fleet.roll_out(at, &wanted, seen, &idem()).await
            }
            Side::Candidate => {
                let wanted = Launch { version, replicas: 1 };
                self.site.fleet.launch(at, &wanted, seen, &idem()).await
            }
        }
        .expect("meddles");
    }
    async fn changes(&self) -> usize {
        let wishes = fs::read_to_string(self.site.folder().join("wishes.json")).expect("reads");
        let wishes: serde_json::Value = serde_json::from_str(&wishes).expect("is JSON");
        wishes["made"]
            .as_u64()
            .expect("a number")
            .try_into()
            .expect("a number")
    }
    async fn foreign(&self) -> String {
        let mut all = String::new();
        for line in self.site.haproxy.ask("show servers state").lines() {
            let cells: Vec<&str> = line.split(' ').collect();
            let (Some(backend), Some(server), Some(weight)) = (cells.get(1), cells.get(3), cells.get(7))
            else {
                continue;
            };
            // The weights of our servers are the router's; of other servers everything is somebody else's, but for
            // the seconds since the last change.
            all.push_str(&format!("{backend}/{server} {weight}\n"));
            if *backend == "other" || *server == "spare" {
                let rest = cells.iter().enumerate().filter(|(place, _)| *place != 9);
                all.extend(rest.map(|(_, cell)| format!("{cell} ")));
            }
        }
        all
    }
    async fn deny_writes(&self) {
        // Root may write everywhere but for this: the right is this thread's, and the keeper keeps its own.
        let mut rights = capabilities(None).expect("are told");
        rights.effective.remove(CapabilitySet::DAC_OVERRIDE);
        set_capabilities(None, rights).expect("may be given up");
        let closed = fs::Permissions::from_mode(0o555);
        fs::set_permissions(self.site.folder(), closed).expect("closes the folder");
    }
    async fn break_next(&self, _: Breakage) {
        unreachable!("a folder has no connection to break");
    }
}

mod processes {
    ports::fleet_conformance!(local super::start(super::Way::Processes));
}

mod units {
    ports::fleet_conformance!(local super::start(super::Way::Units));
}
