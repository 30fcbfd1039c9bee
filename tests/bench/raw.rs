//! The raw limit: how many rows a second this server takes through "claim 500, finish 500" in plain SQL, from two
//! connections, with nothing around it. What a queue does is told as a share of this.

use tokio::process::Command;

use crate::Result;
use crate::server::Server;

pub const SCHEMA: &str = include_str!("raw-limit-schema.sql");
const SCRIPT: &str = include_str!("raw-limit-500.sql");
/// Rows that one run of the script takes.
const BATCH: u64 = 500;
const CLIENTS: u64 = 2;

/// Rows a second, over all of `rows` (rounded down to whole batches for each client).
pub async fn measure(server: &Server, rows: u64) -> Result<f64> {
    let name = "raw_limit";
    let database = server.bare_database(name).await?;
    let mut connection = database.connect().await?;
    crate::server::execute(&mut connection, &SCHEMA.replace(":ROWS", &rows.to_string())).await?;
    crate::server::execute(&mut connection, "VACUUM ANALYZE t").await?;
    drop(connection);
    server.settle().await?;

    let mut script = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut script, SCRIPT.as_bytes())?;
    let runs = rows / BATCH / CLIENTS;
    let output = Command::new(server.program("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared"])
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--transactions={runs}"))
        .arg("--file")
        .arg(script.path())
        .arg(&database.url)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let tps = tps(&said).filter(|_| output.status.success());
    let Some(tps) = tps else {
        return Err(format!("pgbench could not measure the raw limit:\n{said}{errors}").into());
    };
    let done = database
        .number("SELECT count(*) FROM t WHERE status = 'completed'")
        .await?;
    let wanted = runs * CLIENTS * BATCH;
    if u64::try_from(done) != Ok(wanted) {
        return Err(format!("the raw limit's run finished {done} rows instead of {wanted}").into());
    }
    server.forget(name).await?;
    Ok(tps * BATCH as f64)
}

/// `tps = 127.404312 (without initial connection time)`
fn tps(said: &str) -> Option<f64> {
    said.lines()
        .find_map(|line| line.strip_prefix("tps = "))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::tps;

    #[test]
    fn the_rate_is_read_from_what_pgbench_prints() {
        let said = "latency average = 15.698 ms\ninitial connection time = 4.271 ms\n\
                    tps = 127.404312 (without initial connection time)\n";
        assert_eq!(tps(said), Some(127.404_312));
        assert_eq!(tps("pgbench: error: client 0 aborted"), None);
    }
}
