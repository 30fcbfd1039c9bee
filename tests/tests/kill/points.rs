//! Where a worker is hit. A point has a name, so that it is the same one in every run, whatever the handler and
//! the drainer of notes do at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use testkit::peer::{Fault, Phase, When};

use crate::bench::Bench;
use crate::worker::{Process, signal};

/// A lock that the test holds; the write at the chosen point waits for it.
const GATE: &str = "4711";

/// A place in the work that comes up in every undisturbed run.
#[derive(Clone, Debug)]
pub enum Point {
    /// In the transaction of a row's write, before its commit.
    Row { what: String, nth: usize },
    /// After GitLab did what a request asked, before the answer.
    Answered {
        method: String,
        path: String,
        nth: usize,
    },
    /// When a request has been sent; it gets lost.
    Lost {
        method: String,
        path: String,
        nth: usize,
    },
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Row { what, nth } => write!(f, "before the commit of {what} ({nth})"),
            Self::Answered { method, path, nth } => write!(f, "before the answer to {method} {path} ({nth})"),
            Self::Lost { method, path, nth } => write!(f, "instead of {method} {path} ({nth})"),
        }
    }
}

/// Numbers equal names by their occurrence, from 1.
fn numbered<T: Clone + std::hash::Hash + Eq>(names: Vec<T>) -> Vec<(T, usize)> {
    let mut seen: HashMap<T, usize> = HashMap::new();
    names
        .into_iter()
        .map(|name| {
            let nth = seen.entry(name.clone()).or_default();
            *nth += 1;
            (name, *nth)
        })
        .collect()
}

/// Tells whether the worker was hit at a request.
pub struct Hit(Arc<AtomicBool>);

impl Hit {
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Bench {
    /// From now on each row that a worker writes is noted, and may be made to wait at the gate.
    pub async fn watch_rows(&self) {
        self.sql(&format!(
            "CREATE TABLE test_points (n bigserial, what text);
             CREATE TABLE test_gate (what text, nth bigint);
             CREATE FUNCTION test_point() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE
                 new_row jsonb := to_jsonb(NEW);
                 old_row jsonb := CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) END;
                 name text;
             BEGIN
                 IF current_setting('application_name') <> 'longshore-worker' THEN RETURN NULL; END IF;
                 SELECT concat_ws(' ', task_type, priority, TG_TABLE_NAME, new_row->>'key', lower(TG_OP), new_row->>'status',
                            (SELECT string_agg(key, ',' ORDER BY key) FROM jsonb_each(new_row)
                              WHERE value IS DISTINCT FROM old_row->key AND TG_OP = 'UPDATE'))
                   INTO name FROM tasks WHERE id = coalesce(new_row->>'task_id', new_row->>'id');
                 INSERT INTO test_points (what) VALUES (name);
                 IF EXISTS (SELECT FROM test_gate g WHERE g.what = name
                             AND g.nth = (SELECT count(*) FROM test_points p WHERE p.what = name)) THEN
                     PERFORM pg_advisory_xact_lock({GATE});
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER test_point AFTER INSERT OR UPDATE ON longshore.task_steps FOR EACH ROW EXECUTE FUNCTION test_point();
             CREATE TRIGGER test_point AFTER INSERT OR UPDATE ON longshore.ticket_outbox FOR EACH ROW EXECUTE FUNCTION test_point();
             CREATE TRIGGER test_point AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION test_point();"
        ))
        .await;
    }

    pub async fn rows_written(&self) -> Vec<Point> {
        let rows = self.sql("SELECT what FROM test_points ORDER BY n").await;
        let names = rows.into_iter().filter_map(|mut row| row.remove(0)).collect();
        numbered(names)
            .into_iter()
            .map(|(what, nth)| Point::Row { what, nth })
            .collect()
    }

    /// Each request twice where it changes something: done but unanswered, and lost.
    pub fn requests_made(&self) -> Vec<Point> {
        let made = self.gitlab.requests();
        let made = numbered(made.into_iter().map(|r| (r.method, r.path)).collect());
        made.into_iter()
            .flat_map(|((method, path), nth)| {
                let lost = (method != "GET").then(|| Point::Lost {
                    method: method.clone(),
                    path: path.clone(),
                    nth,
                });
                [Some(Point::Answered { method, path, nth }), lost]
            })
            .flatten()
            .collect()
    }

    /// A worker that gets the signal at the point, and whether it came to that before all was done.
    pub async fn hit(
        &self,
        point: &Point,
        name: &'static str,
        start: impl FnOnce() -> Process,
    ) -> (Process, bool) {
        match point {
            Point::Row { what, nth } => {
                self.shut_gate(what, *nth).await;
                let worker = start();
                self.until("the worker is at the gate", async || {
                    self.is_at_the_gate().await || self.is_done().await
                })
                .await;
                let hit = self.is_at_the_gate().await;
                signal(worker.pid(), name);
                (worker, hit)
            }
            Point::Answered { method, path, nth } | Point::Lost { method, path, nth } => {
                let worker = start();
                let lost = matches!(point, Point::Lost { .. });
                let hit = self.signal_at(method, path, *nth, lost, name, worker.pid());
                self.until("the worker made the request", async || {
                    hit.happened() || self.is_done().await
                })
                .await;
                (worker, hit.happened())
            }
        }
    }

    async fn shut_gate(&self, what: &str, nth: usize) {
        let what = what.replace('\'', "''");
        self.gate
            .lock()
            .await
            .sql(&format!(
                "SELECT pg_advisory_lock({GATE}); INSERT INTO test_gate VALUES ('{what}', {nth})"
            ))
            .await;
    }

    pub async fn open_gate(&self) {
        self.gate
            .lock()
            .await
            .sql("DO $$ BEGIN IF to_regclass('test_gate') IS NOT NULL THEN DELETE FROM test_gate; END IF; END $$;
                  SELECT pg_advisory_unlock_all()")
            .await;
    }

    async fn is_at_the_gate(&self) -> bool {
        self.holds(&format!(
            "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ))
        .await
    }

    fn signal_at(
        &self,
        method: &str,
        path: &str,
        nth: usize,
        lost: bool,
        name: &'static str,
        pid: u32,
    ) -> Hit {
        let hit = Arc::new(AtomicBool::new(false));
        let (told, seen) = (Arc::clone(&hit), AtomicUsize::new(0));
        let (method, path) = (method.to_owned(), path.to_owned());
        let gitlab = Arc::downgrade(&self.gitlab);
        let at = if lost { Phase::Arrived } else { Phase::Done };
        self.gitlab.on_request(move |request, phase| {
            let this = phase == at && request.method == method.as_str() && request.path == path;
            if !this || seen.fetch_add(1, Ordering::SeqCst) + 1 != nth {
                return;
            }
            if let Some(gitlab) = gitlab.upgrade().filter(|_| lost) {
                gitlab.fault(&When::on(&method, &path), &Fault::Cut);
            }
            signal(pid, name);
            told.store(true, Ordering::SeqCst);
        });
        Hit(hit)
    }
}
