//! Where an object parts traffic between the two sides, and what to write there.

use domain::{Error, Result};
use ports::{Granularity, Share, Side};
use serde_json::json;

use crate::connection::Op;
use crate::names::{BESIDE, Name};

/// One place in an object where traffic is parted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub now: Share,
    /// In how many parts it can be parted without changing what others get.
    pub parts: u32,
    pub write: Write,
}

/// What a share is written as: paths of JSON pointers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Weights {
        stable: String,
        candidate: String,
    },
    /// The candidate's part, as text.
    Text(String),
    /// The name of the side that gets all.
    SideName(String),
}

/// A Service behind a route, and the side that it must select; both when it is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub service: Name,
    pub selects: Option<Side>,
    /// Whether the candidate's traffic comes this way.
    pub to_candidate: bool,
}

/// A weighted destination in a rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weighted {
    /// The stable side's Service.
    pub service: String,
    pub namespace: String,
    pub side: Side,
    /// The sides are subsets of one Service, and not Services of their own.
    pub by_subset: bool,
    pub weight: u32,
    /// Where the weight stands.
    pub path: String,
}

impl Place {
    fn wanted(&self, percent: u32) -> Share {
        let none = Share { part: 0, of: 1 };
        Granularity::Parts(self.parts).nearest(percent).unwrap_or(none)
    }

    fn ops(&self, percent: u32) -> Vec<Op> {
        let wanted = self.wanted(percent);
        if same(self.now, wanted) {
            return Vec::new();
        }
        match &self.write {
            Write::Weights { stable, candidate } => vec![
                Op::put(stable, json!(wanted.of - wanted.part)),
                Op::put(candidate, json!(wanted.part)),
            ],
            Write::Text(path) => vec![Op::put(path, json!(wanted.part.to_string()))],
            Write::SideName(path) => {
                let side = match wanted.part {
                    0 => Side::Stable,
                    _ => Side::Candidate,
                };
                vec![Op::put(path, json!(side.as_str()))]
            }
        }
    }
}

/// The same share, however finely it is written.
fn same(a: Share, b: Share) -> bool {
    u64::from(a.part) * u64::from(b.of) == u64::from(b.part) * u64::from(a.of)
}

pub(super) fn ops(places: &[Place], percent: u32) -> Vec<Op> {
    places.iter().flat_map(|place| place.ops(percent)).collect()
}

/// As fine as the coarsest place.
pub(super) fn granularity(places: &[Place]) -> Granularity {
    match places.iter().map(|place| place.parts).min() {
        Some(1) => Granularity::AllOrNothing,
        Some(parts) => Granularity::Parts(parts),
        None => Granularity::Parts(100),
    }
}

/// What the candidate gets; where places differ, the most that it gets anywhere.
pub(super) fn share(places: &[Place]) -> Share {
    let shares = places.iter().map(|place| place.now);
    let more = |a: &Share, b: &Share| a.percent().total_cmp(&b.percent());
    shares.max_by(more).unwrap_or(Share { part: 0, of: 100 })
}

/// The places of a route's rules where both sides of one Service stand, and the backends of that Service.
///
/// In a rule with destinations of others the two keep what they have together, so that nobody else's share changes.
pub(super) fn places(
    rules: &[Vec<Weighted>],
    service: Option<&str>,
    route: &str,
) -> Result<(Vec<Place>, Vec<Backend>)> {
    let service = match service {
        Some(service) => service,
        None => only_service(rules, route)?,
    };
    let (mut places, mut backends) = (Vec::new(), Vec::new());
    for rule in rules {
        let of = |side| {
            rule.iter()
                .find(|weighted| weighted.service == service && weighted.side == side)
        };
        let Some(stable) = of(Side::Stable) else { continue };
        add(&mut backends, stable);
        let Some(candidate) = of(Side::Candidate) else {
            continue;
        };
        add(&mut backends, candidate);
        let both = stable.weight.saturating_add(candidate.weight);
        if both == 0 {
            return Err(Error::invalid(format!(
                "{route} sends nothing to either side of {service}: both weights are 0"
            ))
            .next("Give the stable side 100"));
        }
        let others = |weighted: &&Weighted| weighted.service != service && weighted.weight > 0;
        let alone = !rule.iter().any(|weighted| others(&weighted));
        places.push(Place {
            now: Share {
                part: candidate.weight,
                of: both,
            },
            parts: if alone { 100 } else { both },
            write: Write::Weights {
                stable: stable.path.clone(),
                candidate: candidate.path.clone(),
            },
        });
    }
    if backends.is_empty() {
        return Err(
            Error::not_found(format!("{route} sends nothing to a Service {service}"))
                .next("Correct the name at the route's end"),
        );
    }
    Ok((places, backends))
}

fn add(backends: &mut Vec<Backend>, weighted: &Weighted) {
    let is_candidate = weighted.side == Side::Candidate;
    let name = match is_candidate && !weighted.by_subset {
        true => crate::names::beside(&weighted.service),
        false => weighted.service.clone(),
    };
    let backend = Backend {
        service: Name {
            namespace: weighted.namespace.clone(),
            name,
        },
        selects: (!weighted.by_subset).then_some(weighted.side),
        to_candidate: is_candidate,
    };
    if !backends.contains(&backend) {
        backends.push(backend);
    }
}

/// The one whose two sides stand in the route; where no candidate does, the only one at all.
fn only_service<'a>(rules: &'a [Vec<Weighted>], route: &str) -> Result<&'a str> {
    let on = |rule: &&'a Vec<Weighted>, side| -> Vec<&'a str> {
        let of_side = rule.iter().filter(|weighted| weighted.side == side);
        of_side.map(|weighted| weighted.service.as_str()).collect()
    };
    let (mut pairs, mut stables) = (Vec::new(), Vec::new());
    for rule in rules {
        let candidates = on(&rule, Side::Candidate);
        for service in on(&rule, Side::Stable) {
            if candidates.contains(&service) && !pairs.contains(&service) {
                pairs.push(service);
            }
            if !stables.contains(&service) {
                stables.push(service);
            }
        }
    }
    match (pairs.as_slice(), stables.as_slice()) {
        ([service], _) | ([], [service]) => Ok(service),
        ([], []) => Err(Error::not_found(format!("{route} sends nothing to any Service"))),
        _ => {
            let all = if pairs.is_empty() { stables } else { pairs };
            Err(Error::invalid(format!(
                "{route} parts the traffic of several Services, and nothing says which is meant"
            ))
            .next(format!(
                "Add its name to the route: {route}/{}",
                all.join(" or /")
            )))
        }
    }
}

/// Which side of which Service a name is of.
pub(super) fn side_of(name: &str) -> (&str, Side) {
    match name.strip_suffix(BESIDE) {
        Some(stable) if !stable.is_empty() => (stable, Side::Candidate),
        _ => (name, Side::Stable),
    }
}
