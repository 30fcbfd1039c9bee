-- What handlers remember from task to task.

-- Verdicts on failed jobs: is this one flaky, was it run again for this commit?
CREATE TABLE longshore.flake_verdicts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repo_id text NOT NULL,
    job text NOT NULL,
    git_ref text NOT NULL,
    sha text NOT NULL,
    class text NOT NULL,
    retried boolean NOT NULL,
    task_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT longshore.now()
);
CREATE INDEX flake_verdicts_of_job ON longshore.flake_verdicts (repo_id, job, id DESC);

-- Answers to requests to spend from a budget, by the step that asked: asking again gives the same answer.
CREATE TABLE longshore.budget_answers (
    idem text PRIMARY KEY,
    account text NOT NULL,
    granted boolean NOT NULL,
    left_over integer NOT NULL,
    at timestamptz NOT NULL DEFAULT longshore.now()
);
CREATE INDEX budget_answers_granted ON longshore.budget_answers (account, at) WHERE granted;
