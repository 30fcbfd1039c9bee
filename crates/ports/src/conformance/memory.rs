//! What every memory must do.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Idem, Staged, TaskId};

use crate::{BudgetLedger, FlakeHistory, FlakeVerdict, Spend};

/// Sets up an empty memory.
#[async_trait]
pub trait MemoryWorld: Send + Sync {
    fn flakes(&self) -> &dyn FlakeHistory;
    fn budget(&self) -> &dyn BudgetLedger;
    /// Commits what a step staged, as the journal does.
    async fn commit(&self, task: &TaskId, staged: Vec<Staged>);
    async fn advance(&self, by: Duration);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn verdict(job: &str, sha: &str) -> FlakeVerdict {
    FlakeVerdict {
        repo_id: "repo".to_owned(),
        job: job.to_owned(),
        git_ref: "main".to_owned(),
        sha: sha.to_owned(),
        class: "flaky_test".to_owned(),
        retried: true,
        task_id: TaskId::from("task"),
        at: None,
    }
}

/// A verdict is there once its step is committed, newest first, for its own job alone.
pub async fn verdicts_are_remembered_with_their_step(world: &dyn MemoryWorld) {
    let flakes = world.flakes();
    for sha in ["one", "two", "three"] {
        let idem = Idem::new(format!("task/run/{sha}"));
        flakes.record(&verdict("unit", sha), &idem);
        let before = flakes.recent("repo", "unit", 10).await.expect("read verdicts");
        assert!(
            before.iter().all(|v| v.sha != sha),
            "a staged verdict is not there before its step is done"
        );
        world.commit(&TaskId::from("task"), idem.take_staged()).await;
    }
    let recent = flakes.recent("repo", "unit", 2).await.expect("read verdicts");
    let shas: Vec<&str> = recent.iter().map(|v| v.sha.as_str()).collect();
    assert_eq!(shas, ["three", "two"]);
    assert_eq!(
        (recent[0].class.as_str(), recent[0].retried),
        ("flaky_test", true)
    );
    assert!(
        flakes
            .recent("repo", "lint", 10)
            .await
            .expect("read verdicts")
            .is_empty()
    );
    assert!(
        flakes
            .recent("other", "unit", 10)
            .await
            .expect("read verdicts")
            .is_empty()
    );
}

/// No more than the limit within the window; the same step gets the same answer; time gives back.
pub async fn a_budget_is_spent_once_a_step_and_no_further(world: &dyn MemoryWorld) {
    let budget = world.budget();
    let spend = async |step: &str| {
        budget
            .spend("retries", 2, DAY, &Idem::new(step))
            .await
            .expect("spend")
    };
    assert_eq!(spend("a").await, Spend::Granted { left: 1 });
    assert_eq!(
        spend("a").await,
        Spend::Granted { left: 1 },
        "a replay takes nothing more"
    );
    assert_eq!(spend("b").await, Spend::Granted { left: 0 });
    assert_eq!(spend("c").await, Spend::Exhausted { limit: 2 });
    assert_eq!(
        budget
            .spend("other", 1, DAY, &Idem::new("c"))
            .await
            .expect("spend"),
        Spend::Granted { left: 0 }
    );
    world.advance(DAY + Duration::from_secs(1)).await;
    assert_eq!(
        spend("c").await,
        Spend::Exhausted { limit: 2 },
        "a step keeps its answer"
    );
    assert_eq!(spend("d").await, Spend::Granted { left: 1 });
}

/// Two at once never both take the last one.
pub async fn the_last_one_is_given_once(world: &dyn MemoryWorld) {
    let budget = world.budget();
    let keys: Vec<Idem> = (0..8).map(|n| Idem::new(format!("step {n}"))).collect();
    let answers =
        futures_util::future::join_all(keys.iter().map(|idem| budget.spend("race", 1, DAY, idem))).await;
    let granted = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Spend::Granted { .. })))
        .count();
    assert_eq!(granted, 1, "{answers:?}");
}
