-- Limits on how many tasks run at once, and pauses. Additions alone: a worker of the version before goes on as it did, and
-- knows neither.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

-- A row stands only while it says something. Claims read this table under a lock that whoever writes to it waits for, so
-- that a rule holds from the moment at which it is committed.
CREATE TABLE longshore.queue_rules (
    kind text NOT NULL CONSTRAINT queue_rules_kind_known CHECK (kind IN ('all', 'type', 'repo')),
    -- A task type, or the id of a row of `repos`; empty for everything.
    name text NOT NULL CONSTRAINT queue_rules_name_given CHECK ((name = '') = (kind = 'all')),
    -- Across all workers.
    max_running integer CONSTRAINT queue_rules_max_running_from_1 CHECK (max_running >= 1),
    paused_at timestamptz,
    paused_by text,
    reason text,
    updated_at timestamptz NOT NULL DEFAULT longshore.now(),
    PRIMARY KEY (kind, name),
    CONSTRAINT queue_rules_say_something CHECK (max_running IS NOT NULL OR paused_at IS NOT NULL)
);

-- Whether there is any at all is asked at every claim.
CREATE INDEX longshore_repos_resting ON repos (id) WHERE status IN ('paused', 'archived');
CREATE TRIGGER longshore_tell_workers_of_repos AFTER UPDATE OF status, active ON repos
    FOR EACH STATEMENT EXECUTE FUNCTION longshore.tell_workers();

-- Under rules each group of pending rows that a rule may hold back is looked up by itself, so that a claim reads past none
-- of them. Of columns that may be NULL the expression is kept: only then is a group's order known to the planner.
CREATE INDEX longshore_tasks_grouped
    ON tasks (coalesce(assigned_to, ''), task_type, coalesce(repo_id, ''), priority DESC, created_at, id)
 WHERE live = 'pending';
CREATE INDEX longshore_tasks_grouped_later
    ON tasks (coalesce(assigned_to, ''), task_type, coalesce(repo_id, ''), priority DESC, run_at)
 WHERE live = 'later';
