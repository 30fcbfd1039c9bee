use std::collections::HashMap;
use std::sync::Arc;

use domain::Error;
use durable::{AnyHandler, Handler};

/// The handlers of a worker, by task type.
#[derive(Clone, Default)]
pub struct Registry {
    by_type: HashMap<&'static str, Arc<AnyHandler>>,
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for all its types; a later one takes the place of an earlier one.
    #[must_use]
    pub fn register<H: Handler>(mut self, handler: H) -> Self {
        let handler = Arc::new(AnyHandler::new(handler));
        for task_type in handler.task_types() {
            self.by_type.insert(task_type, handler.clone());
        }
        self
    }

    pub fn task_types(&self) -> Vec<&'static str> {
        let mut types: Vec<_> = self.by_type.keys().copied().collect();
        types.sort_unstable();
        types
    }

    pub(crate) fn handlers(&self) -> impl Iterator<Item = (&'static str, &AnyHandler)> {
        self.by_type
            .iter()
            .map(|(task_type, handler)| (*task_type, handler.as_ref()))
    }

    pub(crate) fn find(&self, task_type: &str) -> Result<Arc<AnyHandler>, Error> {
        self.by_type.get(task_type).cloned().ok_or_else(|| {
            Error::invalid(format!(
                "task_type {task_type:?} is not one that this worker serves"
            ))
            .next(format!("Send one of: {}", self.task_types().join(", ")))
        })
    }
}
