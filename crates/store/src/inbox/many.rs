//! Many events of one call, stored and turned into tasks in one transaction.

use std::collections::{BTreeMap, HashMap};

use domain::{Error, NewTask, Result, TaskId};
use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::Received;
use crate::Store;
use crate::error::{SqlResult, describe, sqlstate};
use crate::tasks::{NotMade, Payload, TRIES, Tried, check_one_of_many};

const DOING: &str = "store the events";

/// One event of a call, and the task that it asks for.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The same for the same event, however often it is sent.
    pub key: String,
    /// What the source calls this kind of event.
    pub event: String,
    pub body: Value,
    pub task: NewTask,
    /// What the event calls its repository (its id, project, slug or name). The first that names exactly one becomes the
    /// task's.
    pub repos: Vec<String>,
}

/// How a try ended.
enum Stored {
    Done(Vec<Received>),
    /// Nothing of it is there.
    Deadlock(Error),
}

impl Store {
    /// [`Store::receive`] for many events, all of them or none; answers in their order. An event that is sent again is
    /// kept for as long as one that came today: what repeats itself for months makes no second task.
    pub async fn receive_many(&self, source: &str, arrivals: &[Arrival]) -> Result<Vec<Received>, NotMade> {
        for (place, arrival) in arrivals.iter().enumerate() {
            check_one_of_many(place, &arrival.task)?;
        }
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        self.within(DOING, self.receive_unlimited(source, arrivals)).await
    }

    async fn receive_unlimited(&self, source: &str, arrivals: &[Arrival]) -> Result<Vec<Received>, NotMade> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_arrivals(source, arrivals).await? {
                Stored::Done(received) => return Ok(received),
                Stored::Deadlock(error) if tries == TRIES => return Err(error.into()),
                Stored::Deadlock(_) => {}
            }
        }
    }

    async fn try_arrivals(&self, source: &str, arrivals: &[Arrival]) -> Result<Stored, NotMade> {
        // By key: an event may be sent twice in one call, and two calls must not wait for each other.
        let mut first = BTreeMap::new();
        for (place, arrival) in arrivals.iter().enumerate() {
            first.entry(arrival.key.as_str()).or_insert(place);
        }
        let mut tx = self.pool().begin().await.doing(DOING)?;
        let known = match self.note(&mut tx, source, arrivals, &first).await {
            Ok(known) => known,
            Err(error) if sqlstate(&error).as_deref() == Some("40P01") => {
                return Ok(Stored::Deadlock(describe(&error, DOING)));
            }
            Err(error) => return Err(describe(&error, DOING).into()),
        };
        let mut new: Vec<usize> = first
            .values()
            .copied()
            .filter(|place| !known.contains_key(&arrivals[*place].key))
            .collect();
        new.sort_unstable();
        let ids = self.named(&mut tx, arrivals, &new).await.doing(DOING)?;
        let tasks: Vec<NewTask> = new
            .iter()
            .map(|place| arrivals[*place].task.clone().repo(ids.get(place).cloned()))
            .collect();
        let made = match self.insert_tasks(&mut tx, &tasks).await {
            Ok(Tried::Made(made)) => made,
            Ok(Tried::Deadlock(error)) => return Ok(Stored::Deadlock(error)),
            Err(fault) => {
                let place = fault.place.and_then(|place| new.get(place).copied());
                return Err(NotMade { place, ..fault });
            }
        };
        let made: HashMap<&str, &TaskId> = new
            .iter()
            .zip(&made)
            .map(|(place, made)| (arrivals[*place].key.as_str(), &made.id))
            .collect();
        self.link(&mut tx, source, &made).await.doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        let received = arrivals.iter().enumerate().map(|(place, arrival)| {
            let key = arrival.key.as_str();
            match (made.get(key), known.get(key)) {
                (Some(id), _) if first[key] == place => Received::New(Some((*id).clone())),
                (Some(id), _) => Received::Known(Some((*id).clone())),
                (None, known) => Received::Known(known.cloned()),
            }
        });
        Ok(Stored::Done(received.collect()))
    }

    /// Stores what is new and touches what is not; answers with the tasks of the latter.
    async fn note(
        &self,
        tx: &mut PgConnection,
        source: &str,
        arrivals: &[Arrival],
        first: &BTreeMap<&str, usize>,
    ) -> Result<HashMap<String, TaskId>, sqlx::Error> {
        let keys: Vec<&str> = first.keys().copied().collect();
        let of = |place: &usize| &arrivals[*place];
        let bodies: Vec<Value> = first.values().map(|place| storable(&of(place).body)).collect();
        let rows = self
            .query(
                "INSERT INTO longshore.inbox (source, delivery, event, body)
                 SELECT $1, * FROM unnest($2::text[], $3::text[], $4::jsonb[])
                 ON CONFLICT (source, delivery) DO UPDATE SET received_at = excluded.received_at
                 RETURNING delivery, task_id",
            )
            .bind(source)
            .bind(&keys)
            .bind(
                first
                    .values()
                    .map(|place| of(place).event.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(bodies.iter().map(Payload).collect::<Vec<_>>())
            .fetch_all(tx)
            .await?;
        // What is new has no task yet.
        let mut known = HashMap::new();
        for row in rows {
            if let Some(id) = row.try_get::<Option<String>, _>("task_id")? {
                known.insert(row.try_get("delivery")?, TaskId::from(id));
            }
        }
        Ok(known)
    }

    async fn link(
        &self,
        tx: &mut PgConnection,
        source: &str,
        made: &HashMap<&str, &TaskId>,
    ) -> Result<(), sqlx::Error> {
        let (keys, ids): (Vec<&str>, Vec<&str>) = made.iter().map(|(key, id)| (*key, id.as_str())).unzip();
        self.query(
            "UPDATE longshore.inbox AS i SET task_id = n.id
               FROM unnest($2::text[], $3::text[]) AS n (delivery, id)
              WHERE i.source = $1 AND i.delivery = n.delivery",
        )
        .bind(source)
        .bind(keys)
        .bind(ids)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// The ids of the repositories that the arrivals in these places name. They stay until the transaction has ended.
    async fn named(
        &self,
        tx: &mut PgConnection,
        arrivals: &[Arrival],
        places: &[usize],
    ) -> Result<HashMap<usize, String>, sqlx::Error> {
        let mut names: Vec<&str> = places
            .iter()
            .flat_map(|place| &arrivals[*place].repos)
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self
            .query(
                "SELECT id, gitlab_project_id, slug, name FROM repos
                  WHERE id = ANY ($1) OR gitlab_project_id = ANY ($1) OR slug = ANY ($1) OR name = ANY ($1)
                  ORDER BY id FOR KEY SHARE",
            )
            .bind(&names)
            .fetch_all(tx)
            .await?;
        let mut called: HashMap<&str, Vec<(usize, String)>> = HashMap::new();
        for row in &rows {
            let id: String = row.try_get("id")?;
            for (rank, column) in ["id", "gitlab_project_id", "slug", "name"]
                .into_iter()
                .enumerate()
            {
                let name: Option<String> = row.try_get(column)?;
                if let Some(name) = name.and_then(|name| names.iter().find(|wanted| **wanted == name)) {
                    called.entry(name).or_default().push((rank, id.clone()));
                }
            }
        }
        let found = places.iter().filter_map(|place| {
            let mut names = arrivals[*place].repos.iter();
            let id = names.find_map(|name| the_one(called.get(name.as_str())?))?;
            Some((*place, id))
        });
        Ok(found.collect())
    }
}

/// As `longshore repos show` finds one: by its id before its project before its slug before its name, if one alone is
/// called so.
fn the_one(called: &[(usize, String)]) -> Option<String> {
    let rank = called.iter().map(|(rank, _)| *rank).min()?;
    let mut best = called.iter().filter(|(at, _)| *at == rank);
    match (best.next(), best.next()) {
        (Some((_, id)), None) => Some(id.clone()),
        _ => None,
    }
}

fn storable(body: &Value) -> Value {
    let mut body = body.clone();
    crate::json::replace_nul(&mut body);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_counts_and_two_of_one_kind_name_none() {
        let called = |ranks: &[(usize, &str)]| {
            let called: Vec<(usize, String)> =
                ranks.iter().map(|(rank, id)| (*rank, (*id).to_owned())).collect();
            the_one(&called)
        };
        assert_eq!(called(&[(3, "a"), (1, "b"), (3, "c")]), Some("b".to_owned()));
        assert_eq!(called(&[(2, "a"), (2, "b")]), None);
        assert_eq!(called(&[]), None);
    }
}
