//! The fakes of the memory ports pass their suite.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Staged, TaskId};
use ports::conformance::memory::{self, MemoryWorld};
use ports::fake::{FakeBudget, FakeFlakes};
use ports::{BudgetLedger, FlakeHistory};

#[derive(Default)]
struct Fakes {
    flakes: FakeFlakes,
    budget: FakeBudget,
}

#[async_trait]
impl MemoryWorld for Fakes {
    fn flakes(&self) -> &dyn FlakeHistory {
        &self.flakes
    }
    fn budget(&self) -> &dyn BudgetLedger {
        &self.budget
    }
    async fn commit(&self, _: &TaskId, staged: Vec<Staged>) {
        staged.iter().for_each(|staged| self.flakes.apply(staged));
    }
    async fn advance(&self, by: Duration) {
        self.budget.advance(by);
    }
}

#[tokio::test]
async fn verdicts_are_remembered_with_their_step() {
    memory::verdicts_are_remembered_with_their_step(&Fakes::default()).await;
}

#[tokio::test]
async fn a_budget_is_spent_once_a_step_and_no_further() {
    memory::a_budget_is_spent_once_a_step_and_no_further(&Fakes::default()).await;
}

#[tokio::test]
async fn the_last_one_is_given_once() {
    memory::the_last_one_is_given_once(&Fakes::default()).await;
}
