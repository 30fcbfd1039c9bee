-- What other systems delivered, stored before it is acknowledged.

CREATE TABLE longshore.inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    -- What makes it the same event again, as the receiver sees it.
    delivery text NOT NULL,
    event text NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT longshore.now(),
    task_id text,
    UNIQUE (source, delivery)
);
CREATE INDEX inbox_by_age ON longshore.inbox (received_at);
