//! From tested code to what runs: container images, deployments, and the way back.

use super::jobs::{quoted, reads};
use super::{Options, identifier, on_default_branch};
use crate::detect::{Deploying, Found};
use crate::model::{Access, Environment, Job, Note, Pipeline, Service, Tool, ToolKind, When};
use crate::pins;

pub(super) fn add(pipeline: &mut Pipeline, found: &Found, options: &Options, notes: &mut Vec<Note>) {
    let checked: Vec<String> = pipeline.jobs.iter().map(|job| job.id.clone()).collect();
    let mut before = checked.clone();
    if !found.dockerfiles.is_empty() {
        before.clear();
        for dockerfile in &found.dockerfiles {
            let (image, scan) = images(dockerfile, found.dockerfiles.len() > 1, &checked);
            before.push(scan.id.clone());
            pipeline.jobs.extend([image, scan]);
        }
    }
    if !options.deploys {
        return;
    }
    let own = found.deploying.as_ref();
    if own.is_none() {
        notes.push(Note::general(
            "the repository does not say how it is deployed: its pipeline asks longshore to",
            "Set LONGSHORE_URL, LONGSHORE_REPO_ID and the secret LONGSHORE_TOKEN, or add scripts/deploy.sh, which gets the \
             environment's name, and generate again; --no-deploy leaves these jobs out",
        ));
    }
    let mut dev = deployment("deploy_dev", "dev", own);
    dev.needs = Some(before);
    let mut prod = deployment("deploy_prod", "production", own);
    prod.needs = Some(vec![dev.id.clone()]);
    prod.when = When::Manual;
    let back = rollback(&prod, own);
    if back.is_none() {
        notes.push(Note::general(
            "nothing takes a failed deployment back: there is a way to deploy and none to roll back",
            "Add scripts/rollback.sh, which gets the environment's name, and generate again",
        ));
    }
    pipeline.jobs.extend([dev, prod]);
    pipeline.jobs.extend(back);
}

/// Builds an image and pushes it under the commit's id; scans what was pushed.
fn images(dockerfile: &str, several: bool, checked: &[String]) -> (Job, Job) {
    let folder = dockerfile.rsplit_once('/').map_or("", |(folder, _)| folder);
    let name = if several && !folder.is_empty() {
        format!("_{}", identifier(folder))
    } else {
        String::new()
    };
    let below = if several && !folder.is_empty() {
        format!("/{}", identifier(folder))
    } else {
        String::new()
    };
    // Registries take lower case alone, and projects are named otherwise.
    let reference = format!(
        "image=$(printf '%s' \"$CI_REGISTRY_IMAGE{below}:$CI_COMMIT_SHA\" | tr '[:upper:]' '[:lower:]')"
    );
    let mut image = Job::new(format!("package_image{name}"), "package");
    image.needs = Some(checked.to_vec());
    image.run_if = on_default_branch();
    image.image = Some(pins::DOCKER.to_owned());
    image.tools = vec![Tool {
        kind: ToolKind::Docker,
        version: String::new(),
    }];
    image.services = vec![Service {
        image: pins::DOCKER_SERVICE.to_owned(),
        alias: "docker".to_owned(),
        variables: Vec::new(),
    }];
    let context = if folder.is_empty() { "." } else { folder };
    image.script = vec![
        reference.clone(),
        "printf '%s' \"$CI_REGISTRY_PASSWORD\" | docker login --username \"$CI_REGISTRY_USER\" --password-stdin \
         \"$CI_REGISTRY\""
            .to_owned(),
        format!(
            "docker build --pull --label \"org.opencontainers.image.revision=$CI_COMMIT_SHA\" --file {} --tag \"$image\" {}",
            quoted(dockerfile),
            quoted(context)
        ),
        "docker push \"$image\"".to_owned(),
    ];
    image.permissions = reads();
    image.permissions.insert("packages".to_owned(), Access::Write);
    image.timeout_minutes = Some(30);
    image.retries = 1;

    let mut scan = Job::new(format!("scan_image{name}"), "package");
    scan.needs = Some(vec![image.id.clone()]);
    scan.run_if = on_default_branch();
    scan.image = Some(pins::TRIVY.to_owned());
    scan.tools = vec![Tool {
        kind: ToolKind::Image,
        version: String::new(),
    }];
    scan.script = vec![
        reference,
        "export TRIVY_USERNAME=\"$CI_REGISTRY_USER\" TRIVY_PASSWORD=\"$CI_REGISTRY_PASSWORD\"".to_owned(),
        "trivy image --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 --no-progress \"$image\""
            .to_owned(),
    ];
    scan.permissions = reads();
    scan.permissions.insert("packages".to_owned(), Access::Read);
    scan.timeout_minutes = Some(15);
    scan.retries = 1;
    (image, scan)
}

fn deployment(id: &str, environment: &str, own: Option<&Deploying>) -> Job {
    let mut job = Job::new(id, id);
    job.run_if = on_default_branch();
    job.environment = Some(Environment {
        name: environment.to_owned(),
        url: None,
    });
    job.exclusive = true;
    job.permissions = reads();
    job.timeout_minutes = Some(60);
    match own {
        Some(own) => shell(&mut job, environment, &own.deploy),
        None => through_longshore(
            &mut job,
            environment,
            "deploy",
            "{\\\"version\\\": \\\"$CI_COMMIT_SHA\\\", \\\"environment\\\": \\\"$DEPLOY_ENV\\\", \\\"commit\\\": \\\"$CI_COMMIT_SHA\\\"}",
        ),
    }
    job
}

fn rollback(of: &Job, own: Option<&Deploying>) -> Option<Job> {
    let mut job = Job::new("rollback_prod", &of.stage);
    job.needs = Some(vec![of.id.clone()]);
    job.when = When::Failure;
    job.run_if = on_default_branch();
    job.environment = of.environment.clone();
    job.permissions = reads();
    job.timeout_minutes = Some(60);
    match own {
        Some(own) => shell(&mut job, "production", own.rollback.as_ref()?),
        None => through_longshore(
            &mut job,
            "production",
            "rollback",
            "{\\\"environment\\\": \\\"$DEPLOY_ENV\\\"}",
        ),
    }
    Some(job)
}

fn shell(job: &mut Job, environment: &str, command: &str) {
    job.image = Some(pins::SHELL.to_owned());
    job.tools = vec![Tool {
        kind: ToolKind::Native,
        version: String::new(),
    }];
    job.variables = vec![("DEPLOY_ENV".to_owned(), environment.to_owned())];
    job.script = vec![command.to_owned()];
}

/// Makes a task and waits for its end. The answer's fields are read with sed: images of curl have no jq.
fn through_longshore(job: &mut Job, environment: &str, task: &str, payload: &str) {
    job.image = Some(pins::CURL.to_owned());
    job.tools = vec![Tool {
        kind: ToolKind::Native,
        version: String::new(),
    }];
    job.variables = vec![("DEPLOY_ENV".to_owned(), environment.to_owned())];
    job.secrets = ["LONGSHORE_URL", "LONGSHORE_REPO_ID", "LONGSHORE_TOKEN"]
        .map(str::to_owned)
        .to_vec();
    let call =
        "curl --fail-with-body --silent --show-error --header \"Authorization: Bearer $LONGSHORE_TOKEN\"";
    job.script = vec![
        format!(
            "made=$({call} --header 'Content-Type: application/json' --data \"{{\\\"type\\\": \\\"{task}\\\", \\\"repo_id\\\": \
             \\\"$LONGSHORE_REPO_ID\\\", \\\"payload\\\": {payload}}}\" \"$LONGSHORE_URL/api/tasks\")"
        ),
        "task=$(printf '%s' \"$made\" | sed -n 's/.*\"task_id\": *\"\\([^\"]*\\)\".*/\\1/p')".to_owned(),
        "test -n \"$task\"".to_owned(),
        "echo \"$LONGSHORE_URL/tasks/$task\"".to_owned(),
        [
            "while true; do".to_owned(),
            // The stream ends with the task; one that was cut off is asked for again.
            format!(
                "  state=$({{ {call} --no-buffer \"$LONGSHORE_URL/api/tasks/$task/events\" || true; }} | sed -n \
                 's/^data:.*\"state\": *\"\\([a-z_]*\\)\".*/\\1/p' | tail -n 1)"
            ),
            "  case \"$state\" in".to_owned(),
            "    completed) exit 0 ;;".to_owned(),
            "    failed | cancelled) echo \"the task is $state\" >&2; exit 1 ;;".to_owned(),
            "  esac".to_owned(),
            "  sleep 10".to_owned(),
            "done".to_owned(),
        ]
        .join("\n"),
    ];
}
