-- Dedupe keys, cron schedules, and a word to the workers when somebody deletes tasks. Additions alone: a worker of the
-- version before goes on as it did.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

-- Of the tasks with the same key at most one is unfinished, whoever made them; empty means no key. "Unfinished" also
-- covers what was cancelled and is still to be undone. Rows without a key are not in the index and pay nothing.
ALTER TABLE tasks ADD COLUMN IF NOT EXISTS dedupe_key text;
CREATE UNIQUE INDEX longshore_tasks_dedupe ON tasks (dedupe_key)
    WHERE dedupe_key <> '' AND (status NOT IN ('completed', 'failed', 'cancelled')
                                OR status = 'cancelled' AND (worker_id IS NOT NULL OR wait IS NOT NULL));

-- A parent may wait for what was deleted.
CREATE TRIGGER longshore_tell_workers_of_deletes AFTER DELETE ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION longshore.tell_workers();

CREATE TABLE longshore.schedules (
    name text PRIMARY KEY,
    -- Five fields, of an optional sixth in front the seconds, or a nickname such as @daily.
    cron text NOT NULL,
    -- IANA name.
    time_zone text NOT NULL,
    -- What is made at each run: a new task as JSON.
    task jsonb NOT NULL,
    -- What to do when the task of an earlier run is unfinished.
    overlap text NOT NULL CONSTRAINT schedules_overlap_known CHECK (overlap IN ('skip', 'allow')),
    -- What to do with runs that fell into an outage: all of them together once, or none.
    missed text NOT NULL CONSTRAINT schedules_missed_known CHECK (missed IN ('once', 'skip')),
    enabled boolean NOT NULL,
    -- NULL when there is none: it is disabled, or the expression matches no day that will come.
    next_run timestamptz,
    -- The last run that made a task, and that task.
    last_run timestamptz,
    last_task text,
    -- The last run that made none, and why.
    skipped_run timestamptz,
    skipped_why text,
    created_at timestamptz NOT NULL DEFAULT longshore.now(),
    updated_at timestamptz NOT NULL DEFAULT longshore.now()
);
CREATE INDEX schedules_due ON longshore.schedules (next_run) WHERE next_run IS NOT NULL;
