//! The forge's own word on a failed job, where its log does not tell the cause: a job that no runner took has no log.

use ports::{Job, JobStatus};

use crate::diagnose::{Class, Diagnosis, Retry};

/// How sure a diagnosis is that stands on the forge's word alone.
const CONFIDENCE: f64 = 0.8;

struct Known {
    reasons: &'static [&'static str],
    class: Class,
    retry: Retry,
    why: &'static str,
    advice: &'static str,
}

/// The reasons that tell more than that a script failed, in the forges' words (Job.failure_reason, and the conclusion
/// of a run's job).
const KNOWN: [Known; 8] = [
    Known {
        reasons: &[
            "runner_system_failure",
            "api_failure",
            "scheduler_failure",
            "data_integrity_failure",
        ],
        class: Class::InfraRunner,
        retry: Retry::Now,
        why: "The machinery that runs the jobs broke, not the job's script.",
        advice: "If it comes back, look at the runner's own log and health.",
    },
    Known {
        reasons: &["stuck_or_timeout_failure"],
        class: Class::InfraRunner,
        retry: Retry::Now,
        why: "No runner took the job in time, or the one that did was not heard of again.",
        advice: "If it comes back, check that a runner with the job's tags is online and has room.",
    },
    Known {
        reasons: &["no_matching_runner", "runner_unsupported"],
        class: Class::InfraRunner,
        retry: Retry::No,
        why: "No runner there is can run this job.",
        advice: "Bring a runner with the job's tags online, or change the job's tags.",
    },
    Known {
        reasons: &["job_execution_timeout", "timed_out"],
        class: Class::Timeout,
        retry: Retry::No,
        why: "The job ran longer than it may.",
        advice: "Find out what takes so long, or raise the job's time limit.",
    },
    Known {
        reasons: &["missing_dependency_failure"],
        class: Class::Artifact,
        retry: Retry::No,
        why: "Artifacts that the job needs from an earlier one are gone or were never made.",
        advice: "Run the job again that makes them, and look at how long artifacts are kept.",
    },
    Known {
        reasons: &[
            "user_blocked",
            "protected_environment_failure",
            "insufficient_bridge_permissions",
            "insufficient_upstream_permissions",
            "ip_restriction_failure",
        ],
        class: Class::Permission,
        retry: Retry::No,
        why: "Whoever started the job may not run it.",
        advice: "Give the rights, or have somebody start it who holds them.",
    },
    Known {
        reasons: &[
            "deployment_rejected",
            "forward_deployment_failure",
            "failed_outdated_deployment_job",
        ],
        class: Class::DeployFailure,
        retry: Retry::No,
        why: "The deployment was refused: it was rejected by a person, or a newer one went ahead of it.",
        advice: "Look at the environment's newest deployment before anything is deployed again.",
    },
    Known {
        reasons: &[
            "ci_quota_exceeded",
            "unmet_prerequisites",
            "environment_creation_failure",
            "secrets_provider_not_found",
            "archived_failure",
            "stale_schedule",
            "builds_disabled",
            "project_deleted",
            "trace_size_exceeded",
            "startup_failure",
            "pipeline_loop_detected",
            "invalid_bridge_trigger",
            "downstream_bridge_project_not_found",
            "downstream_pipeline_creation_failed",
        ],
        class: Class::ConfigError,
        retry: Retry::No,
        why: "The job could not be started, or not be kept running, as things are set up.",
        advice: "Put right what the reason names; the job's page has the details.",
    },
];

/// The diagnosis of a job's log, with what the forge itself says of the job. The log's own cause is never overruled.
pub(super) fn settle(mut diagnosis: Diagnosis, job: &Job) -> Diagnosis {
    if job.status == JobStatus::Failed && diagnosis.class == Class::Success {
        diagnosis.class = Class::Unknown;
        diagnosis.kind = Class::Unknown.kind();
        diagnosis.confidence = 0.5;
        diagnosis.why = "The cause is not in this log: it ends well, and yet the job failed.".to_owned();
        diagnosis.advice =
            "Look at what comes after the script: artifacts, caches, limits, the runner.".to_owned();
    }
    if diagnosis.class != Class::Unknown {
        return diagnosis;
    }
    let reason = job.failure_reason.as_deref().unwrap_or_default();
    let Some(known) = KNOWN.iter().find(|known| known.reasons.contains(&reason)) else {
        return diagnosis;
    };
    Diagnosis {
        class: known.class,
        kind: known.class.kind(),
        retry: known.retry,
        confidence: CONFIDENCE,
        why: known.why.to_owned(),
        advice: known.advice.to_owned(),
        ..diagnosis
    }
}
