//! `longshore dev` on a data folder of its own. The demo's text is compared with the README by the system tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::process::{Process, longshore, run};

#[tokio::test]
async fn a_folder_serves_one_dev_at_a_time_and_is_used_again_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    // Run as root, the server is another user's, who must be able to enter the folder.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let dev = ["dev", "--port", "0", "--data", data];

    let mut first = Process::start(longshore(&dev));
    let api = first.api().await;
    let health = reqwest::get(format!("{api}/health")).await.unwrap();
    assert_eq!(health.status(), 200);
    let owner = fs::metadata(format!("{data}/postgres/data")).unwrap().uid();
    assert!(owner != 0, "Postgres does not run as root");

    let second = run(longshore(&dev));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another server")
            && said.contains(data)
            && said.contains("Stop the program that started it"),
        "{said}"
    );
    let health = reqwest::get(format!("{api}/health")).await.unwrap();
    assert_eq!(health.status(), 200, "the first is left alone");
    assert_eq!(first.stop().await, 0, "{}", first.said());

    let mut demo = Process::start(longshore(&[
        "dev", "--demo", "--exit", "--port", "0", "--data", data,
    ]));
    assert_eq!(demo.ended().await, 0, "{}", demo.said());
    let said = demo.said();
    for verdict in ["#11 main is red: build", "#15 please help", "mismatched types"] {
        assert!(said.contains(verdict), "{verdict} is not in {said}");
    }
}
