//! `longshore repos add|list|show`.

use serde_json::json;
use testkit::postgres::{self, Database};

use crate::process::{answer, over, run};

fn repos(db: &Database, args: &[&str]) -> (i32, serde_json::Value) {
    answer(over(db, &[&["repos", "--json"], args].concat()))
}

#[tokio::test]
async fn repositories_are_added_listed_shown_and_not_taken_for_one_another() {
    let db = postgres::database().await;
    assert_eq!(repos(&db, &["list"]), (0, json!({ "repos": [] })));
    let (code, shop) = repos(
        &db,
        &[
            "add",
            "--project",
            "group/shop",
            "--id",
            "r1",
            "--settings-json",
            r#"{"fix_build": {"retries_per_day": 3}}"#,
        ],
    );
    assert_eq!((code, &shop["id"]), (0, &json!("r1")), "{shop}");
    assert_eq!(
        (&shop["name"], &shop["slug"]),
        (&json!("shop"), &json!("shop")),
        "{shop}"
    );
    let (code, other) = repos(
        &db,
        &[
            "add",
            "--project",
            "other/shop",
            "--url",
            "https://git.example.com",
        ],
    );
    assert_eq!(code, 0, "{other}");

    for named in ["r1", "group/shop"] {
        assert_eq!(repos(&db, &["show", named]), (0, shop.clone()));
    }
    let (code, refused) = repos(&db, &["show", "shop"]);
    let what = refused["error"]["what"].as_str().unwrap();
    assert_eq!(code, 1, "{refused}");
    assert!(
        what.contains("r1") && what.contains(other["id"].as_str().unwrap()),
        "{what}"
    );
    let (code, refused) = repos(&db, &["show", "nowhere"]);
    assert_eq!((code, &refused["error"]["kind"]), (1, &json!("not_found")));

    for (args, code, says) in [
        (&["add", "--project", "group/shop"][..], 1, "known already, as r1"),
        (
            &["add", "--project", "new/one", "--id", "r1"],
            1,
            "the id r1 is taken",
        ),
        (&["add", "--project", " "], 2, "--project is blank"),
        (
            &["add", "--project", "a/b", "--settings-json", "[]"],
            2,
            "not a JSON object",
        ),
        (
            &[
                "add",
                "--project",
                "a/b",
                "--url",
                "https://me:secret@git.example.com",
            ],
            2,
            "without credentials",
        ),
    ] {
        let (got, refused) = repos(&db, args);
        assert_eq!(got, code, "{args:?}: {refused}");
        assert!(refused.to_string().contains(says), "{args:?}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    let (_, all) = repos(&db, &["list"]);
    assert_eq!(
        all["repos"].as_array().unwrap().len(),
        2,
        "nothing refused was added"
    );
    let people = run(over(&db, &["repos", "list"]));
    let table = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(
        table.contains("group/shop") && table.contains("https://git.example.com"),
        "{table}"
    );
}
