use std::time::Duration;

use chrono::{DateTime, Utc};

/// A database's clock in the test's hands: `longshore.now()` reads one row, which only the test changes.
///
/// Leases are judged by the server's real clock all the same: a paused worker must lose them in real time.
#[derive(Clone)]
pub struct ManualClock {
    url: String,
}

impl ManualClock {
    pub(super) async fn install(url: String, start: DateTime<Utc>) -> Self {
        super::database::run(
            &url,
            &format!(
                "CREATE TABLE IF NOT EXISTS longshore.test_clock (at timestamptz NOT NULL);
                 GRANT SELECT ON longshore.test_clock TO PUBLIC;
                 DELETE FROM longshore.test_clock;
                 INSERT INTO longshore.test_clock VALUES ('{}');
                 CREATE OR REPLACE FUNCTION longshore.now() RETURNS timestamptz
                 LANGUAGE sql STABLE AS 'SELECT at FROM longshore.test_clock'",
                start.to_rfc3339()
            ),
        )
        .await;
        Self { url }
    }

    /// Moves time on and wakes the workers, as the poll would after that time.
    pub async fn advance(&self, by: Duration) {
        let micros = by.as_micros();
        super::database::run(
            &self.url,
            &format!(
                "UPDATE longshore.test_clock SET at = at + interval '1 microsecond' * {micros};
                 SELECT pg_notify('longshore', '')"
            ),
        )
        .await;
    }
}
