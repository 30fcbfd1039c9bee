-- Room in each page for all of its rows as claimed, which are some 100 bytes longer, and then for all of them as ended.
SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

ALTER TABLE tasks SET (fillfactor = 40);
