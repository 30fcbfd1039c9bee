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

/// Hears of every statement that changes tasks, whoever makes it: workers do not tell each other what they write.
pub struct Changes(PgListener);

const CHANGED: &str = "longshore_test_changed";

impl Changes {
    pub(super) async fn listen(url: &str) -> Self {
        super::database::run(
            url,
            &format!(
                "CREATE OR REPLACE FUNCTION {CHANGED}() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN PERFORM pg_notify('{CHANGED}', ''); RETURN NULL; END $$;
                 CREATE OR REPLACE TRIGGER {CHANGED} AFTER INSERT OR UPDATE OR DELETE ON tasks
                    FOR EACH STATEMENT EXECUTE FUNCTION {CHANGED}()"
            ),
        )
        .await;
        let mut listener = PgListener::connect(url).await.expect("open a listening session");
        listener.listen(CHANGED).await.expect("listen");
        Self(listener)
    }

    /// Waits for a change that was committed since the last one that this told of, or since it listens.
    pub async fn next(&mut self) {
        self.0.recv().await.expect("a notification");
    }
}
