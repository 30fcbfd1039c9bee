use async_trait::async_trait;
use domain::{Error, Idem, Result};
use ports::{Granularity, Mark, RouteRef, Traffic, TrafficRouter};

use super::weights::Sides;
use super::{HaproxyConfig, Runtime, name};

/// Weights of the servers of a backend, which a route is named after.
///
/// HAProxy knows no condition on a change: between our look and our change somebody else's may get lost. What it holds
/// in memory is gone with a restart; then what haproxy.cfg says is what is read, and the mark has changed.
#[derive(Clone, Debug)]
pub struct HaproxyRouter {
    config: HaproxyConfig,
    runtime: Runtime,
}

impl HaproxyRouter {
    pub fn new(config: &HaproxyConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            runtime: Runtime::new(config.socket.clone(), config.timeout.0),
            config: config.clone(),
        })
    }

    async fn sides(&self, at: &RouteRef) -> Result<Sides> {
        let found = self.runtime.servers(&at.name).await;
        let servers = found.map_err(|error| {
            error.context(format!(
                "could not read how {} in {} is parted",
                at.name, at.target
            ))
        })?;
        let (stable, candidate) = (&self.config.stable, &self.config.candidate);
        let sides = Sides::of(servers, stable, candidate);
        if sides.are_empty() {
            return Err(Error::not_found(format!(
                "the backend {} in {} has no servers named {stable}1 or {candidate}1",
                at.name, at.target
            ))
            .next(format!(
                "Declare them in haproxy.cfg: `server-template {stable} 3 127.0.0.1:1 disabled`, and the same for \
                 {candidate} with `weight 0`"
            )));
        }
        Ok(sides)
    }
}

fn traffic(sides: &Sides) -> Traffic {
    Traffic {
        candidate: sides.share(),
        mark: Mark(sides.mark()),
    }
}

#[async_trait]
impl TrafficRouter for HaproxyRouter {
    async fn granularity(&self, at: &RouteRef) -> Result<Granularity> {
        Ok(self.sides(at).await?.granularity())
    }

    async fn read(&self, at: &RouteRef) -> Result<Traffic> {
        Ok(traffic(&self.sides(at).await?))
    }

    async fn set(&self, at: &RouteRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Traffic> {
        if percent > 100 {
            return Err(Error::invalid(format!(
                "{} cannot send {percent} % of its traffic to the candidate",
                at.name
            ))
            .next("Name a percentage from 0 to 100"));
        }
        let sides = self.sides(at).await?;
        let Some(wanted) = sides.granularity().nearest(percent) else {
            return Err(Error::internal(format!(
                "no share of {} is near {percent} %",
                at.name
            )));
        };
        let now = traffic(&sides);
        // Compared crosswise: the same share may be written in other parts.
        let (a, b) = (now.candidate, wanted);
        let is_so = u64::from(a.part) * u64::from(b.of) == u64::from(b.part) * u64::from(a.of);
        if is_so && sides.is_told(wanted) && (sides.has_candidate() || percent == 0) {
            return Ok(now);
        }
        if now.mark != *seen {
            return Err(Error::conflict(format!(
                "somebody else changed the weights of {} in {}: they are {}, and were {}",
                at.name, at.target, now.mark.0, seen.0
            ))
            .next("Look who did it, or whether HAProxy was restarted, before going on"));
        }
        if percent > 0 && !sides.has_candidate() {
            return Err(Error::unavailable(format!(
                "no server of the candidate takes requests in the backend {} of {}",
                at.name, at.target
            ))
            .next("Wait until a replica of it is ready, or see why none is"));
        }
        let weights = sides.weights(wanted);
        let backend = name(&at.name, "the name of a backend")?;
        let changes = sides.changes(weights).into_iter();
        let commands: Vec<_> = changes
            .map(|(server, weight)| format!("set weight {backend}/{server} {weight}"))
            .collect();
        let told = self.runtime.tell(&commands).await;
        told.map_err(|error| {
            error.context(format!(
                "could not send {percent} % of {} to the candidate",
                at.name
            ))
        })?;
        // The change has happened: a look that fails now leaves that open.
        let after = self.sides(at).await.map_err(|error| {
            Error::timeout(format!(
                "the weights of {} were set and could not be read back",
                at.name
            ))
            .because(&error)
        })?;
        if !after.weigh(weights) {
            return Err(Error::conflict(format!(
                "somebody else changed the weights of {} in {} while we set them: they are {}",
                at.name,
                at.target,
                after.mark()
            )));
        }
        Ok(traffic(&after))
    }
}
