"""Another program at the same table: makes, claims and finishes tasks of its own agent, in plain SQL.

    orchestrator.py start-up URL            its start-up, each statement inside a savepoint
    orchestrator.py work URL AGENT COUNT    makes COUNT tasks for AGENT and works until all of them are done

Prints one JSON object.
"""

import json
import sys
import uuid
from datetime import datetime, timezone

try:
    import psycopg
except ImportError:
    sys.exit("psycopg is missing: run the tests through scripts/test, which installs it, or `pip install 'psycopg[binary]'`")

START_UP = [
    "CREATE TABLE IF NOT EXISTS tasks (id UUID PRIMARY KEY, repo_id UUID, task_type VARCHAR(50) NOT NULL,"
    " priority INTEGER DEFAULT 5, payload JSONB, status VARCHAR(20) DEFAULT 'pending', assigned_to VARCHAR(50),"
    " created_by VARCHAR(50), created_at TIMESTAMP DEFAULT now(), claimed_at TIMESTAMP, completed_at TIMESTAMP,"
    " result JSONB, error TEXT, parent_task_id UUID)",
    "CREATE TABLE IF NOT EXISTS repos (id UUID PRIMARY KEY, name TEXT NOT NULL, gitlab_url TEXT)",
    "ALTER TABLE tasks ADD COLUMN team TEXT",
    "ALTER TABLE tasks ALTER COLUMN id TYPE TEXT",
    "ALTER TABLE tasks ALTER COLUMN repo_id TYPE TEXT",
    "ALTER TABLE repos ALTER COLUMN id TYPE TEXT",
    "CREATE INDEX IF NOT EXISTS idx_tasks_repo_id ON tasks(repo_id)",
    "CREATE INDEX IF NOT EXISTS idx_tasks_status ON tasks(status)",
    "CREATE INDEX IF NOT EXISTS idx_tasks_priority ON tasks(priority DESC)",
]


def now() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat()


def start_up(url: str) -> dict:
    refused = []
    with psycopg.connect(url) as connection:
        for statement in START_UP:
            try:
                with connection.transaction():
                    connection.execute(statement)
            except psycopg.Error as error:
                refused.append(f"{statement.split('(')[0]}: {error.diag.message_primary}")
    return {"refused": refused}


def work(url: str, agent: str, count: int) -> dict:
    made = [str(uuid.uuid4()) for _ in range(count)]
    claimed = []
    with psycopg.connect(url, autocommit=True) as connection:
        for number, task in enumerate(made):
            payload = json.dumps({"instruction": f"it's number {number}"}).replace("'", "''")
            connection.execute(
                "INSERT INTO tasks (id, task_type, priority, payload, status, assigned_to, created_by, created_at)"
                f" VALUES ('{task}', 'implement_fix', {number % 10 + 1}, '{payload}', 'pending', '{agent}', 'pm', '{now()}')"
            )
        while True:
            row = connection.execute(
                f"UPDATE tasks SET status = 'claimed', assigned_to = '{agent}', claimed_at = '{now()}'"
                " WHERE id = (SELECT id FROM tasks WHERE status = 'pending'"
                f" AND (assigned_to = '{agent}' OR (assigned_to IS NULL AND task_type IN ('implement_fix')))"
                " ORDER BY priority DESC, created_at ASC LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *"
            ).fetchone()
            if row is None:
                break
            # By position, as the contract allows.
            claimed.append({"id": row[0], "priority": row[3], "payload": row[4], "status": row[5]})
            connection.execute(
                f"UPDATE tasks SET status = 'completed', completed_at = '{now()}', result = '{{\"by\": \"{agent}\"}}',"
                f" error = NULL WHERE id = '{row[0]}' AND assigned_to = '{agent}'"
            )
    return {"made": made, "claimed": claimed}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start-up", url]:
            answer = start_up(url)
        case ["work", url, agent, count]:
            answer = work(url, agent, int(count))
        case _:
            sys.exit(__doc__)
    print(json.dumps(answer))
