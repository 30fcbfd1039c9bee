-- What went where, when, from which commit, and what became of it. Nothing here refers to a task's row: retention takes
-- tasks away, and these facts stay.
CREATE TABLE longshore.deployments (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    task_id text NOT NULL,
    repo_id text NOT NULL,
    environment text NOT NULL,
    workload text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('deploy', 'rollback')),
    version text NOT NULL,
    strategy text NOT NULL,
    git_ref text,
    sha text,
    committed_at timestamptz,
    previous text,
    asked_at timestamptz NOT NULL DEFAULT longshore.now(),
    started_at timestamptz,
    ended_at timestamptz,
    outcome text CHECK (outcome IN ('succeeded', 'rolled_back', 'failed', 'cancelled', 'superseded')),
    cause text
);
CREATE INDEX deployments_of_environment ON longshore.deployments (repo_id, environment, seq DESC);

-- What failed because of a deployment, and when that was over.
CREATE TABLE longshore.deployment_failures (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    deployment_id text NOT NULL REFERENCES longshore.deployments (id) ON DELETE CASCADE,
    cause text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT longshore.now(),
    recovered_at timestamptz
);
CREATE INDEX failures_of_deployment ON longshore.deployment_failures (deployment_id, seq);
