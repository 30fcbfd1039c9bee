-- Whether anybody is to be woken is asked before the function is called: of all that is written to the table, our own
-- workers' claims and results are most.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

CREATE OR REPLACE TRIGGER longshore_tell_workers_of_inserts AFTER INSERT ON tasks
    FOR EACH STATEMENT WHEN (current_setting('application_name') <> 'longshore-worker')
    EXECUTE FUNCTION longshore.tell_workers();
CREATE OR REPLACE TRIGGER longshore_tell_workers_of_states AFTER UPDATE OF status ON tasks
    FOR EACH STATEMENT WHEN (current_setting('application_name') <> 'longshore-worker')
    EXECUTE FUNCTION longshore.tell_workers();
