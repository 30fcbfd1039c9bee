use std::future::Future;
use std::time::{Duration, Instant};

use durable::JournalError;

use crate::Store;
use crate::pool::backoff;

/// Tries a journal write again while the database is out of reach: about as long as a lease lasts by default.
/// Every write can be repeated, since it looks first at what is recorded.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn patiently<T, F, Fut>(store: &Store, mut write: F) -> Result<T, JournalError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, JournalError>>,
{
    let started = Instant::now();
    let mut delays = backoff();
    loop {
        match store.within("write to the journal", write()).await {
            Err(JournalError::Broken(error)) if error.is_transient() => match delays.next() {
                Some(delay) if started.elapsed() + delay < PATIENCE => tokio::time::sleep(delay).await,
                _ => return Err(error.into()),
            },
            answer => return answer,
        }
    }
}
