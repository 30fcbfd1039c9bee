//! `fix_build`: why did a build fail, and what is to be done about it?

mod act;
mod config;
mod judge;
mod params;
mod reason;
mod report;

use std::sync::Arc;

use domain::{Error, ErrorKind, RepoRef, Report, TaskId, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use futures_util::StreamExt;
use ports::{BudgetLedger, FlakeHistory, Forge, Job, JobRef, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use config::Config;
use judge::{Decision, Finding};
use params::Subject;
pub use params::{JobParam, Params, PipelineParam};

use crate::diagnose::{Context, Diagnosis, RuleSet, Scanner};

/// How many earlier verdicts on a job are looked at.
const HISTORY: u32 = 50;

/// Reads the logs of a failed build, says why it failed, runs flaky jobs again within a budget and hands code
/// faults to whoever mends code.
pub struct FixBuild {
    forge: Arc<dyn Forge>,
    flakes: Arc<dyn FlakeHistory>,
    budget: Arc<dyn BudgetLedger>,
    config: Config,
}

/// What the first step settles; nothing later reads settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    config: Config,
    may_retry: bool,
    /// The pipeline to look at, unless it is a single job or an inline log.
    pipeline: Option<ports::Pipeline>,
}

/// The failed jobs that are looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Failed {
    jobs: Vec<Job>,
    /// Further ones that are not, and how many of these block the pipeline.
    #[serde(default)]
    unread: usize,
    #[serde(default)]
    unread_blocking: usize,
    /// The pipeline as it was when no failed job was found in it: it may have gone on since the task began.
    #[serde(default)]
    pipeline: Option<ports::Pipeline>,
}

/// What was done about a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) retried: Vec<Job>,
    /// Jobs whose retry was refused, and why.
    pub(crate) refused: Vec<(String, String)>,
    pub(crate) follow_on: Option<TaskId>,
    /// What a person must do.
    pub(crate) ask: Option<String>,
    /// Failed jobs that were not looked at.
    pub(crate) unread: usize,
    /// Failed jobs that another task acts on: a child pipeline's failure fails its parent too, and both are reported.
    pub(crate) elsewhere: Vec<Job>,
}

impl FixBuild {
    pub fn new(
        forge: Arc<dyn Forge>,
        flakes: Arc<dyn FlakeHistory>,
        budget: Arc<dyn BudgetLedger>,
        config: Config,
    ) -> Self {
        Self {
            forge,
            flakes,
            budget,
            config,
        }
    }
}

/// Read when the first log is: a worker whose builds do not fail needs none.
fn rules() -> Result<&'static RuleSet, Error> {
    RuleSet::builtin().map_err(|error| Error::internal("the built-in rules cannot be read").because(&error))
}

impl Handler for FixBuild {
    const TASK_TYPES: &'static [&'static str] = &["fix_build"];
    type Params = Params;

    fn parse(&self, payload: &Value) -> Result<Params, Error> {
        let params: Params = durable::from_payload(payload)?;
        params.subject()?;
        Ok(params)
    }

    async fn run(&self, cx: &TaskCx, params: &Params) -> Result<Report, Stop> {
        let subject = params.subject()?;
        let plan: Plan = cx.step("plan", |_| self.plan(cx, params, &subject)).await?;
        let failed = self.failed_jobs(cx, &subject, &plan).await?;
        let jobs = &failed.jobs;
        if let Some(pipeline) = &failed.pipeline {
            return Ok(report::nothing_failed(pipeline));
        }
        let findings = match &subject {
            Subject::Log => vec![self.read_inline(cx, params).await?],
            _ => self.read_jobs(cx, jobs).await?,
        };
        let by_name = matches!(subject, Subject::Job { only_retry: true, .. });
        let decision = if by_name {
            // Somebody asked for this retry by name; the diagnosis is only told.
            Decision::Retry { later: false }
        } else {
            self.decide(&plan, &findings, failed.unread_blocking)
        };
        let (own, elsewhere) = match (&decision, &plan.pipeline) {
            (Decision::Retry { .. } | Decision::HandOver, Some(pipeline)) => {
                self.share(cx, pipeline, &findings).await?
            }
            _ => (findings.clone(), Vec::new()),
        };
        let mut done = match &decision {
            Decision::Retry { later } => {
                let wanted = own.iter().filter_map(|finding| finding.job.as_ref());
                let wanted = wanted.filter(|job| by_name || !job.allow_failure).collect();
                self.retry(cx, &plan, wanted, *later).await?
            }
            Decision::HandOver if self.decide(&plan, &own, failed.unread_blocking) == Decision::HandOver => {
                let follow_on = self.hand_over(cx, &plan, &own).await?;
                Done {
                    follow_on: Some(follow_on),
                    ..Done::default()
                }
            }
            // The code fault among them is another task's.
            Decision::HandOver => Done::default(),
            Decision::Ask { why } => Done {
                ask: Some(why.clone()),
                ..Done::default()
            },
            Decision::Nothing => Done::default(),
        };
        done.unread = failed.unread;
        done.elsewhere = elsewhere;
        self.remember(cx, &findings, &done).await?;
        let link = |job: &Job, line| self.forge.log_link(job, line);
        // What was acted on is told first.
        let others = findings.into_iter().filter(|finding| !own.contains(finding));
        let told: Vec<Finding> = own.iter().cloned().chain(others).collect();
        Ok(report::told(
            &plan.config,
            plan.pipeline.as_ref(),
            &told,
            &done,
            &link,
        ))
    }

    /// A retry or a follow-on task cannot be taken back and need not be: both are safe to leave.
    async fn unwind(&self, _: &TaskCx, _: &Params, cause: &Cause) -> Result<Report, Stop> {
        let mut report = cause.report();
        if cause
            .error()
            .is_some_and(|error| error.kind == ErrorKind::Invalid)
        {
            report.verdict = Verdict::Failed;
        }
        Ok(report)
    }
}

impl FixBuild {
    async fn plan(&self, cx: &TaskCx, params: &Params, subject: &Subject) -> Result<Plan, Error> {
        let settings = cx
            .task()
            .repo
            .as_ref()
            .map_or(&Value::Null, |repo| &repo.settings);
        let config = self.config.with_settings(settings)?;
        let pipeline = match subject {
            Subject::Log | Subject::Job { .. } => None,
            Subject::Pipeline(id) => Some(self.forge.pipeline(repo(cx)?, *id).await?),
            Subject::Branch(git_ref) => Some(
                self.forge
                    .latest_pipeline(repo(cx)?, git_ref)
                    .await?
                    .ok_or_else(|| {
                        Error::not_found(format!(
                            "there is no pipeline of {git_ref:?} in {}",
                            cx.task().repo.as_ref().map_or("", |r| &r.name)
                        ))
                        .next("Check the branch's or tag's name, or name the pipeline: `fix pipeline 4711`")
                    })?,
            ),
        };
        Ok(Plan {
            config,
            may_retry: params.retry.unwrap_or(true),
            pipeline,
        })
    }

    async fn failed_jobs(&self, cx: &TaskCx, subject: &Subject, plan: &Plan) -> Result<Failed, Stop> {
        let limit = plan.config.jobs;
        match (subject, &plan.pipeline) {
            (Subject::Job { id, only_retry }, _) => {
                let at = JobRef {
                    repo: repo(cx)?.clone(),
                    id: *id,
                };
                cx.step("job", |_| async move {
                    let job = self.forge.job(&at).await?;
                    if !only_retry && !job.status.is_over() {
                        // Half a log tells nothing; this is tried again later.
                        return Err(Error::unavailable(format!(
                            "job {} ({}) has not ended yet",
                            job.at.id, job.name
                        )));
                    }
                    Ok(Failed {
                        jobs: vec![job],
                        ..Failed::default()
                    })
                })
                .await
            }
            (_, Some(pipeline)) => {
                let at = repo(cx)?;
                cx.step("failed-jobs", |_| async move {
                    let mut jobs = self.forge.failed_jobs(at, pipeline.id).await?;
                    let unread = jobs.split_off(limit.min(jobs.len()));
                    let now = match jobs.is_empty() {
                        true => Some(self.forge.pipeline(at, pipeline.id).await?),
                        false => None,
                    };
                    Ok(Failed {
                        jobs,
                        unread: unread.len(),
                        unread_blocking: unread.iter().filter(|job| !job.allow_failure).count(),
                        pipeline: now,
                    })
                })
                .await
            }
            (_, None) => Ok(Failed::default()),
        }
    }

    fn decide(&self, plan: &Plan, findings: &[Finding], unread: usize) -> Decision {
        let passed = plan
            .pipeline
            .as_ref()
            .is_some_and(|pipeline| pipeline.status == JobStatus::Succeeded);
        if passed {
            // Whatever failed was allowed to.
            return Decision::Nothing;
        }
        judge::decide(findings, unread, &plan.config, plan.may_retry)
    }

    async fn read_inline(&self, cx: &TaskCx, params: &Params) -> Result<Finding, Stop> {
        let job = params.job.clone().unwrap_or_default();
        let context = Context {
            job: job.name,
            stage: job.stage,
            exit_code: job.exit_code,
        };
        let log = params.log.as_deref().unwrap_or_default();
        let diagnosis = cx
            .step("diagnose", |_| async {
                Ok(crate::diagnose::diagnose_bytes(
                    rules()?,
                    log.as_bytes(),
                    &context,
                ))
            })
            .await?;
        Ok(Finding {
            job: None,
            diagnosis,
            retried_before: 0,
        })
    }

    async fn read_jobs(&self, cx: &TaskCx, jobs: &[Job]) -> Result<Vec<Finding>, Stop> {
        let mut findings = Vec::with_capacity(jobs.len());
        for job in jobs {
            let finding = cx
                .step(("diagnose", job.at.id), |_| async move {
                    let diagnosis = reason::settle(self.read_log(job).await?, job);
                    let history = match &cx.task().repo {
                        Some(repo) => self.flakes.recent(&repo.id, &job.name, HISTORY).await?,
                        None => Vec::new(),
                    };
                    let retried_before = judge::retried_before(&history, &job.sha);
                    Ok(Finding {
                        job: Some(job.clone()),
                        diagnosis,
                        retried_before,
                    })
                })
                .await?;
            findings.push(finding);
        }
        Ok(findings)
    }

    /// Reads a job's log as it streams in; memory does not grow with it. One that is gone or hidden explains nothing
    /// and must not keep the other jobs' logs from being read.
    async fn read_log(&self, job: &Job) -> Result<Diagnosis, Error> {
        let mut scanner = Scanner::new(rules()?);
        let context = Context {
            job: Some(job.name.clone()),
            stage: Some(job.stage.clone()).filter(|stage| !stage.is_empty()),
            exit_code: job.exit_code.and_then(|code| i32::try_from(code).ok()),
        };
        let mut log = match self.forge.log(&job.at).await {
            Ok(log) => log,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => {
                let mut diagnosis = scanner.finish(&context);
                diagnosis.why = format!("The log cannot be read: {}", error.what);
                for cause in &error.causes {
                    diagnosis.why.push_str(&format!(": {cause}"));
                }
                if let Some(next) = error.next {
                    diagnosis.advice = next;
                }
                return Ok(diagnosis);
            }
            Err(error) => return Err(error),
        };
        while let Some(piece) = log.next().await {
            scanner.feed(&piece?);
        }
        Ok(scanner.finish(&context))
    }
}

fn repo(cx: &TaskCx) -> Result<&RepoRef, Error> {
    cx.task().repo.as_ref().map(|repo| &repo.at).ok_or_else(|| {
        Error::invalid("the task names no repository, so there is nowhere to look for the build")
            .next("Set repo_id to one of `longshore repos list`, or send the log itself as payload.log")
    })
}
