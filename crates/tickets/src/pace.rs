use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// The budget of writes that each far side has.
pub(crate) struct Pace {
    limiter: RateLimiter<String, HashMapStateStore<String>, DefaultClock>,
    clock: DefaultClock,
}

impl Pace {
    pub(crate) fn per_minute(writes: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(writes).unwrap_or(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::hashmap(quota),
            clock: DefaultClock::default(),
        }
    }

    /// How long the next write to this far side has to wait; when not at all, it is spent.
    pub(crate) fn spend(&self, host: &str) -> Result<(), Duration> {
        self.limiter
            .check_key(&host.to_owned())
            .map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}
