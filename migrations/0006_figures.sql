-- What monitoring counts is read from live rows alone, as everything on a hot path.
SET LOCAL lock_timeout = '5s';

CREATE INDEX longshore_tasks_taken ON tasks (task_type) WHERE status IN ('claimed', 'in_progress');
CREATE INDEX ticket_outbox_given_up ON longshore.ticket_outbox (task_id) WHERE failed IS NOT NULL;
