-- When the first users could get it: what failed before reached nobody, and is no failed change.
ALTER TABLE longshore.deployments ADD COLUMN reached_at timestamptz;
