use domain::{Error, Result};
use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};

use crate::Store;
use crate::error::{SqlResult, describe};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Asked first: `IF NOT EXISTS` would demand the right to create it even where it stands.
const OUR_SCHEMA: &str =
    "DO $$ BEGIN IF to_regnamespace('longshore') IS NULL THEN CREATE SCHEMA longshore; END IF; END $$";

impl Store {
    /// Brings the database to this program's schema. Everything happens in one transaction, one program at a
    /// time: on any error nothing has changed, the record of migrations included.
    pub async fn migrate(&self) -> Result<()> {
        let (mut connection, direct) = self.dedicated("migrate the database").await?;
        let mut tx = connection.begin().await.doing("migrate the database")?;
        // The migrator prepares by name; behind a pooler such names outlive the client.
        let forget_names = || sqlx::raw_sql(if direct { "" } else { "DEALLOCATE ALL" });
        forget_names()
            .execute(&mut *tx)
            .await
            .doing("migrate the database")?;
        // Held to the transaction's end, unlike the migrator's own lock, which lives in a session.
        sqlx::raw_sql("SELECT pg_advisory_xact_lock(x'6c6f6e6773686f72'::bigint)")
            .execute(&mut *tx)
            .await
            .doing("wait for another program's migration")?;
        sqlx::raw_sql(OUR_SCHEMA)
            .execute(&mut *tx)
            .await
            .doing("make the schema longshore")?;
        migrator()
            .run_direct(None, &mut *tx, false)
            .await
            .map_err(explain)?;
        forget_names()
            .execute(&mut *tx)
            .await
            .doing("migrate the database")?;
        tx.commit().await.doing("migrate the database")
    }
}

/// Names the schema that this program expects: the same for the same migrations.
pub fn schema_fingerprint() -> String {
    let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter()) {
        digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{digest:016x}")
}

fn migrator() -> Migrator {
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.dangerous_set_table_name("longshore.migrations");
    migrator.set_locking(false);
    migrator
}

fn explain(error: MigrateError) -> Error {
    let nothing = "Nothing was changed";
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            let described = describe(&error, "migrate the database");
            if described.next.is_some() {
                described
            } else {
                described.next(nothing)
            }
        }
        MigrateError::VersionMissing(version) => Error::conflict(format!(
            "the database holds migration {version}, which this program does not know"
        ))
        .next("It was made by a newer longshore: use that one"),
        MigrateError::VersionMismatch(version) => Error::conflict(format!(
            "migration {version} of the database differs from this program's"
        ))
        .next("They were made from different sources: use the program that made the database"),
        other => Error::internal("could not migrate the database")
            .because(&other)
            .next(nothing),
    }
}
