-- Lists, the dead letters and retention. Nothing here is written when a task is claimed or completed.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

-- Rare states have lists of their own, so that looking for them passes by what was completed.
CREATE INDEX longshore_tasks_failed ON tasks (created_at DESC, id DESC) WHERE status = 'failed';
CREATE INDEX longshore_tasks_cancelled ON tasks (created_at DESC, id DESC) WHERE status = 'cancelled';

-- What errors of one kind have in common: the first line, without ids and numbers. The class of a class is itself.
CREATE FUNCTION longshore.error_class(error text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(regexp_replace(regexp_replace(split_part(btrim(error, E' \n\r\t'), E'\n', 1),
        '\m[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\M|\m(?=[a-f]*[0-9])[0-9a-f]{7,64}\M', '#', 'gi'),
        '[0-9]+', '#', 'g'), 200)
$$;

-- How far retention has come, for each set of agents: it walks from the oldest task to the newest that may go.
CREATE TABLE longshore.retention (
    agents text PRIMARY KEY,
    created_at timestamp NOT NULL,
    id text NOT NULL,
    -- Once a day it begins anew: what was passed by may have ended since.
    pass_began timestamptz NOT NULL
);
