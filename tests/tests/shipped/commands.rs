//! The wrapper scripts in front of the real binary: every flag that agents know is understood and reaches its end.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::peers::{longshore, run_well};
use crate::wrappers::wrapper;

/// Answers one request as the task API does and returns its body.
fn answer_once(listener: TcpListener) -> std::thread::JoinHandle<(String, Value)> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        let (head, body) = loop {
            let n = stream.read(&mut buffer).unwrap();
            assert!(
                n > 0,
                "the request ended early: {}",
                String::from_utf8_lossy(&request)
            );
            request.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|l| {
                    let (name, value) = l.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse::<usize>().unwrap())
                });
                if body.len() >= length.expect("a body with its length") {
                    break (head.to_owned(), body.to_owned());
                }
            }
        };
        let answer =
            json!({"status": "created", "task_id": "0192-t", "repo_id": "r-1", "assigned_to": "devops"})
                .to_string();
        let head_out = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close";
        write!(
            stream,
            "{head_out}\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )
        .unwrap();
        (
            head.lines().next().unwrap_or_default().to_owned(),
            serde_json::from_str(&body).unwrap(),
        )
    })
}

#[test]
fn every_flag_of_create_task_reaches_the_api() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let api = answer_once(listener);
    let said = run_well(wrapper("create_task.py").env("LONGSHORE_BIN", longshore()).args([
        "--agent=devops",
        "--task-type=deploy",
        "--priority=7",
        "--repo-id=r-1",
        "--parent-task-id=t-0",
        "--instruction=deploy v1.4.2 to staging",
        "--payload-json={\"strategy\": \"canary\"}",
        "--created-by=pm",
        "--dashboard-url",
        &url,
    ]));
    let (request, body) = api.join().unwrap();
    assert_eq!(request, "POST /api/tasks HTTP/1.1");
    assert_eq!(
        body,
        json!({
            "type": "deploy", "to": "devops", "priority": 7, "created_by": "pm", "repo_id": "r-1", "parent_task_id": "t-0",
            "payload": {"instruction": "deploy v1.4.2 to staging", "repo_id": "r-1", "strategy": "canary"}
        })
    );
    assert!(said.contains("0192-t"), "{said}");
}

#[test]
fn gitlab_ops_knows_its_verbs_and_flags() {
    let flags: [(&str, &[&str]); 6] = [
        (
            "issue-comment",
            &[
                "--repo-id",
                "--repo-slug",
                "--project-id",
                "--iid",
                "--body",
                "--dry-run",
            ],
        ),
        (
            "issue-update",
            &[
                "--iid",
                "--add-labels",
                "--remove-labels",
                "--state",
                "--title",
                "--description",
                "--dry-run",
            ],
        ),
        (
            "issue-create",
            &["--title", "--description", "--labels", "--dry-run"],
        ),
        ("issue-get", &["--iid"]),
        (
            "issue-list",
            &["--state", "--labels", "--search", "--page", "--per-page"],
        ),
        ("webhook-ensure", &["--repo-id", "--dry-run"]),
    ];
    for (verb, flags) in flags {
        let help = run_well(
            wrapper("gitlab_ops.py")
                .env("LONGSHORE_BIN", longshore())
                .args([verb, "--help"]),
        );
        let missing: Vec<_> = flags.iter().filter(|flag| !help.contains(**flag)).collect();
        assert!(missing.is_empty(), "{verb} does not know {missing:?}:\n{help}");
    }
}
