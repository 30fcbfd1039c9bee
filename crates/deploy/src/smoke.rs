//! Smoke tests that are a pipeline at the forge: started once, waited for, and shown with their link.

use std::time::Duration;

use domain::Span;
use durable::{Reconciled, Stop};
use ports::{Job, JobStatus, Pipeline};

use crate::analysis::Seen;
use crate::carry::Carrier;
use crate::checks::{About, CheckSettings, JobSettings};

/// How long to wait before the next look: most take a minute or more.
fn pause(looks: u32) -> Duration {
    Duration::from_secs(u64::from(5_u32.saturating_mul(looks.saturating_add(1)).min(30)))
}

impl Carrier<'_> {
    /// Runs the pipeline of a smoke test and says how it ended. After a crash it is found again, and not run twice.
    pub(crate) async fn run_job(
        &mut self,
        tag: &str,
        check: &CheckSettings,
        job: &JobSettings,
        about: About<'_>,
    ) -> Result<Seen, Stop> {
        let (forge, repo) = (&self.outside.forge, &self.place.repo);
        let wanted = &about.pipeline(job).map_err(Stop::Fail)?;
        let begun: Pipeline = self
            .cx
            .effect(("smoke-job", tag))
            .reconcile(|idem| async move {
                let found = forge.started(repo, wanted, &idem).await?;
                Ok(found.map_or(Reconciled::Absent, Reconciled::Found))
            })
            .run(|idem| async move { forge.start_pipeline(repo, wanted, &idem).await })
            .await?;
        let patience = check.patience();
        let mut waited = Duration::ZERO;
        let mut last = begun;
        for look in 0_u32.. {
            let id = last.id;
            last = self
                .cx
                .step(("smoke-look", tag, look), |_| async move {
                    forge.pipeline(repo, id).await
                })
                .await?;
            if last.status.is_over() || waited >= patience.0 {
                break;
            }
            let next = pause(look).min(patience.0 - waited);
            let why = format!("for the job {} to end", check.name());
            self.nap(&format!("{tag}-job-{look}"), &why, next).await?;
            waited += next;
        }
        let seen = |well, why| Seen {
            at: None,
            name: check.name().to_owned(),
            well,
            why,
        };
        let (id, url) = (last.id, last.url.as_str());
        let failed = match last.status {
            JobStatus::Succeeded => return Ok(seen(true, format!("pipeline {id} passed: {url}"))),
            JobStatus::Failed => self.failed_jobs(tag, id).await?,
            _ => String::new(),
        };
        let how = match last.status {
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "was cancelled",
            JobStatus::Skipped => "was skipped",
            _ => return Ok(seen(false, unfinished(id, patience, url))),
        };
        Ok(seen(false, format!("pipeline {id} {how}{failed}: {url}")))
    }

    /// In brackets, the names of those that failed; nothing where the forge does not tell them.
    async fn failed_jobs(&self, tag: &str, pipeline: u64) -> Result<String, Stop> {
        let (forge, repo) = (&self.outside.forge, &self.place.repo);
        let failed: Result<Vec<Job>, Stop> = self
            .cx
            .step(("smoke-failed", tag), |_| async move {
                forge.failed_jobs(repo, pipeline).await
            })
            .await;
        match failed {
            Ok(failed) if !failed.is_empty() => {
                let names: Vec<&str> = failed.iter().map(|job| job.name.as_str()).collect();
                Ok(format!(" ({})", names.join(", ")))
            }
            Ok(_) | Err(Stop::Fail(_)) => Ok(String::new()),
            Err(stop) => Err(stop),
        }
    }
}

fn unfinished(id: u64, patience: Span, url: &str) -> String {
    format!("pipeline {id} was not over after {patience}: {url}")
}
