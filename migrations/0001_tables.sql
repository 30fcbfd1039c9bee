-- The public contract: `tasks` and `repos` in the connection's default schema, and the clock they tell time by.
-- Programs that are not ours read and write these two tables in plain SQL; columns are added, never taken away.

SET LOCAL lock_timeout = '5s';
SET LOCAL timezone = 'UTC';

CREATE SCHEMA IF NOT EXISTS longshore;
-- Defaults and triggers call functions of this schema in the name of whoever writes to the public tables.
GRANT USAGE ON SCHEMA longshore TO PUBLIC;

-- The one clock of deadlines, leases' starts and `run_at`; tests replace it by a manual one.
CREATE FUNCTION longshore.now() RETURNS timestamptz
LANGUAGE sql STABLE AS 'SELECT statement_timestamp()';

-- Public times are `timestamp` holding UTC, so that a literal without a zone means UTC in every session.
CREATE FUNCTION longshore.utc_now() RETURNS timestamp
LANGUAGE sql STABLE AS $$ SELECT longshore.now() AT TIME ZONE 'UTC' $$;

-- A UUIDv7 as text (RFC 9562, method 3: the 12 bits after the version hold the fraction of the millisecond).
CREATE FUNCTION longshore.uuid7() RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_byte(set_byte(
               overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(micros / 1000) FROM 3) FROM 1 FOR 6),
               6, 112 | ((micros % 1000) * 4096 / 1000 >> 8)::int),
               7, ((micros % 1000) * 4096 / 1000 & 255)::int), 'hex')::uuid::text
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS clock
$$;

-- What a limit on a payload costs: serialising is skipped where the stored form is far too small to break it.
CREATE FUNCTION longshore.json_within(value jsonb, bytes int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN pg_column_size(value) <= bytes / 16 THEN true ELSE octet_length(value::text) <= bytes END
$$;

CREATE TABLE IF NOT EXISTS tasks (
    id text PRIMARY KEY DEFAULT longshore.uuid7(),
    repo_id text,
    task_type text NOT NULL,
    priority integer NOT NULL DEFAULT 5
        CONSTRAINT tasks_priority_from_1_to_10 CHECK (priority BETWEEN 1 AND 10),
    payload jsonb DEFAULT '{}'
        CONSTRAINT tasks_payload_at_most_1_mib CHECK (longshore.json_within(payload, 1048576)),
    status text NOT NULL DEFAULT 'pending'
        CONSTRAINT tasks_status_known CHECK
            (status IN ('pending', 'claimed', 'in_progress', 'waiting', 'completed', 'failed', 'cancelled')),
    assigned_to text,
    created_by text,
    created_at timestamp NOT NULL DEFAULT longshore.utc_now(),
    claimed_at timestamp,
    completed_at timestamp,
    result jsonb,
    error text,
    parent_task_id text,
    -- From here on ours.
    run_at timestamp NOT NULL DEFAULT longshore.utc_now(),
    attempt bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    max_attempts integer,
    worker_id text,
    handler_version integer,
    wait jsonb,
    started_at timestamp,
    deadline_at timestamp
);

CREATE TABLE IF NOT EXISTS repos (
    id text PRIMARY KEY DEFAULT longshore.uuid7(),
    name text NOT NULL,
    gitlab_url text,
    gitlab_project_id text,
    slug text,
    default_branch text NOT NULL DEFAULT 'main',
    autonomy_mode text NOT NULL DEFAULT 'guided'
        CONSTRAINT repos_autonomy_mode_known CHECK (autonomy_mode IN ('guided', 'full')),
    settings jsonb DEFAULT '{}',
    status text NOT NULL DEFAULT 'active'
        CONSTRAINT repos_status_known CHECK (status IN ('active', 'paused', 'archived')),
    created_at timestamp NOT NULL DEFAULT longshore.utc_now(),
    updated_at timestamp NOT NULL DEFAULT longshore.utc_now(),
    provider text NOT NULL DEFAULT 'gitlab'
        CONSTRAINT repos_provider_known CHECK (provider IN ('gitlab', 'github')),
    active boolean NOT NULL
);

-- Hot paths read partial indexes that hold live rows alone, so finished rows cost them nothing.
CREATE INDEX longshore_tasks_pending ON tasks (priority DESC, created_at) WHERE status = 'pending';
CREATE INDEX longshore_tasks_waiting ON tasks (run_at) WHERE status = 'waiting';
CREATE INDEX longshore_tasks_run_by ON tasks (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX longshore_tasks_cancelling ON tasks (id)
    WHERE status = 'cancelled' AND (worker_id IS NOT NULL OR wait IS NOT NULL);
CREATE INDEX longshore_tasks_children ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX longshore_tasks_newest ON tasks (created_at DESC, id DESC);

-- Somebody else's statement wakes idle workers at once; our workers know what they wrote themselves.
CREATE FUNCTION longshore.tell_workers() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') <> 'longshore-worker' THEN
        PERFORM pg_notify('longshore', '');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER longshore_tell_workers_of_inserts AFTER INSERT ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION longshore.tell_workers();
CREATE TRIGGER longshore_tell_workers_of_states AFTER UPDATE OF status ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION longshore.tell_workers();

-- Some programs read and write `active`, others `status`: whichever was written last decides both.
CREATE FUNCTION longshore.keep_repo_state() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status IS NOT DISTINCT FROM OLD.status THEN
        IF NEW.active AND NOT OLD.active THEN
            NEW.status := 'active';
        ELSIF OLD.active AND NOT NEW.active THEN
            NEW.status := 'paused';
        END IF;
    ELSIF TG_OP = 'INSERT' AND NEW.status = 'active' AND NOT NEW.active THEN
        NEW.status := 'paused';
    END IF;
    NEW.active := NEW.status = 'active';
    RETURN NEW;
END
$$;
CREATE TRIGGER longshore_keep_repo_state BEFORE INSERT OR UPDATE OF status, active ON repos
    FOR EACH ROW EXECUTE FUNCTION longshore.keep_repo_state();
