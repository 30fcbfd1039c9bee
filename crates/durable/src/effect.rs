use std::future::Future;

use domain::{Error, Idem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{JournalError, StepKey, StepKind, Stop, TaskCx};

/// What a look at the world says of an effect that may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled<T> {
    /// It happened; this is what it gave.
    Found(T),
    /// It did not happen, and will not any more.
    Absent,
    /// It cannot be told. The task is held; the text says what a person should look at.
    Unknown(String),
}

/// An effect that may not be repeated; see [`TaskCx::effect`].
#[must_use = "an effect needs `reconcile` and `run`"]
pub struct Effect<'a> {
    cx: &'a TaskCx,
    key: StepKey,
}

/// An effect that can be looked for.
#[must_use = "an effect happens in `run`"]
pub struct Reconcilable<'a, R> {
    cx: &'a TaskCx,
    key: StepKey,
    reconcile: R,
}

impl TaskCx {
    /// An effect that may not be repeated. It is written down before it is tried; after a crash the step is in
    /// doubt, and `reconcile` looks at the world before `run` may be called again.
    ///
    /// ```compile_fail
    /// # async fn f(cx: &durable::TaskCx) -> Result<u64, durable::Stop> {
    /// // Without `reconcile` there is no `run`.
    /// cx.effect("retry").run(|_| async { Ok(1_u64) }).await
    /// # }
    /// ```
    pub fn effect(&self, key: impl Into<StepKey>) -> Effect<'_> {
        Effect {
            cx: self,
            key: key.into(),
        }
    }
}

impl<'a> Effect<'a> {
    pub fn reconcile<T, R, Fut>(self, reconcile: R) -> Reconcilable<'a, R>
    where
        R: FnOnce(Idem) -> Fut,
        Fut: Future<Output = Result<Reconciled<T>, Error>>,
    {
        Reconcilable {
            cx: self.cx,
            key: self.key,
            reconcile,
        }
    }
}

impl<R> Reconcilable<'_, R> {
    pub async fn run<T, RFut, F, Fut>(self, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        R: FnOnce(Idem) -> RFut,
        RFut: Future<Output = Result<Reconciled<T>, Error>>,
        F: FnOnce(Idem) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let Self { cx, key, reconcile } = self;
        let open = cx.open(&key, StepKind::Effect)?;
        let idem = cx.idem(&open);
        match open.recorded.as_ref().map(|record| record.outcome.clone()) {
            Some(Some(outcome)) => return cx.replay(&open, outcome),
            Some(None) => match reconcile(idem.clone()).await {
                Ok(Reconciled::Found(value)) => {
                    return cx.finish(&open, StepKind::Effect, idem, Ok(value)).await;
                }
                Ok(Reconciled::Absent) => {}
                Ok(Reconciled::Unknown(what)) => {
                    let reason = format!("it is not known whether {:?} happened: {what}", open.at.key);
                    return Err(cx.scope.stop(Stop::Hold(reason)));
                }
                Err(error) if error.is_transient() => return Err(cx.scope.stop(Stop::Retry(error))),
                Err(error) => {
                    let reason = format!("could not find out whether {:?} happened: {error}", open.at.key);
                    return Err(cx.scope.stop(Stop::Hold(reason)));
                }
            },
            None => {
                let shared = &cx.shared;
                shared
                    .journal
                    .start(&shared.lease, &open.at)
                    .await
                    .map_err(|error| cx.broken(error))?;
                shared.note(&open.at, StepKind::Effect, None);
            }
        }
        let shared = &cx.shared;
        if !shared.journal.may_hold(&shared.lease) {
            return Err(cx.broken(JournalError::LeaseLost));
        }
        let result = effect(idem.clone()).await;
        cx.finish(&open, StepKind::Effect, idem, result).await
    }
}
