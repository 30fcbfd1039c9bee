//! `longshore token create|list|revoke`.

use chrono::{TimeDelta, Utc};
use domain::Error;
use secrecy::ExposeSecret;
use serde_json::json;
use store::{Store, TokenRow};

use crate::cli::{NewToken, TokenCommand};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, Paint, cell, harmless, moment};
use crate::wiring::{self, As};

/// Longest name, in characters.
const NAME_CHARS: usize = 100;

pub async fn run(command: TokenCommand, settings: &Settings, out: Output) -> Outcome {
    if let TokenCommand::Create(new) = &command {
        check(new)?;
    }
    let store = wiring::store(settings, As::Command).await?;
    let outcome = match command {
        TokenCommand::Create(new) => create(&store, new, out).await,
        TokenCommand::List => list(&store, out).await,
        TokenCommand::Revoke { named } => revoke(&store, &named, out).await,
    };
    store.close().await;
    outcome
}

fn check(new: &NewToken) -> Result<(), Failure> {
    let chars = new.name.chars().count();
    let fault = if new.name.trim().is_empty() {
        "is blank".to_owned()
    } else if chars > NAME_CHARS {
        format!("has {chars} characters; at most {NAME_CHARS} are taken")
    } else if new.name.chars().any(char::is_control) {
        "holds control characters".to_owned()
    } else if new.expires_in.is_some_and(|span| span.0.is_zero()) {
        return Err(Failure(
            Error::invalid("--expires-in is 0s, so the token would never be of use")
                .next("Write a length of time such as 90d or 12h"),
        ));
    } else {
        return Ok(());
    };
    Err(Failure(
        Error::invalid(format!("the token's name {fault}"))
            .next("Name it after who will use it, such as `ci`"),
    ))
}

async fn create(store: &Store, new: NewToken, out: Output) -> Outcome {
    let expires_at = match new.expires_in {
        None => None,
        Some(span) => Some(
            TimeDelta::from_std(span.0)
                .ok()
                .and_then(|length| Utc::now().checked_add_signed(length))
                .ok_or_else(|| Error::invalid("--expires-in leads past the end of the calendar"))?,
        ),
    };
    let (token, stored) = api::mint_token(new.name, new.role, expires_at);
    let row = store.add_token(&stored).await?;
    let answer = json!({
        "token": token.expose_secret(), "id": row.id, "name": row.name, "role": row.role,
        "created_at": row.created_at, "expires_at": row.expires_at,
    });
    out.as_it_is().answer(&answer, |out| {
        let until = row.expires_at.map_or_else(
            || "until it is revoked".to_owned(),
            |at| format!("until {}", moment(at)),
        );
        format!(
            "{}\n\n{} has the role {} {until}.\nThe token is shown this once; only its hash is kept. \
             Callers send it as `Authorization: Bearer TOKEN`,\n`longshore create-task --dashboard-url` takes it from \
             LONGSHORE_CLIENT_TOKEN.",
            out.paint(Paint::Bold, token.expose_secret()),
            harmless(&row.name),
            row.role,
        )
    })?;
    Ok(Exit::Done)
}

/// In one word, whether a token still opens anything.
fn state(token: &TokenRow) -> &'static str {
    match token.revoked_at {
        Some(_) => "revoked",
        None if token.expired => "expired",
        None => "live",
    }
}

async fn list(store: &Store, out: Output) -> Outcome {
    let tokens = store.tokens().await?;
    let told: Vec<_> = tokens
        .iter()
        .map(|token| {
            let mut value = json!(token);
            value["state"] = state(token).into();
            value
        })
        .collect();
    out.answer(&json!({ "tokens": told }), |out| {
        if tokens.is_empty() {
            return "No tokens yet. `longshore token create NAME --role enqueue` makes one.".to_owned();
        }
        let mut table = out.table(
            &["ID", "NAME", "ROLE", "STATE", "CREATED", "LAST USED", "EXPIRES"],
            1,
        );
        for token in &tokens {
            table.add_row([
                token.id.clone(),
                cell(&token.name),
                token.role.to_string(),
                state(token).to_owned(),
                moment(token.created_at),
                token.last_used_at.map_or_else(|| "never".to_owned(), moment),
                token.expires_at.map_or_else(|| "never".to_owned(), moment),
            ]);
        }
        out.lines(table)
    })?;
    Ok(Exit::Done)
}

async fn revoke(store: &Store, named: &str, out: Output) -> Outcome {
    // Somebody may name the whole token: its id is its middle.
    let named = api::token_id(named).unwrap_or(named);
    let token = store.revoke_token(named).await?;
    out.answer(&token, |_| {
        format!(
            "{} ({}) is revoked: it opens nothing any more.",
            harmless(&token.name),
            token.id
        )
    })?;
    Ok(Exit::Done)
}
