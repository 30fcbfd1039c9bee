-- The raw limit's own table: as small and as lightly indexed as a queue's table can be. It is fixed, so that figures of
-- different days and machines can be held against each other; ROWS is put in by the program.
drop table if exists t;
create table t(id uuid primary key default gen_random_uuid(), repo_id uuid, task_type text not null, priority int not null default 5, payload jsonb not null default '{}', status text not null default 'pending', assigned_to text, created_by text, created_at timestamptz not null default now(), claimed_at timestamptz, completed_at timestamptz, result jsonb, error text, parent_task_id uuid, run_at timestamptz not null default now(), attempt int not null default 0, lease_expires_at timestamptz) with (fillfactor=70);
create index t_ready on t(priority desc, run_at) where status='pending';
create index t_lease on t(lease_expires_at) where status='in_progress';
insert into t(task_type,payload) select 'deploy', jsonb_build_object('i',i,'pad',repeat('x',200)) from generate_series(1,:ROWS) i;
