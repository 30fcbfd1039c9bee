#!/usr/bin/env python3
"""Creates a task: `longshore create-task` under the name that agents know.

create_task.py --task-type deploy --repo-id ID --instruction "deploy v1.4.2 to staging"
    [--agent NAME] [--priority 1..10] [--payload-json JSON] [--parent-task-id ID]
    [--created-by NAME] [--dashboard-url URL]

`--help` shows all of it. The URL may also stand in DASHBOARD_URL.
"""

from _longshore import become

if __name__ == "__main__":
    become("create-task")
