//! What is done about a failed build: running jobs again, handing code over, remembering.

use std::time::Duration;

use domain::{Error, ErrorKind, Idem, NewTask, TaskId};
use durable::{Reconciled, Stop, TaskCx};
use ports::{FlakeVerdict, Job, JobRef, Spend};
use serde_json::json;

use super::judge::Finding;
use super::{Done, FixBuild, Plan, config, report};

impl FixBuild {
    /// Tells the findings that are ours to act on from the jobs that a task for another pipeline acts on: a child
    /// pipeline's failure fails its parent too, and both are reported.
    pub(super) async fn share(
        &self,
        cx: &TaskCx,
        pipeline: &ports::Pipeline,
        findings: &[Finding],
    ) -> Result<(Vec<Finding>, Vec<Job>), Stop> {
        let jobs = findings.iter().filter_map(|finding| finding.job.as_ref());
        let elsewhere: Vec<Job> = cx
            .step("share", |_| async move {
                let mut elsewhere = Vec::new();
                for job in jobs {
                    if !self.is_ours(cx, job, pipeline).await? {
                        elsewhere.push(job.clone());
                    }
                }
                Ok(elsewhere)
            })
            .await?;
        let ours = |finding: &&Finding| {
            let job = finding.job.as_ref();
            job.is_none_or(|job| elsewhere.iter().all(|other| other.at != job.at))
        };
        Ok((findings.iter().filter(ours).cloned().collect(), elsewhere))
    }

    /// The first pipeline that asks gets the job, however often it asks; another one's task must ask an hour later.
    async fn is_ours(&self, cx: &TaskCx, job: &Job, pipeline: &ports::Pipeline) -> Result<bool, Error> {
        let account = format!("failure/{}/{}", job.url, job.at.id);
        let pipeline = format!("fix-build/{}/{}/{}", pipeline.url, pipeline.id, job.at.id);
        for asking in [pipeline.clone(), format!("{pipeline}/{}", cx.task().id)] {
            let answer = self
                .budget
                .spend(&account, 1, config::HOUR, &Idem::new(asking))
                .await?;
            if let Spend::Granted { .. } = answer {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn retry(
        &self,
        cx: &TaskCx,
        plan: &Plan,
        wanted: Vec<&Job>,
        later: bool,
    ) -> Result<Done, Stop> {
        if wanted.is_empty() {
            return Ok(Done::default());
        }
        if later {
            cx.sleep("quota", Duration::from_secs(plan.config.quota_wait_s))
                .await?;
        }
        let mut done = Done::default();
        let mut granted = Vec::new();
        for job in wanted {
            match self.over_budget(cx, plan, job).await? {
                None => granted.push(job),
                Some(limit) => done
                    .refused
                    .push((job.name.clone(), format!("the budget of {limit} is used up"))),
            }
        }
        for job in &granted {
            let others = granted
                .iter()
                .filter(|other| other.pipeline == job.pipeline && other.at != job.at);
            let beside: Vec<JobRef> = others.map(|other| other.at.clone()).collect();
            let beside = &beside;
            let retried = cx
                .effect(("retry", job.at.id))
                .reconcile(|_| async {
                    Ok(self
                        .forge
                        .retry_of(job)
                        .await?
                        .map_or(Reconciled::Absent, Reconciled::Found))
                })
                .run(|idem| async move {
                    let refused = match self.forge.retry_job(&job.at, beside, &idem).await {
                        Err(error) if error.kind == ErrorKind::Conflict => error,
                        answer => return answer,
                    };
                    // It may be refused because it has been done: by a request of ours that was slow to take
                    // effect, or by a person.
                    self.forge.retry_of(job).await?.ok_or(refused)
                })
                .await;
            match retried {
                Ok(job) => done.retried.push(job),
                Err(Stop::Fail(error)) => done.refused.push((job.name.clone(), error.to_string())),
                Err(stop) => return Err(stop),
            }
        }
        if done.retried.is_empty() {
            done.ask = Some("running it again may help, but it could not be run again".to_owned());
        } else if !done.refused.is_empty() {
            done.ask =
                Some("not every failed job could be run again, so the pipeline stays failed".to_owned());
        }
        Ok(done)
    }

    /// Takes one retry from the pipeline's budget and one from the repository's; says which has none left.
    async fn over_budget(&self, cx: &TaskCx, plan: &Plan, job: &Job) -> Result<Option<String>, Stop> {
        let repo_id = cx.task().repo.as_ref().map_or("", |repo| repo.id.as_str());
        let accounts = [
            (
                format!("retry/{repo_id}/{}", job.pipeline),
                plan.config.retries_per_pipeline,
                "retries for this pipeline",
            ),
            (
                format!("retry/{repo_id}"),
                plan.config.retries_per_day,
                "retries a day for this repository",
            ),
        ];
        for (at, (account, limit, of)) in accounts.into_iter().enumerate() {
            let spend = cx
                .step(("budget", at, job.at.id), |idem| async move {
                    self.budget.spend(&account, limit, config::DAY, &idem).await
                })
                .await?;
            if let Spend::Exhausted { limit } = spend {
                return Ok(Some(format!("{limit} {of}")));
            }
        }
        Ok(None)
    }

    pub(super) async fn hand_over(
        &self,
        cx: &TaskCx,
        plan: &Plan,
        findings: &[Finding],
    ) -> Result<TaskId, Stop> {
        let task = cx.task();
        let link = |job: &Job, line| self.forge.log_link(job, line);
        let mut payload = report::brief(plan.pipeline.as_ref(), findings, &link);
        if let (Some(payload), Some(given)) = (payload.as_object_mut(), task.payload.as_object()) {
            for inherited in ["repo_id", "project", "issue", "issue_iid", "merge_request"] {
                if let Some(value) = given.get(inherited) {
                    payload.insert(inherited.to_owned(), value.clone());
                }
            }
        }
        let follow_on = NewTask::new(&plan.config.builder_task, payload)
            .assigned_to(&plan.config.builder)
            .priority(task.priority)
            .repo(task.repo.as_ref().map(|repo| repo.id.clone()));
        cx.spawn("hand-over", follow_on).await
    }

    /// Keeps the verdicts on all jobs that were looked at: the next failure of one is judged by them.
    pub(super) async fn remember(&self, cx: &TaskCx, findings: &[Finding], done: &Done) -> Result<(), Stop> {
        let Some(repo) = &cx.task().repo else {
            return Ok(());
        };
        cx.step("remember", |idem| async move {
            for finding in findings {
                let Some(job) = &finding.job else { continue };
                let verdict = FlakeVerdict {
                    repo_id: repo.id.clone(),
                    job: job.name.clone(),
                    git_ref: job.git_ref.clone(),
                    sha: job.sha.clone(),
                    class: finding.diagnosis.class.name().to_owned(),
                    retried: done.retried.iter().any(|retried| retried.name == job.name),
                    task_id: cx.task().id.clone(),
                    at: None,
                };
                self.flakes.record(&verdict, &idem);
            }
            Ok(json!(findings.len()))
        })
        .await
        .map(|_| ())
    }
}
