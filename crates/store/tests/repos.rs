//! Repositories: found by what people call them, and never taken for one another.

use async_trait::async_trait;
use domain::{Autonomy, ErrorKind};
use ports::Repos;
use ports::conformance::repos::RepoWorld;
use serde_json::json;
use store::{NewRepo, Store};
use testkit::postgres;

fn repo(id: &str, project: &str) -> NewRepo {
    let last = project.rsplit('/').next().unwrap_or(project);
    NewRepo {
        id: Some(id.to_owned()),
        name: last.to_owned(),
        slug: Some(last.to_owned()),
        provider: "gitlab".to_owned(),
        url: String::new(),
        project: project.to_owned(),
        default_branch: "main".to_owned(),
        autonomy_mode: Autonomy::Guided,
        settings: json!({}),
    }
}

async fn found(store: &Store, named: &str) -> Option<String> {
    store.find_repo(named).await.unwrap().map(|repo| repo.id)
}

#[tokio::test]
async fn a_repository_is_found_by_id_project_slug_and_name_in_that_order() {
    let db = postgres::database().await;
    let store = db.store().await;
    store.add_repo(&repo("r1", "group/shop")).await.unwrap();
    let other = NewRepo {
        slug: Some("stall".to_owned()),
        name: "Market stall".to_owned(),
        ..repo("r2", "4711")
    };
    store.add_repo(&other).await.unwrap();
    for (named, id) in [
        ("r1", Some("r1")),
        ("group/shop", Some("r1")),
        ("shop", Some("r1")),
        ("4711", Some("r2")),
        ("stall", Some("r2")),
        ("Market stall", Some("r2")),
        ("Group/Shop", None),
        ("", None),
        ("' OR true --", None),
    ] {
        assert_eq!(found(&store, named).await.as_deref(), id, "{named}");
    }

    // What is an id of one is a slug of another: the id counts.
    let sly = NewRepo {
        slug: Some("r1".to_owned()),
        ..repo("r3", "group/sly")
    };
    store.add_repo(&sly).await.unwrap();
    assert_eq!(found(&store, "r1").await.as_deref(), Some("r1"));

    // Two of one slug are told apart by the person who asked.
    store.add_repo(&repo("r4", "other/shop")).await.unwrap();
    let error = store.find_repo("shop").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.what.contains("r1") && error.what.contains("r4"), "{error}");
    assert_eq!(found(&store, "other/shop").await.as_deref(), Some("r4"));
}

#[tokio::test]
async fn one_project_is_added_once_however_many_try_at_once() {
    let db = postgres::database().await;
    let store = db.store().await;
    let adding = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.add_repo(&repo(&format!("r{n}"), "group/shop")).await })
    });
    let mut added = Vec::new();
    for one in adding.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(repo) => added.push(repo.id),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                assert!(error.what.contains("group/shop is known already"), "{error}");
            }
        }
    }
    assert_eq!(added.len(), 1);
    assert_eq!(store.repos().await.unwrap().len(), 1);

    // The same path elsewhere, or at another forge, is another project; a taken id is not.
    let elsewhere = NewRepo {
        url: "https://git.example.com".to_owned(),
        ..repo("e", "group/shop")
    };
    store.add_repo(&elsewhere).await.unwrap();
    let hub = NewRepo {
        provider: "github".to_owned(),
        ..repo("h", "group/shop")
    };
    store.add_repo(&hub).await.unwrap();
    let error = store.add_repo(&repo("e", "group/new")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.what.contains("the id e is taken"), "{error}");
    let error = store
        .add_repo(&NewRepo {
            settings: json!([]),
            ..repo("x", "group/x")
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(store.repos().await.unwrap().len(), 3, "nothing refused was added");
}

struct Registered {
    store: Store,
    _db: postgres::Database,
}

impl Registered {
    async fn start() -> Self {
        let db = postgres::database().await;
        let store = db.store().await;
        Self { store, _db: db }
    }
}

#[async_trait]
impl RepoWorld for Registered {
    fn port(&self) -> &dyn Repos {
        &self.store
    }
    async fn add(&self, id: &str, project: &str, slug: &str, name: &str) {
        let new = NewRepo {
            slug: Some(slug.to_owned()),
            name: name.to_owned(),
            ..repo(id, project)
        };
        self.store.add_repo(&new).await.expect("add it");
    }
}

ports::repos_conformance!(Registered::start().await);
