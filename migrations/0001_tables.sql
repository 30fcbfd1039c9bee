-- The public contract: `tasks` and `repos` in the connection's default schema, and the clock they tell time by.
-- Programs that are not ours read and write these two tables in plain SQL; columns are added, never taken away.

SET LOCAL lock_timeout = '5s';
SET LOCAL timezone = 'UTC';
SET LOCAL client_min_messages = warning;

-- Asked first: IF NOT EXISTS would demand the right to create it even where it stands.
DO $$ BEGIN IF to_regnamespace('longshore') IS NULL THEN CREATE SCHEMA longshore; END IF; END $$;
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

-- The shapes, written once: they become the public tables, or the model to which tables that stand there
-- already are brought.
CREATE TABLE longshore.tasks (
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

CREATE TABLE longshore.repos (
    id text PRIMARY KEY DEFAULT longshore.uuid7(),
    name text,
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

-- Refuses to go on; the whole migration is undone.
CREATE FUNCTION longshore.refuse(what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'LS001', MESSAGE = what,
        HINT = 'Change or remove it, then migrate again; nothing was changed';
END
$$;

CREATE FUNCTION longshore.can_be(value text, target text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT CAST(%L AS %s)', value, target);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;

-- Brings one column to the model's type, default and nullability; adds it where it is missing.
CREATE FUNCTION longshore.adopt_column(tbl regclass, col text, target text, fallback text, required boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    have record;
    stray record;
    value text := format('NULLIF(btrim(%I::text), %L)', col, '');
    bare boolean;
    message text;
    detail text;
BEGIN
    SELECT format_type(a.atttypid, NULL) AS type, t.typcategory AS category, a.attnotnull AS required
      INTO have FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = tbl AND a.attname = col AND NOT a.attisdropped;
    IF NOT FOUND THEN
        EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s %s %s', tbl, col, target,
            'DEFAULT ' || fallback, CASE WHEN required THEN 'NOT NULL' END);
        RETURN;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I IS NULL)', tbl, col) INTO bare;
    IF bare AND required AND (fallback IS NULL OR col IN ('id', 'status')) THEN
        PERFORM longshore.refuse(format('column %s.%s is empty in some rows, and every row needs it', tbl, col));
    END IF;
    IF have.required AND NOT required THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', tbl, col);
    END IF;
    IF have.type <> target OR (bare AND required) THEN
        value := CASE
            WHEN have.type = target THEN format('%I', col)
            WHEN target = 'text' THEN format('%I::text', col)
            WHEN target LIKE 'timestamp%' AND have.type = 'timestamp with time zone'
                THEN format('(%I AT TIME ZONE %L)', col, 'UTC')
            -- Text without a zone means UTC, an offset is honoured.
            WHEN target LIKE 'timestamp%' THEN format('(%s::timestamptz AT TIME ZONE %L)', value, 'UTC')
            ELSE format('%s::%s', value, target)
        END;
        IF target LIKE 'timestamp%' AND have.category NOT IN ('D', 'S') THEN
            PERFORM longshore.refuse(format('column %s.%s has type %s, which is no time', tbl, col, have.type));
        END IF;
        BEGIN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', tbl, col);
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s USING %s', tbl, col, target,
                CASE WHEN required AND fallback IS NOT NULL THEN format('COALESCE(%s, %s)', value, fallback)
                     ELSE value END);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            FOR stray IN EXECUTE format('SELECT btrim(%I::text) AS value FROM %s WHERE btrim(%1$I::text) <> %3$L',
                                        col, tbl, '') LOOP
                IF NOT longshore.can_be(stray.value, target) THEN
                    PERFORM longshore.refuse(format('column %s.%s holds %L, which cannot become %s', tbl, col,
                        left(stray.value, 200), target));
                END IF;
            END LOOP;
            PERFORM longshore.refuse(concat_ws(': ', format('column %s.%s (%s) cannot become %s', tbl, col, have.type,
                target), message, nullif(detail, '')));
        END;
    END IF;
    IF fallback IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', tbl, col, fallback);
    END IF;
    IF required AND NOT have.required THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', tbl, col);
    END IF;
END
$$;

-- Brings a table to its model, keeping every row, every column and every rule that does not narrow the contract.
CREATE FUNCTION longshore.adopt_table(tbl regclass, model regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    col record;
    rule record;
    theirs jsonb := '{}';
    accept text;
    stray text;
BEGIN
    -- Their rules on a column of words alone are widened by ours; their range of priorities gives way to ours.
    FOR rule IN SELECT c.conname, a.attname, pg_get_expr(c.conbin, c.conrelid) AS accepts
                  FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                 WHERE c.conrelid = tbl AND c.contype = 'c' AND cardinality(c.conkey) = 1
                   AND a.attname IN ('status', 'priority', 'autonomy_mode', 'provider') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', tbl, rule.conname);
        theirs := theirs || jsonb_build_object(rule.attname,
            concat_ws(' AND ', theirs ->> rule.attname, '(' || rule.accepts || ')'));
    END LOOP;

    FOR col IN SELECT a.attname, format_type(a.atttypid, NULL) AS type, pg_get_expr(d.adbin, d.adrelid) AS fallback,
                      a.attnotnull AND a.attname <> 'active' AS required
                 FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = model AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum LOOP
        -- A row with one of these set is one that we run.
        IF col.attname IN ('worker_id', 'wait') AND EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = tbl AND a.attname = col.attname AND NOT a.attisdropped) THEN
            EXECUTE format('SELECT %I::text FROM %s WHERE %1$I IS NOT NULL LIMIT 1', col.attname, tbl) INTO stray;
            IF stray IS NOT NULL THEN
                PERFORM longshore.refuse(format('column %s.%s holds %L of another program, but its name is needed here',
                    tbl, col.attname, left(stray, 200)));
            END IF;
        END IF;
        PERFORM longshore.adopt_column(tbl, col.attname, col.type, col.fallback, col.required);
    END LOOP;

    FOR rule IN SELECT c.conname, a.attname, pg_get_expr(c.conbin, c.conrelid) AS accepts
                  FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                 WHERE c.conrelid = model AND c.contype = 'c' LOOP
        accept := rule.accepts;
        IF rule.attname <> 'priority' AND theirs ? rule.attname THEN
            BEGIN
                accept := format('(%s) OR (%s)', rule.accepts, theirs ->> rule.attname);
                EXECUTE format('SELECT %s FROM %s LIMIT 1', accept, tbl);
            EXCEPTION WHEN OTHERS THEN
                accept := rule.accepts; -- theirs was written for the type that the column had
            END;
        END IF;
        EXECUTE format('SELECT %I::text FROM %s WHERE NOT (%s) LIMIT 1', rule.attname, tbl, accept) INTO stray;
        IF stray IS NOT NULL THEN
            PERFORM longshore.refuse(format('column %s.%s holds %L, which breaks the rule %s', tbl, rule.attname,
                left(stray, 200), rule.conname));
        END IF;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', tbl, rule.conname);
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s)', tbl, rule.conname, accept);
    END LOOP;

    -- Columns of theirs that our rows cannot fill.
    FOR col IN SELECT a.attname FROM pg_attribute a
                WHERE a.attrelid = tbl AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef
                  AND a.attidentity = '' AND a.attname NOT IN ('id', 'task_type', 'active') LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', tbl, col.attname);
    END LOOP;

    IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'id'
                    WHERE i.indrelid = tbl AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                      AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) THEN
        EXECUTE format('SELECT id FROM %s GROUP BY id HAVING count(*) > 1 LIMIT 1', tbl) INTO stray;
        IF stray IS NOT NULL THEN
            PERFORM longshore.refuse(format('column %s.id holds %L more than once', tbl, stray));
        END IF;
        EXECUTE format('ALTER TABLE %s ADD UNIQUE (id)', tbl);
    END IF;
END
$$;

-- Brings `repos.active` and `repos.status` in step: what either calls inactive is inactive.
CREATE FUNCTION longshore.adopt_repo_states(tbl regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    stray boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE active = false AND status = %L)', tbl, 'active') INTO stray;
    IF stray THEN
        EXECUTE format('ALTER TABLE %s ALTER status TYPE text
            USING CASE WHEN status = %L AND active = false THEN %L ELSE status END', tbl, 'active', 'paused');
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE active IS DISTINCT FROM (status = %L))', tbl, 'active') INTO stray;
    IF stray THEN
        EXECUTE format('ALTER TABLE %s ALTER active DROP DEFAULT, ALTER active TYPE boolean USING (status = %L)', tbl, 'active');
    END IF;
    -- An INSERT that names neither must not read as one that says "active".
    EXECUTE format('ALTER TABLE %s ALTER active DROP DEFAULT, ALTER active SET NOT NULL', tbl);
END
$$;

DO $$
DECLARE
    home text := current_schema();
    name text;
    key record;
    keys jsonb := '[]';
    ours regclass[] := '{}';
BEGIN
    FOREACH name IN ARRAY ARRAY['tasks', 'repos'] LOOP
        IF to_regclass(format('%I.%I', home, name)) IS NOT NULL THEN
            IF (SELECT relkind FROM pg_class WHERE oid = to_regclass(format('%I.%I', home, name))) <> 'r' THEN
                PERFORM longshore.refuse(format('%I.%I is not an ordinary table', home, name));
            END IF;
            EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', home, name);
            ours := ours || to_regclass(format('%I.%I', home, name));
        END IF;
    END LOOP;

    -- Foreign keys between the two tables are taken off and put back; of those to and from others both ends
    -- must still fit after the change.
    FOR key IN
        SELECT c.conname, c.conrelid::regclass AS holder, pg_get_constraintdef(c.oid) AS definition,
               c.conrelid = ANY (ours) AND c.confrelid = ANY (ours) AS is_inner,
               bool_or(format_type(mine.atttypid, NULL) <> format_type(model.atttypid, NULL)
                       AND NOT (format_type(model.atttypid, NULL) = 'text'
                                AND format_type(other.atttypid, NULL) IN ('text', 'character varying'))) AS is_broken
          FROM pg_constraint c
          CROSS JOIN LATERAL unnest(c.conkey, c.confkey) AS pair(here, there)
          CROSS JOIN LATERAL (VALUES (c.conrelid, here, c.confrelid, there), (c.confrelid, there, c.conrelid, here))
               AS side(mine, my_column, other, other_column)
          JOIN pg_attribute mine ON mine.attrelid = side.mine AND mine.attnum = side.my_column
          JOIN pg_attribute other ON other.attrelid = side.other AND other.attnum = side.other_column
          JOIN pg_class t ON t.oid = side.mine
          LEFT JOIN pg_attribute model
               ON model.attrelid = to_regclass(format('longshore.%I', t.relname)) AND model.attname = mine.attname
         WHERE c.contype = 'f' AND side.mine = ANY (ours)
         GROUP BY c.oid, c.conname, c.conrelid, c.confrelid LOOP
        IF key.is_inner THEN
            keys := keys || jsonb_build_object('holder', key.holder, 'name', key.conname, 'definition', key.definition);
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.holder, key.conname);
        ELSIF key.is_broken THEN
            PERFORM longshore.refuse(format('foreign key %I of table %s (%s) does not fit the types of the contract',
                key.conname, key.holder, key.definition));
        END IF;
    END LOOP;

    FOREACH name IN ARRAY ARRAY['tasks', 'repos'] LOOP
        IF to_regclass(format('%I.%I', home, name)) IS NULL THEN
            EXECUTE format('ALTER TABLE longshore.%I SET SCHEMA %I', name, home);
        ELSE
            PERFORM longshore.adopt_table(to_regclass(format('%I.%I', home, name)), to_regclass(format('longshore.%I', name)));
            IF name = 'repos' THEN
                PERFORM longshore.adopt_repo_states(to_regclass(format('%I.%I', home, name)));
            END IF;
            EXECUTE format('DROP TABLE longshore.%I', name);
        END IF;
    END LOOP;

    FOR key IN SELECT * FROM jsonb_to_recordset(keys) AS k(holder text, name text, definition text) LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', key.holder, key.name, key.definition);
    END LOOP;
END
$$;

DROP FUNCTION longshore.adopt_repo_states, longshore.adopt_table, longshore.adopt_column, longshore.can_be,
    longshore.refuse;

-- Hot paths read partial indexes that hold live rows alone, so finished rows cost them nothing.
-- What other agents have pending costs ours nothing either.
CREATE INDEX longshore_tasks_pending ON tasks (assigned_to, priority DESC, created_at) WHERE status = 'pending';
CREATE INDEX longshore_tasks_unassigned ON tasks (task_type, priority DESC, created_at)
    WHERE status = 'pending' AND assigned_to IS NULL;
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
