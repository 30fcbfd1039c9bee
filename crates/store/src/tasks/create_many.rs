//! Many tasks made at once: all of them or none, at the cost of a few statements however many they are.

use std::collections::{HashMap, HashSet};

use domain::{Error, NewTask, Result, TaskId};
use sqlx::postgres::PgDatabaseError;
use sqlx::{PgConnection, Row};

use super::create::{LOOKS, Made, PAYLOAD_RULE, check_words, refused};
use super::payload::check_payload;
use super::rows::Rows;
use crate::Store;
use crate::error::{SqlResult, constraint, describe, sqlstate};

/// Most tasks of one call.
pub const MAX_TASKS: usize = 10_000;
/// How often a call begins anew that Postgres ended since others waited for it and it for them.
pub(crate) const TRIES: usize = 5;
const DOING: &str = "create the tasks";

/// Why none of the tasks was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMade {
    /// The task that is at fault, counted from 0.
    pub place: Option<usize>,
    /// The part of it that is wrong, as a path: `payload.log`.
    pub field: Option<String>,
    pub too_large: bool,
    pub error: Error,
}

impl NotMade {
    pub(super) fn at(place: usize, field: impl Into<String>, error: Error) -> Self {
        Self {
            place: Some(place),
            field: Some(field.into()),
            too_large: false,
            error,
        }
    }
}

impl From<Error> for NotMade {
    fn from(error: Error) -> Self {
        Self {
            place: None,
            field: None,
            too_large: false,
            error,
        }
    }
}

impl From<NotMade> for Error {
    fn from(fault: NotMade) -> Self {
        match fault.place {
            Some(place) => Error {
                what: format!("tasks[{place}]: {}", fault.error.what),
                ..fault.error
            },
            None => fault.error,
        }
    }
}

/// How a try ended.
pub(crate) enum Tried {
    Made(Vec<Made>),
    /// Nothing of it is there.
    Deadlock(Error),
}

impl Store {
    /// [`Store::make_task`] for up to [`MAX_TASKS`] tasks in one transaction; answers in their order. Of several with the
    /// same dedupe key the first is made, and the others are answered with it.
    pub async fn make_tasks(&self, tasks: &[NewTask]) -> Result<Vec<Made>, NotMade> {
        if tasks.len() > MAX_TASKS {
            return Err(NotMade {
                too_large: true,
                ..Error::invalid(format!("{} tasks are too many for one call", tasks.len()))
                    .next(format!("Send at most {MAX_TASKS} at a time"))
                    .into()
            });
        }
        for (place, task) in tasks.iter().enumerate() {
            check(place, task)?;
        }
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.within(DOING, self.make_tasks_unlimited(tasks)).await
    }

    async fn make_tasks_unlimited(&self, tasks: &[NewTask]) -> Result<Vec<Made>, NotMade> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_tasks(tasks).await? {
                Tried::Made(made) => return Ok(made),
                // Whoever writes in another order than ours: it goes on as soon as we are out of its way.
                Tried::Deadlock(error) if tries == TRIES => return Err(error.into()),
                Tried::Deadlock(_) => {}
            }
        }
    }

    async fn try_tasks(&self, tasks: &[NewTask]) -> Result<Tried, NotMade> {
        let mut tx = self.pool().begin().await.doing(DOING)?;
        let tried = self.insert_tasks(&mut tx, tasks).await?;
        if matches!(tried, Tried::Made(_)) {
            tx.commit().await.doing(DOING)?;
        }
        Ok(tried)
    }

    /// Tasks that were checked, inside a transaction of the caller's.
    pub(crate) async fn insert_tasks(
        &self,
        tx: &mut PgConnection,
        tasks: &[NewTask],
    ) -> Result<Tried, NotMade> {
        let mut plan = Plan::of(tasks);
        for _ in 0..LOOKS {
            let open = self.unfinished_of_many(tx, &plan.keys()).await?;
            plan.found(open);
            self.check_references_of(tx, tasks, &plan.wanted()).await?;
            match self.insert_wanted(tx, tasks, &mut plan).await {
                Ok(()) => {}
                Err(error) if sqlstate(&error).as_deref() == Some("40P01") => {
                    return Ok(Tried::Deadlock(describe(&error, DOING)));
                }
                Err(error) => return Err(plan.refused(&error)),
            }
            if plan.is_done() {
                return Ok(Tried::Made(plan.made(tasks)));
            }
            // Somebody else's with some of the keys came first; by now they may have ended, too.
        }
        Err(
            Error::unavailable("could not create the tasks: others with the same dedupe keys come and go")
                .next("Try again")
                .into(),
        )
    }

    /// The unfinished tasks of dedupe keys.
    async fn unfinished_of_many(
        &self,
        tx: &mut PgConnection,
        keys: &[&str],
    ) -> Result<HashMap<String, Made>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let doing = "look for tasks with the same dedupe keys";
        let rows = self
            .query("SELECT open_key, id, repo_id, assigned_to FROM tasks WHERE open_key = ANY ($1)")
            .bind(keys)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                let made = Made {
                    id: TaskId::from(row.try_get::<String, _>("id")?),
                    exists: true,
                    repo_id: row.try_get("repo_id")?,
                    assigned_to: row.try_get("assigned_to")?,
                };
                Ok((row.try_get("open_key")?, made))
            })
            .collect::<Result<_, sqlx::Error>>()
            .doing(doing)
    }

    /// Puts in what is wanted and not in yet. Keys go in by their order, so that of two calls with some of the same keys
    /// one waits for the other, and never both.
    async fn insert_wanted(
        &self,
        tx: &mut PgConnection,
        tasks: &[NewTask],
        plan: &mut Plan<'_>,
    ) -> Result<(), sqlx::Error> {
        let (places, keyed) = plan.to_insert();
        if places.is_empty() {
            return Ok(());
        }
        // One statement has one time of making, so that the ids alone decide who comes first.
        let rows = Rows::of(tasks, &plan.ids, &places);
        if self.insert_rows(tx, &rows, keyed).await? == places.len() as u64 {
            plan.inserted(&places);
            return Ok(());
        }
        let there = self
            .query("SELECT id FROM tasks WHERE id = ANY ($1)")
            .bind(rows.ids())
            .fetch_all(tx)
            .await?;
        let there: HashSet<String> = there
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?;
        let inserted: Vec<usize> = places
            .into_iter()
            .filter(|place| there.contains(plan.ids[*place].as_str()))
            .collect();
        plan.inserted(&inserted);
        Ok(())
    }
}

/// What a task of a call must be by itself, whatever stands in the tables.
pub(crate) fn check(place: usize, task: &NewTask) -> Result<(), NotMade> {
    check_words(task).map_err(|wrong| NotMade::at(place, wrong.field, wrong.error))?;
    check_payload(&task.payload).map_err(|fault| NotMade {
        too_large: fault.too_large,
        ..NotMade::at(place, fault.field, fault.error)
    })
}

/// What becomes of each task of a call.
struct Plan<'a> {
    /// What each gets if it is made: in their order, by which tasks of one priority are taken.
    ids: Vec<TaskId>,
    fates: Vec<Fate>,
    /// The first task of each key.
    first: HashMap<&'a str, usize>,
}

enum Fate {
    /// To be put in, unless its key is taken.
    Wanted,
    Inserted,
    /// As the earlier task with its key.
    Same(usize),
    Exists(Made),
}

impl<'a> Plan<'a> {
    fn of(tasks: &'a [NewTask]) -> Self {
        let mut first = HashMap::new();
        let fates = tasks
            .iter()
            .enumerate()
            .map(|(place, task)| match task.dedupe_key.as_deref() {
                Some(key) => match *first.entry(key).or_insert(place) {
                    earlier if earlier < place => Fate::Same(earlier),
                    _ => Fate::Wanted,
                },
                None => Fate::Wanted,
            })
            .collect();
        Self {
            ids: tasks.iter().map(|_| TaskId::generate()).collect(),
            fates,
            first,
        }
    }

    fn is_wanted(&self, place: usize) -> bool {
        matches!(self.fates[place], Fate::Wanted)
    }

    fn wanted(&self) -> Vec<usize> {
        (0..self.fates.len())
            .filter(|place| self.is_wanted(*place))
            .collect()
    }

    fn is_done(&self) -> bool {
        (0..self.fates.len()).all(|place| !self.is_wanted(place))
    }

    /// The keys of what is wanted, in their order.
    fn keyed(&self) -> Vec<(&'a str, usize)> {
        let mut keyed: Vec<(&str, usize)> = self
            .first
            .iter()
            .map(|(key, place)| (*key, *place))
            .filter(|(_, place)| self.is_wanted(*place))
            .collect();
        keyed.sort_unstable();
        keyed
    }

    fn keys(&self) -> Vec<&'a str> {
        self.keyed().into_iter().map(|(key, _)| key).collect()
    }

    fn found(&mut self, open: HashMap<String, Made>) {
        for (key, made) in open {
            if let Some(place) = self.first.get(key.as_str()) {
                self.fates[*place] = Fate::Exists(made);
            }
        }
    }

    /// What is wanted: without a key first, then by the keys' order. And whether there are keys.
    fn to_insert(&self) -> (Vec<usize>, bool) {
        let keyed: Vec<usize> = self.keyed().into_iter().map(|(_, place)| place).collect();
        let mut places = self.wanted();
        if keyed.is_empty() {
            return (places, false);
        }
        let mut is_keyed = vec![false; self.fates.len()];
        keyed.iter().for_each(|place| is_keyed[*place] = true);
        places.retain(|place| !is_keyed[*place]);
        places.extend(keyed);
        (places, true)
    }

    fn inserted(&mut self, places: &[usize]) {
        for place in places {
            self.fates[*place] = Fate::Inserted;
        }
    }

    fn made(&self, tasks: &[NewTask]) -> Vec<Made> {
        let of = |place: usize, exists: bool| match &self.fates[place] {
            Fate::Exists(made) => made.clone(),
            _ => Made {
                id: self.ids[place].clone(),
                exists,
                repo_id: tasks[place].repo_id.clone(),
                assigned_to: tasks[place].assigned_to.clone(),
            },
        };
        let fates = self.fates.iter().enumerate();
        fates
            .map(|(place, fate)| match fate {
                Fate::Same(earlier) => of(*earlier, true),
                _ => of(place, false),
            })
            .collect()
    }

    /// A refusal by the table's rules shows the row that it is about, and with it its id.
    fn refused(&self, error: &sqlx::Error) -> NotMade {
        let refusal = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
        let row = refusal.and_then(PgDatabaseError::detail).unwrap_or_default();
        let fault = NotMade::from(refused(error, DOING));
        match constraint(error) {
            Some(rule) => NotMade {
                place: self.ids.iter().position(|id| row.contains(id.as_str())),
                field: (rule == PAYLOAD_RULE).then(|| "payload".to_owned()),
                too_large: rule == PAYLOAD_RULE,
                ..fault
            },
            None => fault,
        }
    }
}
