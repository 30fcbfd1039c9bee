#!/usr/bin/env python3
"""Reads and writes GitLab issues: `longshore gitlab` under the name that agents know.

gitlab_ops.py issue-comment --repo-id ID --iid N --body TEXT [--dry-run]

Also issue-update, issue-create, issue-get, issue-list and webhook-ensure; `--help` shows all of it.
The token stands in GITLAB_TOKEN.
"""

from _longshore import become

if __name__ == "__main__":
    become("gitlab")
