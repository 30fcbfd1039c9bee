//! What every [`Repos`] must do.

use async_trait::async_trait;
use domain::ErrorKind;

use crate::Repos;

/// A table without repositories.
#[async_trait]
pub trait RepoWorld: Send + Sync {
    fn port(&self) -> &dyn Repos;
    /// Registers one.
    async fn add(&self, id: &str, project: &str, slug: &str, name: &str);
}

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! repos_conformance {
    ($world:expr) => {
        $crate::repos_conformance!(@tests $world;
            what_people_call_a_repository_finds_it
            an_id_goes_before_a_name_and_two_of_a_name_are_told_apart);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::repos::$test(&$world).await;
            }
        )+
    };
}

async fn found(world: &dyn RepoWorld, named: &str) -> Option<String> {
    let found = world.port().find(named).await.expect("looks it up");
    found.map(|repo| repo.id)
}

pub async fn what_people_call_a_repository_finds_it(world: &dyn RepoWorld) {
    world.add("r1", "group/shop", "shop", "The shop").await;
    world.add("r2", "4711", "stall", "The stall").await;
    for (named, id) in [
        ("r1", Some("r1")),
        ("group/shop", Some("r1")),
        ("stall", Some("r2")),
        ("The stall", Some("r2")),
        ("4711", Some("r2")),
        ("nothing", None),
        ("", None),
    ] {
        assert_eq!(found(world, named).await.as_deref(), id, "{named}");
    }
}

pub async fn an_id_goes_before_a_name_and_two_of_a_name_are_told_apart(world: &dyn RepoWorld) {
    world.add("r1", "group/shop", "shop", "shop").await;
    world.add("r2", "other/shop", "shop", "r1").await;
    assert_eq!(found(world, "r1").await.as_deref(), Some("r1"));
    assert_eq!(found(world, "other/shop").await.as_deref(), Some("r2"));
    let error = world.port().find("shop").await.expect_err("which one?");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.next.is_some_and(|next| next.contains("id")));
}
