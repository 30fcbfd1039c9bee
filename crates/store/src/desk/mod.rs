//! What people and programs other than the worker do: tasks, repositories, deliveries.

mod inbox;
mod repos;
mod tasks;

pub use inbox::{Delivery, Received};
pub use repos::NewRepo;
pub use tasks::{StepRow, TaskFilter, TaskRow};
