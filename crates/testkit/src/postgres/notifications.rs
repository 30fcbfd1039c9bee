use sqlx::postgres::PgListener;

/// Counts what the table tells the workers.
pub struct Notifications {
    url: String,
    listener: PgListener,
}

/// Sent after everything else: what was told before it has arrived before it.
const MARK: &str = "longshore_test_mark";

impl Notifications {
    pub(super) async fn listen(url: &str) -> Self {
        let mut listener = PgListener::connect(url).await.expect("open a listening session");
        listener.listen_all(["longshore", MARK]).await.expect("listen");
        Self {
            url: url.to_owned(),
            listener,
        }
    }

    /// How many were told since the last count.
    pub async fn count(&mut self) -> usize {
        super::database::run(&self.url, &format!("NOTIFY {MARK}")).await;
        let mut count = 0;
        while self.listener.recv().await.expect("a notification").channel() != MARK {
            count += 1;
        }
        count
    }
}
