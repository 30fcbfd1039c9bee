//! The API's tokens: their digests, never the tokens themselves.

use chrono::{DateTime, Utc};
use domain::{Error, Result, Role};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::Store;
use crate::error::{SqlResult, describe, sqlstate};

/// How long a use stays unwritten at most.
const USE_WRITTEN_EVERY_S: f64 = 60.0;

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The public part, by which it is found.
    pub id: String,
    /// Whose it is, for people; what it does is told in this name.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the whole token.
    pub digest: [u8; 32],
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRow {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    /// To the minute; none while it was never used.
    pub last_used_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// Whether its time is over by the database's clock.
    pub expired: bool,
}

/// What a presented token is held against.
#[derive(Clone, Debug)]
pub struct StoredToken {
    pub token: TokenRow,
    pub digest: Vec<u8>,
    /// Its last use was written long enough ago to be written again.
    use_is_due: bool,
}

macro_rules! columns {
    () => {
        "id, name, role, created_at, last_used_at, expires_at, revoked_at,
         coalesce(expires_at <= longshore.now(), false) AS expired"
    };
}

impl Store {
    /// `Conflict` when a live token has that name.
    pub async fn add_token(&self, new: &NewToken) -> Result<TokenRow> {
        let doing = "store the token";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query(concat!(
                "INSERT INTO longshore.tokens (id, name, role, digest, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING ",
                columns!()
            ))
            .bind(&new.id)
            .bind(&new.name)
            .bind(new.role.as_str())
            .bind(&new.digest[..])
            .bind(new.expires_at)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| match sqlstate(&error).as_deref() {
                Some("23505") => Error::conflict(format!("there is a token called {} already", new.name))
                    .next("Choose another name, or revoke that one first: `longshore token revoke NAME`"),
                _ => describe(&error, doing),
            })?;
        let token = read(&row).doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(token)
    }

    /// All tokens, the newest first, those that are no longer of use among them.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>> {
        let doing = "list the tokens";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(concat!(
                "SELECT ",
                columns!(),
                " FROM longshore.tokens ORDER BY created_at DESC, id"
            ))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().doing(doing)
    }

    /// Ends a token, named by its id or its name, at once and for good. Doing it again changes nothing.
    pub async fn revoke_token(&self, named: &str) -> Result<TokenRow> {
        let doing = "revoke the token";
        let mut tx = self.pool().begin().await.doing(doing)?;
        // A name may have been given again: the live token is meant then.
        let row = self
            .query(concat!(
                "UPDATE longshore.tokens SET revoked_at = coalesce(revoked_at, longshore.now())
                  WHERE id = (SELECT id FROM longshore.tokens WHERE id = $1 OR name = $1
                               ORDER BY id = $1 DESC, revoked_at IS NULL DESC, revoked_at DESC LIMIT 1)
                 RETURNING ",
                columns!()
            ))
            .bind(named)
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let row = row.ok_or_else(|| {
            Error::not_found(format!("no token is called {named}"))
                .next("`longshore token list` shows those that there are")
        })?;
        let token = read(&row).doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(token)
    }

    /// The token of that id, whatever its state. Whether the caller has it is for the caller of this to judge, who
    /// then says [`Store::token_was_used`].
    pub async fn token(&self, id: &str) -> Result<Option<StoredToken>> {
        let doing = "look up the token";
        let looked = async {
            let mut tx = self.pool().begin().await.doing(doing)?;
            let row = self
                .query(concat!(
                    "SELECT digest, last_used_at IS NULL OR last_used_at <= longshore.now() - make_interval(secs => $2) AS due, ",
                    columns!(),
                    " FROM longshore.tokens WHERE id = $1"
                ))
                .bind(id)
                .bind(USE_WRITTEN_EVERY_S)
                .fetch_optional(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)?;
            row.map(|row| {
                Ok::<_, sqlx::Error>(StoredToken {
                    token: read(&row)?,
                    digest: row.try_get("digest")?,
                    use_is_due: row.try_get("due")?,
                })
            })
            .transpose()
            .doing(doing)
        };
        self.within(doing, looked).await
    }

    /// Writes that a token is in use, at most once a minute.
    pub async fn token_was_used(&self, used: &StoredToken) -> Result<()> {
        if !used.use_is_due {
            return Ok(());
        }
        let doing = "write the token's use";
        let mut tx = self.pool().begin().await.doing(doing)?;
        self.query(
            "UPDATE longshore.tokens SET last_used_at = longshore.now()
              WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= longshore.now() - make_interval(secs => $2))",
        )
        .bind(&used.token.id)
        .bind(USE_WRITTEN_EVERY_S)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)
    }
}

fn read(row: &PgRow) -> sqlx::Result<TokenRow> {
    let role: String = row.try_get("role")?;
    Ok(TokenRow {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: role
            .parse()
            .map_err(|error: domain::ParseRoleError| sqlx::Error::Decode(Box::new(error)))?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        expired: row.try_get("expired")?,
    })
}
