//! `longshore migrate`.

use serde_json::json;

use crate::config::Settings;
use crate::exit::{Exit, Outcome};
use crate::output::Output;
use crate::wiring::{self, As};

pub async fn run(settings: &Settings, out: Output) -> Outcome {
    let store = wiring::store(settings, As::Command).await?;
    store.migrate().await?;
    let database = settings.database.url.as_ref().map(|url| url.masked());
    out.answer(&json!({ "status": "migrated", "database": database }), |_| {
        format!("{} has this version's tables.", database.unwrap_or_default())
    })?;
    store.close().await;
    Ok(Exit::Done)
}
