use std::future::Future;

use domain::{Error, Idem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::scope::Open;
use crate::{Recorded, StepKey, StepKind, Stop, TaskCx};

impl TaskCx {
    /// An effect that may be repeated: it declares a wanted state, reads, or the far side honours the key that
    /// it is handed. After a crash inside it, it runs again; once it is done, its result is recorded.
    ///
    /// A permanent error is recorded too, so that a replay takes the same branch; a transient one stops with
    /// [`Stop::Retry`] and leaves no trace.
    pub async fn step<T, F, Fut>(&self, key: impl Into<StepKey>, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Idem) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let open = self.open(&key.into(), StepKind::Step)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay(&open, outcome);
        }
        let idem = self.idem(&open);
        let result = effect(idem.clone()).await;
        self.finish(&open, StepKind::Step, idem, result).await
    }

    /// Records what an effect gave and hands it on as a replay would see it.
    pub(crate) async fn finish<T: Serialize + DeserializeOwned>(
        &self,
        open: &Open<'_>,
        kind: StepKind,
        idem: Idem,
        result: Result<T, Error>,
    ) -> Result<T, Stop> {
        let (outcome, staged) = match result {
            Ok(value) => match write(open, &value) {
                Ok(value) => (Recorded::Ok(value), idem.take_staged()),
                Err(error) => (Recorded::Err(error), Vec::new()),
            },
            Err(error) if error.is_transient() => return Err(self.scope.stop(Stop::Retry(error))),
            Err(error) => (Recorded::Err(error), Vec::new()),
        };
        let shared = &self.shared;
        if let Err(error) = shared
            .journal
            .done(&shared.lease, &open.at, kind, &outcome, staged)
            .await
        {
            return Err(self.refused(open, kind, error).await);
        }
        shared.note(&open.at, kind, Some(outcome.clone()));
        self.replay(open, outcome)
    }
}

/// `serde_json` reads 128 levels, those of the record around a result among them.
const DEEPEST: usize = 100;

fn write<T: Serialize>(open: &Open<'_>, value: &T) -> Result<Value, Error> {
    let mut value = serde_json::to_value(value).map_err(|error| {
        Error::internal(format!(
            "the result of step {:?} cannot be written as JSON: {error}",
            open.at.key
        ))
    })?;
    if is_deeper(&value, DEEPEST) {
        return Err(Error::internal(format!(
            "the result of step {:?} is nested deeper than {DEEPEST} levels, too deep to be read again",
            open.at.key
        )));
    }
    strip_nul(&mut value);
    Ok(value)
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

/// Postgres cannot store NUL in text or JSON; what outside systems send may contain it.
fn strip_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(strip_nul),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(k, v)| (k.replace('\0', "\u{fffd}"), v))
                    .collect();
            }
            map.values_mut().for_each(strip_nul);
        }
        _ => {}
    }
}
