use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Result};

use super::Faults;
use crate::{Check, Probe, Seen};

/// What answers, in memory, by address. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeProbe {
    world: Arc<Mutex<World>>,
    faults: Faults<ProbeOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeOp {
    Check,
}

#[derive(Debug, Default)]
struct World {
    answers: HashMap<String, Answer>,
    asked: Vec<Check>,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// Status and body, or an accepted connection.
    Says(u16, String),
    Refuses,
    Hangs,
}

impl FakeProbe {
    pub fn new() -> Self {
        Self::default()
    }

    /// What answers at a URL or `host:port`, or how the command of that name ends: its exit code and what it wrote.
    /// Nothing else answers, and there is no other command.
    pub fn set(&self, address: &str, answer: Answer) {
        self.world().answers.insert(address.to_owned(), answer);
    }

    pub fn faults(&self) -> &Faults<ProbeOp> {
        &self.faults
    }

    pub fn asked(&self) -> Vec<Check> {
        self.world().asked.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn check(&mut self, check: &Check) -> Result<Seen> {
        self.asked.push(check.clone());
        let address = match check {
            Check::Http { url, .. } => url,
            Check::Tcp { address, .. } => address,
            Check::Command { name, .. } => name,
        };
        let sensible = match check {
            Check::Http { url, .. } => url.starts_with("http://") || url.starts_with("https://"),
            Check::Tcp { address, .. } => address
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
            Check::Command { name, .. } => self.answers.contains_key(name),
        };
        if !sensible {
            return Err(Error::invalid(format!("{address:?} cannot be looked at")));
        }
        let answer = self.answers.get(address).cloned().unwrap_or(Answer::Refuses);
        Ok(match (check, answer) {
            (_, Answer::Refuses) => unwell("connection refused"),
            (_, Answer::Hangs) => unwell("no answer in time"),
            (Check::Command { .. }, Answer::Says(code, said)) => Seen {
                well: code == 0,
                what: format!("exit code {code}: {said}"),
            },
            (Check::Tcp { .. }, Answer::Says(..)) => Seen {
                well: true,
                what: "connected".to_owned(),
            },
            (Check::Http { status, contains, .. }, Answer::Says(said, body)) => {
                let as_wanted = (status.0..=status.1).contains(&said);
                let missing = contains.as_ref().filter(|part| !body.contains(part.as_str()));
                match missing {
                    Some(part) if as_wanted => unwell(&format!("{said}, and the body lacks {part:?}")),
                    _ => Seen {
                        well: as_wanted,
                        what: said.to_string(),
                    },
                }
            }
        })
    }
}

fn unwell(what: &str) -> Seen {
    Seen {
        well: false,
        what: what.to_owned(),
    }
}

#[async_trait]
impl Probe for FakeProbe {
    async fn check(&self, check: &Check) -> Result<Seen> {
        let effect = || self.world().check(check);
        self.faults.around(ProbeOp::Check, effect).await
    }
}
