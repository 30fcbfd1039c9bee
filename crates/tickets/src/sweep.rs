use std::collections::BTreeMap;
use std::time::Duration;

use domain::Result;
use ports::Note;
use store::outbox::Sweep;

use crate::Drainer;
use crate::render::{Kind, Marker};

/// Tries after which a duplicate is left to stand.
const MOST_TRIES: u32 = 8;

impl Drainer {
    /// Looks through a ticket for notes that a create of unknown outcome left beside the one that is known. Of several
    /// with one marker the lowest id stays: it is the one that people answered to.
    pub(crate) async fn sweep(&self, sweep: &Sweep) {
        let ended = match self.try_sweep(sweep).await {
            Ok(()) => self.queue.swept(sweep).await,
            Err(error)
                if (error.is_transient() || error.kind == domain::ErrorKind::Internal)
                    && sweep.attempts < MOST_TRIES =>
            {
                let delay = error.retry_after().unwrap_or(
                    self.config
                        .first_delay
                        .saturating_mul(1 << sweep.attempts.min(16)),
                );
                self.queue.put_off_sweep(sweep, delay).await
            }
            Err(error) => {
                tracing::warn!(task.id = %sweep.task, error = %error, "a ticket could not be looked through for duplicates");
                self.queue.swept(sweep).await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(task.id = %sweep.task, error = %error, "the sweep of a ticket is taken up again later");
        }
    }

    async fn try_sweep(&self, sweep: &Sweep) -> Result<()> {
        let limit = self.tickets.limits(&sweep.ticket).request_timeout;
        let notes = within(limit, self.tickets.own_notes(&sweep.ticket)).await?;
        let mut marked: BTreeMap<u32, Vec<Note>> = BTreeMap::new();
        for note in notes {
            let Some(marker) = Marker::of(&note.body).filter(|marker| marker.is_of(&sweep.task)) else {
                continue;
            };
            let moment = match marker.kind() {
                Kind::Living => 0,
                Kind::Moment(number) => number,
            };
            marked.entry(moment).or_default().push(note);
        }
        for (moment, mut notes) in marked {
            notes.sort_by_key(|note| note.id);
            let Some((keep, duplicates)) = notes
                .split_first()
                .filter(|(_, duplicates)| !duplicates.is_empty())
            else {
                continue;
            };
            if !sweep.notes.contains(&(moment, keep.id)) {
                self.queue
                    .adopt(sweep, moment, keep.id, keep.url.as_deref())
                    .await?;
            }
            for duplicate in duplicates {
                match within(limit, self.tickets.delete_note(&sweep.ticket, duplicate.id)).await {
                    Err(error) if error.kind != domain::ErrorKind::NotFound => return Err(error),
                    _ => {
                        tracing::info!(task.id = %sweep.task, note.id = duplicate.id.0, "a duplicate comment was removed")
                    }
                }
            }
        }
        Ok(())
    }
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, request).await.unwrap_or_else(|_| {
        Err(domain::Error::timeout(format!(
            "no answer within {} s",
            limit.as_secs()
        )))
    })
}
