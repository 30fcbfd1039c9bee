//! What is to be done, and that it may be: looked at and carried out under the environment's lock, which is let go while a
//! person is asked.

use domain::{Error, Span};
use durable::{Stop, TaskCx};
use ports::RecordStatus;

use crate::asking::ForThePlan;
use crate::course::Kind;
use crate::deploy::Deploy;
use crate::ledger::AtForge;
use crate::part::{self, Looked, Part, Scopes};
use crate::turn::Turn;
use crate::{gates, group, ledger, report};

/// What may be done now: everything is locked, and every gate is open.
pub(crate) struct Agreed {
    /// The name of the step that has what was looked at.
    pub(crate) key: String,
    pub(crate) looked: Vec<Looked>,
    pub(crate) approved_by: Option<String>,
    /// As what the forge's records began.
    pub(crate) status: RecordStatus,
    pub(crate) at_forge: Vec<AtForge>,
}

/// Who said yes, to what.
struct Approved {
    hash: String,
    by: String,
}

impl Deploy {
    /// Looks, asks where somebody must agree, and looks again: a yes is to exactly what was shown. Whoever comes meanwhile
    /// need not wait for the answer, and changes the question if he changes what stands.
    pub(crate) async fn agreed(
        &self,
        cx: &TaskCx,
        turn: Turn<'_>,
        parts: &[Part],
        scopes: &Scopes<'_>,
    ) -> Result<Agreed, Stop> {
        let locks = part::locks(parts);
        let status = match parts.iter().any(|part| part.place.needs_approval()) {
            true => RecordStatus::Blocked,
            false => RecordStatus::Running,
        };
        let (mut at_forge, mut seen) = (Vec::new(), Vec::<String>::new());
        let mut approved: Option<Approved> = None;
        for round in 0_u32.. {
            let (before, key) = match round {
                0 => ("start".to_owned(), "look".to_owned()),
                round => (format!("start-{round}"), format!("look/{round}")),
            };
            for lock in &locks {
                cx.lock(lock).await?;
            }
            turn.still_ours(&before).await?;
            let looked: Vec<Looked> = cx.step(key.as_str(), |_| self.look(cx, parts)).await?;
            for (part, looked) in parts.iter().zip(&looked) {
                if let Some(shut) = gates::shut(&looked.gates) {
                    return Err(Stop::Fail(part.told(shut)));
                }
            }
            if at_forge.is_empty() {
                for (at, part) in parts.iter().enumerate() {
                    let commit = part.commit.as_ref();
                    let record = ledger::record(scopes.at(at), &self.outside, &part.place, commit, status);
                    at_forge.push(record.await?);
                }
            }
            let hash = part::hash(&looked);
            let yes = approved.take().filter(|approved| approved.hash == hash);
            let question = match yes {
                Some(_) => None,
                None => Question::of(parts, &looked)?,
            };
            let Some(question) = question else {
                return Ok(Agreed {
                    key,
                    looked,
                    approved_by: yes.map(|approved| approved.by),
                    status,
                    at_forge,
                });
            };
            // What nobody has touched yet, nobody is kept from while a person thinks.
            for lock in locks.iter().rev() {
                cx.unlock(lock).await?;
            }
            let asking = ForThePlan {
                cx,
                turn: Some(turn),
                approvers: question.approvers,
                within: question.within,
                asked_before: seen.iter().filter(|known| **known == hash).count(),
            };
            let both = parts.iter().zip(&looked);
            let told = both
                .map(|(part, looked)| report::to_approve(&part.place, &looked.plan, &looked.gates))
                .collect();
            let told = part::together(parts, told, |reports| group::to_approve(reports, &hash));
            let answer = asking.ask(&hash, &group::of_what(parts), &told).await?;
            seen.push(hash.clone());
            approved = Some(Approved { hash, by: answer.by });
        }
        Err(Stop::Fail(Error::internal("the plan changed for ever")))
    }
}

struct Question {
    approvers: Vec<String>,
    within: Option<Span>,
}

impl Question {
    /// None where nobody has to agree.
    fn of(parts: &[Part], looked: &[Looked]) -> Result<Option<Self>, Error> {
        let both = parts.iter().zip(looked);
        let guarded =
            both.filter(|(part, looked)| part.place.needs_approval() && looked.plan.kind != Kind::There);
        let guarded: Vec<&Part> = guarded.map(|(part, _)| part).collect();
        // A pause before anything is touched is a question to the whole plan.
        let first = parts.first().zip(looked.first());
        let pauses = first.filter(|(_, looked)| looked.begins_with_a_question());
        let asks: Vec<&Part> = match (guarded.is_empty(), pauses) {
            (false, _) => guarded.clone(),
            (true, Some((part, _))) => vec![part],
            (true, None) => return Ok(None),
        };
        Ok(Some(Self {
            approvers: part::approvers(&asks)?,
            within: guarded
                .iter()
                .map(|part| part.place.environment.approval.within)
                .min(),
        }))
    }
}
