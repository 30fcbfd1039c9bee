//! The private Postgres that everything is measured on: the system's binaries with their default settings, so that a
//! commit is on the disk before it is acknowledged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::cluster::{Binaries, Cluster, ClusterConfig, StopMode};
use store::{Listen, Store};
use tempfile::TempDir;

use crate::Result;

/// Holds the migrated schema; the databases of all rounds are copies of it.
const TEMPLATE: &str = "longshore_template";

pub struct Server {
    cluster: Cluster,
    binaries: Binaries,
    /// Goes after the server: fields are dropped in order.
    _dir: TempDir,
}

impl Server {
    /// Starts it in a new folder inside `parent`, which should be on a real disk.
    pub async fn start(parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("longshore-bench-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(parent)?;
        let cluster = Cluster::start(ClusterConfig::new(dir.path().join("postgres"))).await?;
        let server = Self {
            cluster,
            binaries: Binaries::find(None)?,
            _dir: dir,
        };
        server.admin(&format!("CREATE DATABASE {TEMPLATE}")).await?;
        let store = Store::connect(store::Config {
            listen: Listen::Off,
            ..store::Config::new(server.cluster.url(TEMPLATE))
        })
        .await?;
        store.migrate().await?;
        store.close().await;
        Ok(server)
    }

    /// A program of the same Postgres installation.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.dir().join(name)
    }

    /// A new database with the current schema and nothing in it.
    pub async fn database(&self, name: &str) -> Result<Database> {
        self.copy(TEMPLATE, name).await
    }

    /// A new database that holds what another holds, to which nobody is connected.
    pub async fn copy(&self, template: &str, name: &str) -> Result<Database> {
        self.create(name, template, "FILE_COPY").await
    }

    /// A new database without our schema.
    pub async fn bare_database(&self, name: &str) -> Result<Database> {
        self.create(name, "template1", "WAL_LOG").await
    }

    async fn create(&self, name: &str, template: &str, strategy: &str) -> Result<Database> {
        self.admin(&format!("DROP DATABASE IF EXISTS {name}")).await?;
        // Older servers know but one way of copying.
        let strategy = match self.binaries.major().parse() {
            Ok(15u32..) => format!(" STRATEGY {strategy}"),
            _ => String::new(),
        };
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE {template}{strategy}"))
            .await?;
        Ok(Database {
            url: self.cluster.url(name),
        })
    }

    pub async fn forget(&self, database: &str) -> Result<()> {
        self.admin(&format!("DROP DATABASE {database} WITH (FORCE)"))
            .await
    }

    async fn admin(&self, sql: &str) -> Result<()> {
        let url = self.cluster.url("postgres");
        Database { url }.execute(sql).await
    }

    /// Writes out what earlier rounds left to be written, so that this one does not pay for it.
    pub async fn settle(&self) -> Result<()> {
        self.admin("CHECKPOINT").await
    }

    /// Changes a setting that only a restart brings into force.
    pub async fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.admin(&format!("ALTER SYSTEM SET {name} = '{value}'"))
            .await?;
        self.stop().await?;
        self.resume().await
    }

    pub async fn stop(&mut self) -> Result<()> {
        Ok(self.cluster.stop(StopMode::Fast).await?)
    }

    pub async fn resume(&mut self) -> Result<()> {
        Ok(self.cluster.resume().await?)
    }
}

#[derive(Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    pub async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Sent as it stands: several statements are one transaction.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        execute(&mut connection, sql).await?;
        connection.close().await?;
        Ok(())
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str) -> Result<i64> {
        let numbers = self.numbers(sql).await?;
        Ok(*numbers.first().ok_or("a query gave nothing")?)
    }

    /// The first column of a query.
    pub async fn numbers(&self, sql: &str) -> Result<Vec<i64>> {
        let mut connection = self.connect().await?;
        let numbers = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .map_err(|error| format!("{error}\nin: {sql}"))?;
        connection.close().await?;
        Ok(numbers)
    }
}

pub async fn execute(connection: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *connection)
        .await
        .map_err(|error| format!("{error}\nin: {sql}"))?;
    Ok(())
}
