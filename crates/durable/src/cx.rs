use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Idem, TaskId, TaskInfo};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;

use crate::scope::{Open, Scope};
use crate::{Journal, JournalError, Lease, Record, Recorded, StepKey, StepKind, StepRef, Stop};

pub(crate) const RUN: &str = "run";
pub(crate) const UNWIND: &str = "unwind";

/// What a handler is handed: its task, and the journaled steps that all its effects go through.
pub struct TaskCx {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Arc<Scope>,
}

pub(crate) struct Shared {
    pub(crate) task: Arc<TaskInfo>,
    pub(crate) lease: Lease,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) cancel: CancelFlag,
    scopes: Mutex<HashMap<String, Arc<Scope>>>,
    recorded: Mutex<HashMap<String, Vec<Record>>>,
}

/// Tells a running handler that its task was cancelled. Once raised it stays up.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Raised>);

#[derive(Debug, Default)]
struct Raised {
    is: AtomicBool,
    told: Notify,
}

impl CancelFlag {
    pub fn raise(&self) {
        self.0.is.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }
    pub fn is_raised(&self) -> bool {
        self.0.is.load(Ordering::Acquire)
    }
    pub async fn raised(&self) {
        let mut told = pin!(self.0.told.notified());
        // Heard from here on, so that nothing falls between the look and the wait.
        told.as_mut().enable();
        if !self.is_raised() {
            told.await;
        }
    }
}

impl Shared {
    pub(crate) fn new(
        task: Arc<TaskInfo>,
        lease: Lease,
        journal: Arc<dyn Journal>,
        cancel: CancelFlag,
        history: Vec<Record>,
    ) -> Self {
        let mut recorded: HashMap<String, Vec<Record>> = HashMap::new();
        for record in history {
            recorded.entry(record.at.scope.clone()).or_default().push(record);
        }
        for scope in recorded.values_mut() {
            scope.sort_by_key(|record| record.at.seq);
        }
        Self {
            task,
            lease,
            journal,
            cancel,
            scopes: Mutex::default(),
            recorded: Mutex::new(recorded),
        }
    }

    /// The scope of that path; none when it was asked for before, since a path names one sequence of steps.
    pub(crate) fn scope(&self, path: &str) -> Option<Arc<Scope>> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if scopes.contains_key(path) {
            return None;
        }
        let recorded = self
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned()
            .unwrap_or_default();
        let scope = Arc::new(Scope::new(path.to_owned(), recorded));
        scopes.insert(path.to_owned(), scope.clone());
        Some(scope)
    }

    /// Remembers what was just recorded, for the unwinding that may follow in the same attempt.
    pub(crate) fn note(&self, at: &StepRef, kind: StepKind, outcome: Option<Recorded>) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = recorded.entry(at.scope.clone()).or_default();
        match scope.iter_mut().find(|record| record.at.seq == at.seq) {
            Some(record) => record.outcome = outcome,
            None => scope.push(Record {
                at: at.clone(),
                kind,
                outcome,
            }),
        }
    }

    /// The children that the run waits for.
    pub(crate) fn awaited(&self) -> Vec<TaskId> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded
            .iter()
            .filter(|(path, _)| is_below(path, RUN))
            .flat_map(|(_, records)| records)
            .filter(|record| record.kind == StepKind::Child && record.outcome.is_none())
            .filter_map(|record| record.at.key.strip_prefix("child/").map(TaskId::from))
            .collect()
    }

    /// A recorded step that a run which ended well did not ask for.
    pub(crate) fn left_over(&self, root: &str) -> Option<String> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded
            .iter()
            .filter(|(path, _)| is_below(path, root))
            .find_map(|(path, records)| match scopes.get(path) {
                Some(scope) => scope.left_over(),
                None => records.first().map(|record| record.at.key.clone()),
            })
    }
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl TaskCx {
    pub(crate) fn new(shared: Arc<Shared>, scope: Arc<Scope>) -> Self {
        Self { shared, scope }
    }

    pub fn task(&self) -> &TaskInfo {
        &self.shared.task
    }

    /// A scope of its own for work that runs beside other work; join branches with [`crate::join_all`].
    pub fn branch(&self, name: &str) -> Result<TaskCx, Stop> {
        let path = format!("{}/{name}", self.scope.path);
        match self.shared.scope(&path) {
            Some(scope) => Ok(TaskCx::new(self.shared.clone(), scope)),
            None => Err(self
                .scope
                .stop(Stop::Hold(format!("branch {path:?} was made twice in a run")))),
        }
    }

    /// What a step of the run gave, for unwinding: nothing when it was not reached, failed or is in doubt. What is there
    /// and cannot be read holds the task, since undoing would take it for never done. A branch of the unwinding sees
    /// the steps of the run's branch of the same name.
    pub fn recorded<T: DeserializeOwned>(&self, key: impl Into<StepKey>) -> Result<Option<T>, Stop> {
        let Some(record) = self.run_record(&key.into()) else {
            return Ok(None);
        };
        match record.outcome {
            Some(Recorded::Ok(value)) => self.fitting(&record.at, value).map(Some),
            Some(Recorded::Err(_)) | None => Ok(None),
        }
    }

    /// What is done so far and what it gave, in order: the run's steps, and behind them those of the unwinding where it is
    /// that which asks. A branch sees its own. For telling people what happened: what is decided goes by `recorded`.
    pub fn history(&self) -> Vec<(String, Value)> {
        let own = self.scope.path.as_str();
        let run = own.strip_prefix(UNWIND).map(|branch| format!("{RUN}{branch}"));
        let recorded = self
            .shared
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut history = Vec::new();
        for path in run.as_deref().into_iter().chain([own]) {
            let mut records: Vec<&Record> = recorded.get(path).into_iter().flatten().collect();
            records.sort_by_key(|record| record.at.seq);
            history.extend(records.into_iter().filter_map(|record| match &record.outcome {
                Some(Recorded::Ok(value)) => Some((record.at.key.clone(), value.clone())),
                _ => None,
            }));
        }
        history
    }

    /// Whether an effect of the run was begun and is not known to be done.
    pub fn is_in_doubt(&self, key: impl Into<StepKey>) -> bool {
        self.run_record(&key.into())
            .is_some_and(|record| record.outcome.is_none())
    }

    fn run_record(&self, key: &StepKey) -> Option<Record> {
        let path = match self.scope.path.strip_prefix(UNWIND) {
            Some(branch) => format!("{RUN}{branch}"),
            None => self.scope.path.clone(),
        };
        let recorded = self
            .shared
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        recorded
            .get(&path)?
            .iter()
            .find(|record| record.at.key == key.as_str())
            .cloned()
    }

    pub(crate) fn open(&self, key: &StepKey, kind: StepKind) -> Result<Open<'_>, Stop> {
        // A cancel during unwinding changes nothing: it is being undone already.
        if self.shared.cancel.is_raised() && !self.is_unwinding() {
            return Err(self.scope.stop(Stop::Cancelled));
        }
        self.scope.open(key, kind)
    }

    pub(crate) fn is_unwinding(&self) -> bool {
        is_below(&self.scope.path, UNWIND)
    }

    pub(crate) fn idem(&self, open: &Open<'_>) -> Idem {
        Idem::new(format!(
            "{}/{}/{}",
            self.shared.task.id, open.at.scope, open.at.key
        ))
    }

    /// The journal could not write: the handler must not go on past a step that is not recorded.
    pub(crate) fn broken(&self, error: JournalError) -> Stop {
        self.scope.stop_for_good(match error {
            JournalError::LeaseLost => Stop::LeaseLost,
            JournalError::Broken(error) => Stop::from(error),
        })
    }

    /// What the journal refused for good is the step's outcome, recorded so that a replay takes the same branch.
    pub(crate) async fn refused(&self, open: &Open<'_>, kind: StepKind, error: JournalError) -> Stop {
        let error = match error {
            JournalError::Broken(error) if !error.is_transient() => error,
            other => return self.broken(other),
        };
        let outcome = Recorded::Err(error.clone());
        let shared = &self.shared;
        match shared
            .journal
            .done(&shared.lease, &open.at, kind, &outcome, Vec::new())
            .await
        {
            Ok(()) => {
                shared.note(&open.at, kind, Some(outcome));
                Stop::Fail(error)
            }
            Err(error) => self.broken(error),
        }
    }

    /// The recorded value, as the type that the code asks for now.
    pub(crate) fn replay<T: DeserializeOwned>(&self, open: &Open<'_>, outcome: Recorded) -> Result<T, Stop> {
        match outcome {
            Recorded::Ok(value) => self.read(open, value),
            Recorded::Err(error) => Err(self.scope.stop(Stop::Fail(error))),
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, open: &Open<'_>, value: Value) -> Result<T, Stop> {
        self.fitting(&open.at, value)
    }

    fn fitting<T: DeserializeOwned>(&self, at: &StepRef, value: Value) -> Result<T, Stop> {
        serde_json::from_value(value).map_err(|error| {
            self.scope.stop(Stop::Hold(format!(
                "the recorded result of step {:?} does not fit the handler's code any more: {error}",
                at.key
            )))
        })
    }
}
