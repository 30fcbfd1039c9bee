//! Handlers for deployments and rollbacks, and the pure plans behind them: how a rollout goes, how it is judged
//! ([`judge`]), when none may start ([`freeze`]), and how well they go ([`dora`], of [`records`]).
//!
//! A deployment is a list of acts (`act`): start the new version, give it a share of the traffic, wait, judge, promote.
//! `course` makes the list from a strategy and from what stands; `carry` carries it out, each effect a step; `undoing`
//! makes the list that goes back, from what stands then, whatever came of the steps before. A dry run shows the list, an
//! approval is bound to it, and a rollback is another one. A group is several such lists in one order (`group`).
//!
//! A workload has two sides. What is tried stands beside what serves, and is promoted by rolling the stable side to its
//! version while it carries the traffic: the workload keeps its name, and nothing that refers to it has to know.
//!
//! What has no plain course has a defined one:
//!
//! | what is met | what is done |
//! |---|---|
//! | nothing runs yet | it is rolled out; if that fails, to no replicas |
//! | the version runs already | it is checked, and nothing is changed |
//! | nothing is left of it but a workload without replicas | as if nothing ran: it is rolled out, and gets the number that the settings say |
//! | the version is half out | what it has is judged, and it goes on from there, never back behind the share that it has |
//! | another version is half out | nothing; the error says how to get it out of the way |
//! | a deployment is running | it waits in order, or takes its place where `when_newer` is `supersede`, also while that one pauses or asks |
//! | a deployment waits for approval | nobody waits for it: it holds nothing until somebody says yes, and then looks again |
//! | a rollback is asked for | every deployment on its way there is cancelled, and undoes itself first; then it goes before all that wait |
//! | one service of a group fails | those before it are taken back, last first |
//! | somebody changes something by hand | held: a yes goes on from what is there, a no leaves it as it is |
//! | the workload is paused | nothing; the error says so |
//! | the stable side is gone or unwell | held: nothing falls back to it until it is in order |
//! | what serves again after going back is not well | held: a person says whether it is looked at again, or left so |
//! | too little to judge by | it waits longer, and then asks a person |

mod act;
mod agree;
mod analysis;
mod asking;
mod carry;
mod checks;
mod course;
mod deploy;
pub mod dora;
pub mod freeze;
mod gates;
mod goal;
mod group;
mod handover;
mod instruction;
pub mod judge;
mod judging;
mod ledger;
mod look;
mod outside;
mod params;
mod part;
mod patience;
mod plan;
mod postmortem;
mod progress;
mod ratio;
mod ready;
pub mod records;
mod report;
mod revert;
mod rollback;
mod settings;
mod smoke;
mod story;
mod strategy;
mod taking_back;
mod target;
mod turn;
mod undoing;
mod unjudged;
mod verify;

pub use checks::{CheckSettings, JobSettings};
pub use deploy::Deploy;
pub use outside::{Outside, Target};
pub use params::{DeployParams, RollbackParams};
pub use rollback::Rollback;
pub use settings::{Environment, Environments, environments, settings_schema};
pub use strategy::{Step, StepParam, Strategy, StrategyName};
