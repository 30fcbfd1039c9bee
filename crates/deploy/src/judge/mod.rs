//! Judging: what metrics say of a canary, as pure functions from what was read to a verdict with its evidence.
//!
//! docs/judging.md defines every word, gives the defaults and says how well they do. The order to read: [`Analysis`] is what is
//! asked, a [`Window`] is what was read, [`judge`] makes a [`Judgement`] of all windows so far.

mod compare;
mod course;
mod difference;
pub mod mann_whitney;
mod plan;
mod ranks;
mod score;
mod series;
mod threshold;
mod verdict;

pub use course::judge;
pub use difference::wilson;
pub use plan::{Analysis, Check, Compare, Criticality, Direction, Kind, Metric, Risk};
pub use ranks::{Class, Classified, EffectSize, Measure, Outliers, Ranks};
pub use score::Score;
pub use series::{Measurement, NanStrategy, Sample, Sides, Window, interval_s};
pub use threshold::{Bounds, Threshold};
pub(crate) use verdict::short;
pub use verdict::{Decision, Estimate, Evidence, Finding, Judgement, Outcome, PerSide, Scale, Span};
