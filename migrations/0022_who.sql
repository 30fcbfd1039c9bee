-- Who changed a schedule, when and how. An addition alone: a worker of the version before neither reads nor writes it.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

CREATE TABLE longshore.schedule_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A schedule that may be gone, which is one of the changes.
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT longshore.now(),
    -- `made`, `changed`, `enabled`, `disabled`, `run`, `deleted`.
    what text NOT NULL,
    -- A token's name, or a user at a command line.
    by text NOT NULL
);
CREATE INDEX schedule_changes_of_schedule ON longshore.schedule_changes (name, id);
