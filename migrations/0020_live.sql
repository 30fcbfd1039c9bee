-- Ending a task changes no index. The indexes of unfinished tasks ask for `live`, which is NULL both of a task that a
-- worker of ours runs and of a completed one, so that its last update stays in its page (a heap-only tuple). What runs is
-- found by `longshore.claims` instead: one row for each claim.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

-- Room for the row as claimed and as ended beside the row as inserted; what is rewritten below gets it too.
ALTER TABLE tasks SET (fillfactor = 60);
-- Rewrites the table: the one time that a large one is shut for longer than a moment.
ALTER TABLE tasks
    ADD COLUMN live text GENERATED ALWAYS AS (
        CASE status
            -- What is put off for long is not walked through until it is due.
            WHEN 'pending' THEN CASE WHEN run_at > created_at + interval '1 minute' THEN 'later' ELSE 'pending' END
            WHEN 'waiting' THEN 'waiting'
            -- By another program, though a worker of ours may have had it before.
            WHEN 'claimed' THEN 'taken'
            WHEN 'in_progress' THEN CASE WHEN worker_id IS NULL THEN 'taken' END
            WHEN 'failed' THEN 'failed'
            WHEN 'cancelled' THEN CASE WHEN worker_id IS NULL AND wait IS NULL THEN 'cancelled' ELSE 'cancelling' END
        END) STORED,
    -- The dedupe key of a task that is not over.
    ADD COLUMN open_key text GENERATED ALWAYS AS (
        CASE WHEN status IN ('completed', 'failed') OR status = 'cancelled' AND worker_id IS NULL AND wait IS NULL
             THEN NULL ELSE nullif(dedupe_key, '') END) STORED;

DROP INDEX longshore_tasks_pending, longshore_tasks_unassigned, longshore_tasks_waiting, longshore_tasks_awaiting,
    longshore_tasks_run_by, longshore_tasks_taken, longshore_tasks_cancelling, longshore_tasks_failed,
    longshore_tasks_cancelled, longshore_tasks_dedupe;

-- By priority, then first come, first served. What other agents have pending costs ours nothing. Each pending task is in one
-- of the two.
CREATE INDEX longshore_tasks_pending ON tasks (assigned_to, priority DESC, created_at, id)
    WHERE live = 'pending' AND assigned_to IS NOT NULL;
CREATE INDEX longshore_tasks_unassigned ON tasks (task_type, priority DESC, created_at, id)
    WHERE live = 'pending' AND assigned_to IS NULL;
CREATE INDEX longshore_tasks_later ON tasks (assigned_to, priority, run_at) WHERE live = 'later';
CREATE INDEX longshore_tasks_waiting ON tasks (run_at) WHERE live = 'waiting';
CREATE INDEX longshore_tasks_awaiting ON tasks (id) WHERE live = 'waiting' AND wait ? 'children';
CREATE INDEX longshore_tasks_taken ON tasks (task_type) WHERE live = 'taken';
CREATE INDEX longshore_tasks_cancelling ON tasks (id) WHERE live = 'cancelling';
CREATE INDEX longshore_tasks_failed ON tasks (created_at DESC, id DESC) WHERE live = 'failed';
CREATE INDEX longshore_tasks_cancelled ON tasks (created_at DESC, id DESC) WHERE live IN ('cancelled', 'cancelling');
CREATE UNIQUE INDEX longshore_tasks_dedupe ON tasks (open_key) WHERE open_key IS NOT NULL;

-- What each living worker may be running: the tasks of a claim, until all of them have been written down as ended or parked.
CREATE TABLE longshore.claims (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker_id text NOT NULL,
    tasks text[] NOT NULL
);
CREATE INDEX claims_of_worker ON longshore.claims (worker_id);
-- A row lives for as long as its tasks run: not worth compressing.
ALTER TABLE longshore.claims ALTER COLUMN tasks SET STORAGE EXTERNAL;
INSERT INTO longshore.claims (worker_id, tasks)
    SELECT worker_id, array_agg(id) FROM tasks WHERE worker_id IS NOT NULL AND status = 'in_progress' GROUP BY worker_id;

-- As before: 48 bits of milliseconds, 12 of their fraction, the rest random. One expression over one look at the clock,
-- so that Postgres puts it into the statement instead of calling a function for each row.
CREATE OR REPLACE FUNCTION longshore.uuid7() RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT (overlay(lpad(to_hex((date_part('epoch', clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '7' FROM 13 FOR 0)
            || right(gen_random_uuid()::text, 17))::uuid::text
$$;
