-- What workers remember: who lives, what each task did, who holds what.

CREATE TABLE longshore.workers (
    id text PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    -- The agent names it claims for, the first being its own.
    agents text[] NOT NULL,
    -- TYPE/VERSION of every handler version that it can run or resume.
    serves text[] NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- One lease for all its tasks, on the real clock: a frozen test clock must not keep the dead alive.
    lease_until timestamptz NOT NULL
);

-- The journal: one row a step. Without an outcome it was begun and is not known to be done.
CREATE TABLE longshore.task_steps (
    task_id text NOT NULL,
    scope text NOT NULL,
    seq integer NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    outcome jsonb,
    -- Of a sleep or a limited wait, absolute from its first attempt on.
    deadline timestamptz,
    attempt bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    PRIMARY KEY (task_id, scope, seq)
);

-- What people read as a task's history.
CREATE TABLE longshore.task_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT longshore.now(),
    kind text NOT NULL,
    attempt bigint NOT NULL,
    worker_id text,
    summary text NOT NULL
);
CREATE INDEX task_events_of_task ON longshore.task_events (task_id, id);

-- Queues for named resources: the lowest position holds.
CREATE TABLE longshore.resource_locks (
    resource text NOT NULL,
    task_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    since timestamptz NOT NULL DEFAULT longshore.now(),
    PRIMARY KEY (resource, task_id)
);
CREATE INDEX resource_locks_in_order ON longshore.resource_locks (resource, position);
CREATE INDEX resource_locks_of_task ON longshore.resource_locks (task_id);

-- Approvals and callbacks on their way to a task; a row goes when the task has taken it.
CREATE TABLE longshore.signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text NOT NULL,
    name text NOT NULL,
    value jsonb NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT longshore.now()
);
CREATE INDEX signals_of_task ON longshore.signals (task_id, name, id);

-- Few rows: parents that wait for children, which other programs may end.
CREATE INDEX longshore_tasks_awaiting ON tasks (id) WHERE status = 'waiting' AND wait ? 'children';
