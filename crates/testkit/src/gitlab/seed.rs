use ports::conformance::forge::{JobSeed, PipelineSeed, Placed};
use ports::{JobRef, JobStatus};

use super::FakeGitlab;
use super::world::{Build, ChildLink, LogText, Pipeline, World};

impl FakeGitlab {
    /// Puts a pipeline with its jobs and children into a project.
    pub fn add_pipeline(&self, path: &str, seed: &PipelineSeed) -> Placed {
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

/// The pipeline's number and those of its own jobs' newest runs.
fn plant(world: &mut World, path: &str, seed: &PipelineSeed) -> (u64, Vec<u64>) {
    let (project, id) = (world.project(path), world.number());
    let known = world.find_commit(project, &seed.git_ref);
    let sha = known.map_or_else(|| format!("{id:040x}"), |commit| commit.sha.clone());
    let pipeline = Pipeline {
        id,
        project,
        status: word(seed.status).to_owned(),
        git_ref: seed.git_ref.clone(),
        sha,
        children: Vec::new(),
        source: "push",
        variables: Vec::new(),
    };
    world.pipelines.insert(id, pipeline);
    let jobs = seed
        .jobs
        .iter()
        .map(|job| plant_runs(world, project, id, job))
        .collect();
    for (index, child) in seed.children.iter().enumerate() {
        let below = if child.in_another_project {
            "group/downstream"
        } else {
            path
        };
        let (below, _) = plant(world, below, &child.pipeline);
        link(world, id, below, &format!("trigger {index}"));
        if child.points_back {
            link(world, below, id, "back");
        }
    }
    (id, jobs)
}

fn link(world: &mut World, from: u64, to: u64, name: &str) {
    let link = ChildLink {
        id: world.number(),
        name: name.to_owned(),
        status: "failed".to_owned(),
        pipeline: Some(to),
    };
    if let Some(parent) = world.pipelines.get_mut(&from) {
        parent.children.push(link);
    }
}

fn plant_runs(world: &mut World, project: u64, pipeline: u64, seed: &JobSeed) -> u64 {
    let mut newest = 0;
    for run in 0..=seed.earlier_runs {
        let is_newest = run == seed.earlier_runs;
        let status = if is_newest { seed.status } else { JobStatus::Failed };
        let (started_at, finished_at, id) = (world.moment(), world.moment(), world.number());
        newest = id;
        let build = Build {
            id,
            project,
            pipeline,
            name: seed.name.clone(),
            stage: "test".to_owned(),
            status: word(status).to_owned(),
            allow_failure: seed.allow_failure,
            failure_reason: (status == JobStatus::Failed).then(|| "script_failure".to_owned()),
            retried: !is_newest,
            started_at: (status != JobStatus::Waiting).then_some(started_at),
            finished_at: status.is_over().then_some(finished_at),
            log: LogText::Bytes(seed.log.clone()),
        };
        world.builds.insert(id, build);
    }
    newest
}

fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Waiting => "pending",
        JobStatus::Running => "running",
        JobStatus::Succeeded => "success",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "canceled",
        JobStatus::Skipped => "skipped",
    }
}
