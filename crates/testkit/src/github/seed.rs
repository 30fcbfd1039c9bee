use ports::conformance::forge::{PipelineSeed, Placed};
use ports::{JobRef, JobStatus};

use super::FakeGithub;
use super::world::{Job, Run, World};

impl FakeGithub {
    /// Puts a run with its jobs into a repository. Runs have no children, and no jobs that may fail.
    pub fn add_run(&self, path: &str, seed: &PipelineSeed) -> Placed {
        let repo = self.repo(path);
        let (pipeline, jobs) = self.with(|world| plant(world, path, seed));
        let at = |id| JobRef {
            repo: repo.clone(),
            id,
        };
        Placed {
            jobs: jobs.into_iter().map(at).collect(),
            repo,
            pipeline,
        }
    }
}

fn plant(world: &mut World, path: &str, seed: &PipelineSeed) -> (u64, Vec<u64>) {
    let run = world.number();
    let (status, conclusion) = words(seed.status);
    let mut attempts = 1;
    let mut newest = Vec::new();
    for job in &seed.jobs {
        for earlier in 0..=job.earlier_runs {
            let last = earlier == job.earlier_runs;
            let (status, conclusion) = words(if last { job.status } else { JobStatus::Failed });
            let attempt = u32::try_from(earlier + 1).expect("few attempts");
            attempts = attempts.max(attempt);
            let (started_at, completed_at, id) = (world.moment(), world.moment(), world.number());
            let planted = Job {
                id,
                run,
                attempt,
                name: job.name.clone(),
                status: status.to_owned(),
                conclusion: conclusion.map(str::to_owned),
                started_at,
                completed_at: conclusion.map(|_| completed_at),
                log: job.log.clone(),
            };
            world.jobs.insert(id, planted);
            if last {
                newest.push(id);
            }
        }
    }
    let mut known = world.commits.iter();
    let known = known.find(|commit| commit.repo == path && commit.tag == seed.git_ref);
    let sha = known.map_or_else(|| format!("{run:040x}"), |commit| commit.sha.clone());
    let planted = Run {
        id: run,
        repo: path.to_owned(),
        status: status.to_owned(),
        conclusion: conclusion.map(str::to_owned),
        branch: seed.git_ref.clone(),
        sha,
        attempt: attempts,
        event: "push",
        title: "A change".to_owned(),
    };
    world.runs.insert(run, planted);
    (run, newest)
}

/// Status and conclusion.
fn words(status: JobStatus) -> (&'static str, Option<&'static str>) {
    match status {
        JobStatus::Waiting => ("queued", None),
        JobStatus::Running => ("in_progress", None),
        JobStatus::Succeeded => ("completed", Some("success")),
        JobStatus::Failed => ("completed", Some("failure")),
        JobStatus::Cancelled => ("completed", Some("cancelled")),
        JobStatus::Skipped => ("completed", Some("skipped")),
    }
}
