use std::time::Duration;

/// How the far side treats the next request that would change something there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Refused with the demand to wait this long.
    RateLimited(Duration),
    /// Answered with "I am out of order" before anything was done.
    OutOfOrder,
    /// Carried out, and then the connection is cut before a word of the answer.
    DoneThenCut,
    /// Taken and never answered; nothing is done.
    NoAnswer,
}
