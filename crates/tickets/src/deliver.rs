use std::future::Future;
use std::time::{Duration, Instant};

use domain::{Error, ErrorKind, redact};
use ports::{Note, NoteId};
use sha2::{Digest, Sha256};
use store::outbox::{Due, Told};

use crate::Drainer;
use crate::render::{self, Kind, Marker, Subject};

/// A wait that a far side asks for is kept within these: none at all would ask it again and again, and years would be
/// silence.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Added to the time after which a far side forgets a request, before we rely on it.
const MARGIN: Duration = Duration::from_secs(1);

/// Why a delivery stopped.
pub(crate) enum Stop {
    /// The row waits or belongs to another drainer by now; nothing is left to do here.
    Over,
    /// The outbox could not be reached. The lease runs out, and the row is taken again.
    Store(Error),
    /// The far side did not do it. `create`: a note may have been written.
    Ticket {
        error: Error,
        create: bool,
        /// Whether the note itself stands and only something beside it failed.
        written: bool,
        revision: i64,
    },
}

impl Drainer {
    /// Brings one row's note up to date, from wherever an earlier try left it.
    pub(crate) async fn deliver(&self, due: &Due) {
        let stopped = match self.try_deliver(due).await {
            Ok(()) => return,
            Err(Stop::Ticket {
                error,
                create,
                written,
                revision,
            }) => self.trouble(due, error, create, written, revision).await,
            Err(stop) => Err(stop),
        };
        if let Err(Stop::Store(error)) = stopped {
            tracing::warn!(task.id = %due.task, error = %error, "the outbox could not be written; the comment is taken up again later");
        }
    }

    async fn try_deliver(&self, due: &Due) -> Result<(), Stop> {
        if let Err(wait) = self.pace.spend(&due.host) {
            ours(self.queue.put_off(due, wait, false, None).await)?;
            return Ok(());
        }
        let told = self.bring_note(due).await?;
        if due.moment == 0 && due.labelled_revision < told.revision {
            let change = self.config.labels_for(&told.report);
            if !change.is_empty() {
                self.may_write(due)?;
                self.ask(due, self.tickets.change_labels(&due.ticket, &change))
                    .await
                    .map_err(|error| Stop::Ticket {
                        error,
                        create: false,
                        written: true,
                        revision: told.revision,
                    })?;
            }
            ours(self.queue.labelled(due, told.revision).await)?;
        }
        ours(
            self.queue
                .settle(due, told.revision, self.config.sweep_after)
                .await,
        )
    }

    /// After this the note stands and says what is answered, unless it must not stand.
    async fn bring_note(&self, due: &Due) -> Result<Told, Stop> {
        let told = &due.told;
        let note = match (due.note, due.in_doubt_for) {
            _ if due.gone => return Ok(told.clone()),
            (Some(_), _) if due.posted_revision == told.revision => return Ok(told.clone()),
            (Some(note), _) => note,
            (None, None) => return self.create(due).await,
            (None, Some(since)) => match self.settle_doubt(due, since).await? {
                Some(note) if note.body == self.body(due, told) => {
                    ours(
                        self.queue
                            .posted(due, note.id, note.url.as_deref(), told.revision)
                            .await,
                    )?;
                    return Ok(told.clone());
                }
                // What it says is older: it is ours from now on, and edited like any other.
                Some(note) => {
                    ours(self.queue.posted(due, note.id, note.url.as_deref(), 0).await)?;
                    note.id
                }
                None => return self.create(due).await,
            },
        };
        self.edit(due, note).await
    }

    async fn create(&self, due: &Due) -> Result<Told, Stop> {
        let began = Instant::now();
        // From here on the note may be there.
        let Some(told) = self.queue.begin_post(due).await.map_err(Stop::Store)? else {
            return Err(Stop::Over);
        };
        // Later it could take effect when others take it for over.
        if began.elapsed() > self.config.prompt {
            ours(self.queue.put_off(due, self.config.prompt, true, None).await)?;
            return Err(Stop::Over);
        }
        let body = self.body(due, &told);
        let note = self
            .ask(due, self.tickets.create_note(&due.ticket, &body))
            .await
            .map_err(|error| Stop::Ticket {
                error,
                create: true,
                written: false,
                revision: told.revision,
            })?;
        if !self
            .queue
            .posted(due, note.id, note.url.as_deref(), told.revision)
            .await
            .map_err(Stop::Store)?
        {
            self.take_back(due, note.id).await?;
            return Err(Stop::Over);
        }
        Ok(told)
    }

    /// Our create came so late that another drainer had taken the row. Where that one wrote a note too, ours goes.
    async fn take_back(&self, due: &Due, note: NoteId) -> Result<(), Stop> {
        match self.queue.standing_note(due).await.map_err(Stop::Store)? {
            Some(standing) if standing != note => {
                let deleted = self.ask(due, self.tickets.delete_note(&due.ticket, note)).await;
                if let Err(error) = deleted {
                    tracing::warn!(task.id = %due.task, note.id = note.0, error = %error, "a duplicate comment stays until the sweep");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// So long after a create was written down it has taken effect, or never will.
    fn over_after(&self, due: &Due) -> Duration {
        self.config.prompt + self.tickets.limits(&due.ticket).request_timeout + MARGIN
    }

    /// Looks for the note that an earlier create may have written, once that create can take effect no more.
    async fn settle_doubt(&self, due: &Due, since: Duration) -> Result<Option<Note>, Stop> {
        let certain = self.over_after(due);
        if since < certain {
            ours(self.queue.put_off(due, certain - since, false, None).await)?;
            return Err(Stop::Over);
        }
        let notes = self
            .ask(due, self.tickets.own_notes(&due.ticket))
            .await
            .map_err(|e| trouble(e, &due.told))?;
        let marker = Marker::new(&due.task, kind(due.moment));
        Ok(notes
            .into_iter()
            .filter(|note| Marker::of(&note.body).as_ref() == Some(&marker))
            .min_by_key(|note| note.id))
    }

    async fn edit(&self, due: &Due, note: NoteId) -> Result<Told, Stop> {
        let told = due.told.clone();
        let body = self.body(due, &told);
        self.may_write(due)?;
        match self
            .ask(due, self.tickets.edit_note(&due.ticket, note, &body))
            .await
        {
            Ok(edited) => {
                ours(
                    self.queue
                        .posted(due, edited.id, edited.url.as_deref(), told.revision)
                        .await,
                )?;
                Ok(told)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                // The note or its ticket: a ticket that is gone is an error, a note that somebody deleted is an answer.
                self.ask(due, self.tickets.ticket(&due.ticket))
                    .await
                    .map_err(|e| trouble(e, &told))?;
                ours(self.queue.note_gone(due).await)?;
                Ok(told)
            }
            Err(error) => Err(trouble(error, &told)),
        }
    }

    fn body(&self, due: &Due, told: &Told) -> String {
        let limit = self.tickets.limits(&due.ticket).note_chars;
        let subject = Subject {
            task: &due.task,
            report: &told.report,
            history: &told.history,
            at: told.at,
        };
        match kind(due.moment) {
            Kind::Living => render::living(&subject, limit),
            Kind::Moment(number) => render::moment(&subject, number, due.living_url.as_deref(), limit),
        }
    }

    /// Not when another drainer could have the row before our write is over: it would put what is older over what is newer.
    fn may_write(&self, due: &Due) -> Result<(), Stop> {
        let lasts = self.tickets.limits(&due.ticket).request_timeout;
        if due.clock.left() < lasts.min(self.config.lease / 2) {
            tracing::info!(task.id = %due.task, "the lease of a comment is nearly over; it is left to the next drainer");
            return Err(Stop::Over);
        }
        Ok(())
    }

    /// One request, given up when it could no longer take effect.
    pub(crate) async fn ask<T>(
        &self,
        due: &Due,
        request: impl Future<Output = domain::Result<T>>,
    ) -> domain::Result<T> {
        let limit = self.tickets.limits(&due.ticket).request_timeout;
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::timeout(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    async fn trouble(
        &self,
        due: &Due,
        error: Error,
        create: bool,
        written: bool,
        revision: i64,
    ) -> Result<(), Stop> {
        let nothing_happened = create && !error.is_in_doubt();
        let said = redact(&error.to_string()).into_owned();
        let passes = error.is_transient() || error.kind == ErrorKind::Internal;
        if !passes || due.failing_for >= self.config.give_up_after {
            let error = error.context(if written {
                format!(
                    "the comment on {} is written, but its labels could not be changed",
                    place(due)
                )
            } else {
                format!("the comment on {} could not be written", place(due))
            });
            let said = redact(&error.to_string()).into_owned();
            tracing::warn!(task.id = %due.task, error = %said, "a comment cannot be delivered");
            return ours(
                self.queue
                    .fail(due, revision, &said, self.config.sweep_after)
                    .await,
            );
        }
        let mut delay = self.backoff(due);
        if error.kind == ErrorKind::RateLimited {
            delay = error
                .retry_after()
                .map_or(delay, |asked| asked.clamp(*WAIT.start(), *WAIT.end()));
            self.queue
                .pause_host(&due.host, delay)
                .await
                .map_err(Stop::Store)?;
        } else if create && error.is_in_doubt() {
            delay = self.over_after(due);
        }
        tracing::info!(task.id = %due.task, error = %said, delay_ms = delay.as_millis() as u64, "a comment is put off");
        ours(
            self.queue
                .put_off(due, delay, nothing_happened, Some(&said))
                .await,
        )
    }

    /// Doubles with each try. Between half and the whole of it, by the task's id: rows that failed together spread.
    fn backoff(&self, due: &Due) -> Duration {
        let whole = self
            .config
            .first_delay
            .saturating_mul(1 << due.attempts.min(16))
            .min(self.config.most_delay);
        let spread = Sha256::digest(format!("{}/{}/{}", due.task, due.moment, due.attempts))
            .first()
            .copied()
            .unwrap_or(0);
        whole.mul_f64(0.5 + f64::from(spread) / 512.0)
    }
}

fn kind(moment: u32) -> Kind {
    if moment == 0 {
        Kind::Living
    } else {
        Kind::Moment(moment)
    }
}

fn place(due: &Due) -> String {
    let what = match due.ticket.kind {
        domain::TicketKind::Issue => "issue",
        domain::TicketKind::MergeRequest => "merge request",
    };
    format!("{what} {} of {}", due.ticket.iid, due.ticket.repo.project)
}

fn trouble(error: Error, told: &Told) -> Stop {
    Stop::Ticket {
        error,
        create: false,
        written: false,
        revision: told.revision,
    }
}

/// Goes on only while the row is ours.
fn ours(written: domain::Result<bool>) -> Result<(), Stop> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::Over),
        Err(error) => Err(Stop::Store(error)),
    }
}
