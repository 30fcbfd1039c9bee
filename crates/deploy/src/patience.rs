//! Looks until what is to take the traffic back can take it, for as long as replicas may take to come up.

use std::time::Duration;

use durable::{StepKey, Stop, TaskCx};

use crate::act::Act;
use crate::look::Look;
use crate::outside::Outside;
use crate::plan::Place;
use crate::progress;

/// What stands, and what `acts` makes of it. A stable side that is only briefly not well is waited for: nobody is asked about
/// what mends itself.
pub(crate) async fn look(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    (name, round): (&str, u32),
    acts: impl Fn(&Look) -> Result<Vec<Act>, String>,
) -> Result<(Look, Result<Vec<Act>, String>), Stop> {
    let deadline = place.environment.progress_deadline.0;
    let (mut waited, mut looks) = (Duration::ZERO, 0_u32);
    loop {
        let key: StepKey = match looks {
            0 => (name, round).into(),
            again => (name, round, again).into(),
        };
        let look: Look = cx.step(key, |_| place.look(outside)).await?;
        let found = acts(&look);
        let coming = look.coming_up().filter(|_| found.is_err() && waited < deadline);
        let Some(stable) = coming else {
            return Ok((look, found));
        };
        let why = format!(
            "for {} to come up again ({})",
            stable.version,
            progress::so_far(stable)
        );
        let pause = progress::pause(looks);
        cx.nap(("comes-up", format!("{name}-{round}"), looks), &why, pause)
            .await?;
        waited += pause;
        looks += 1;
    }
}
