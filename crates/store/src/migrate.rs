use domain::{Error, Result};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, Row};

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

/// The database's migrations beside this program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest that was applied; none where the database was never migrated.
    pub applied: Option<i64>,
    /// This program's that the database lacks.
    pub missing: Vec<i64>,
    /// The database's that this program does not know: a newer one made them.
    pub unknown: Vec<i64>,
}

impl SchemaState {
    /// Whether this program can work on it. What a newer one added does not disturb an older.
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Store {
    pub async fn schema_state(&self) -> Result<SchemaState> {
        let doing = "read the database's version";
        let read = async {
            let mut tx = self.pool().begin().await.doing(doing)?;
            let exists = self
                .query("SELECT to_regclass('longshore.migrations') IS NOT NULL AS there")
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            let mut applied: Vec<i64> = Vec::new();
            if exists.try_get::<bool, _>("there").doing(doing)? {
                let rows = self
                    .query("SELECT version FROM longshore.migrations WHERE success ORDER BY version")
                    .fetch_all(&mut *tx)
                    .await
                    .doing(doing)?;
                for row in rows {
                    applied.push(row.try_get("version").doing(doing)?);
                }
            }
            tx.commit().await.doing(doing)?;
            let ours: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
            Ok(SchemaState {
                applied: applied.last().copied(),
                missing: ours
                    .iter()
                    .filter(|own| !applied.contains(own))
                    .copied()
                    .collect(),
                unknown: applied
                    .iter()
                    .filter(|theirs| !ours.contains(theirs))
                    .copied()
                    .collect(),
            })
        };
        self.within(doing, read).await
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
