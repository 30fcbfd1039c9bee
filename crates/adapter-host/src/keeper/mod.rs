//! The keeper of one workload's processes.

mod plan;
mod port;
pub(crate) mod process;
mod ready;
mod router;
mod slots;
mod tend;

use std::path::Path;
use std::time::Duration;

use domain::Result;

use crate::config::Settings;
use crate::files::{self, Folder};
use crate::status::Status;
use crate::systemd;
use crate::wishes::Wishes;

use tend::Keeper;

/// Between two looks while something changes, and while nothing does.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(500);

/// Keeps the processes of the workload whose folder this is, until nothing is wished for and nothing runs any more.
/// Where somebody keeps them already it ends at once.
///
/// It may be killed at any moment. What it keeps goes on without it, and the next keeper takes it over. `begun_by` is what
/// [`KeeperCommand`](crate::KeeperCommand) was given with `--begun-by`; without, it was begun as the first settings say.
pub async fn keep(folder: &Path, mut begun_by: Option<String>) -> Result<()> {
    // Whoever started us may go, and with it its terminal; a session that is ours already is as good.
    _ = rustix::process::setsid();
    process::can_be_told_apart()?;
    let folder = Folder::new(folder);
    let Some(kept) = folder.lock_keeper().await? else {
        return Ok(());
    };
    _ = kept.set_len(0);
    _ = std::io::Write::write_all(&mut &kept, std::process::id().to_string().as_bytes());
    let status: Status = files::read(&folder.status())?.unwrap_or_default();
    let mut keeper = Keeper::take_over(folder.clone(), status);
    // What cannot be read now, half written by a hand, is as it was before.
    let (mut wishes, mut settings): (Option<Wishes>, Option<Settings>) = (None, None);
    loop {
        let mut trouble = Vec::new();
        remember(&mut wishes, files::read(&folder.wishes()), &mut trouble);
        remember(&mut settings, files::read(&folder.settings()), &mut trouble);
        if let (Some(wishes), Some(settings)) = (&wishes, &settings) {
            // Who was started another way than what is started from now on would end at another time than that. What runs
            // goes on, and the next look at the workload starts a keeper the new way.
            let now = systemd::begun_by(settings.systemd.as_ref());
            if *begun_by.get_or_insert_with(|| now.clone()) != now {
                return Ok(());
            }
            let busy = keeper
                .tend(wishes, settings, trouble)
                .await
                .unwrap_or_else(|error| {
                    // A full disk, say. Nothing is begun that could not be written down, and all is tried again.
                    tracing::error!(error = %error, "could not write down what is kept");
                    false
                });
            if !busy && keeper.is_idle() && wishes.stable.is_none() && wishes.candidate.is_none() {
                // Who wishes for something from here on finds no keeper and starts one.
                let _lock = folder.lock().await?;
                let last: Wishes = files::read(&folder.wishes())?.unwrap_or_default();
                if last == *wishes {
                    drop(kept);
                    return Ok(());
                }
            }
            tokio::time::sleep(if busy { SOON } else { LATER }).await;
        } else {
            tokio::time::sleep(LATER).await;
        }
    }
}

fn remember<T>(last: &mut Option<T>, read: Result<Option<T>>, trouble: &mut Vec<String>) {
    match read {
        Ok(Some(now)) => *last = Some(now),
        Ok(None) => {}
        Err(error) => trouble.push(error.to_string()),
    }
}
