//! The page: what it shows, and that what it shows cannot do anything.

use crate::served::Served;

async fn page(served: &Served, path: &str) -> (u16, String) {
    let response = served.http.get(served.url(path)).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn text_from_outside_is_escaped_everywhere() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, created_by, assigned_to, error, payload, result, status, completed_at) VALUES
               ('<b>id</b>', '<script>type()</script>', '<i>by', '"for"', '<u>error', '{"instruction": "<img src=x>"}',
                '{"verdict": "failed", "summary": "<script>summary()</script>", "facts": [{"label": "<a>", "value": "v", "link": "javascript:x()"}],
                  "evidence": [{"title": "t", "text": "</pre><script>log()</script>", "first_line": 3, "deciding_line": 3}]}',
                'failed', longshore.utc_now())"#,
        )
        .await;
    for path in ["/", "/?status=failed", "/tasks/%3Cb%3Eid%3C%2Fb%3E"] {
        let (status, html) = page(&served, path).await;
        assert_eq!(status, 200, "{path}: {html}");
        for raw in ["<script", "<img", "<i>", "<u>", "<b>", "javascript:"] {
            let visible = html
                .replace("javascript:x()&quot;", "")
                .replace("javascript:x()&#34;", "");
            assert!(!visible.contains(raw), "{path} holds {raw}: {html}");
        }
    }
}

#[tokio::test]
async fn a_task_shows_its_evidence_with_line_numbers() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, status, result) VALUES ('t1', 'fix_build', 'completed',
               '{"verdict": "succeeded", "summary": "Job test failed: test failure", "evidence":
                 [{"title": "Log of test", "text": "ok\nFAILED here", "first_line": 43, "deciding_line": 44}],
                 "ticket": {"state": "posted", "url": "https://gitlab.example/1"}}')"#,
        )
        .await;
    let (_, list) = page(&served, "/").await;
    assert!(
        list.contains("Job test failed: test failure") && list.contains("href=\"/tasks/t1\""),
        "{list}"
    );
    let (_, html) = page(&served, "/tasks/t1").await;
    assert!(
        html.contains("<span class=\"line decides\"><span class=\"no\">44</span> FAILED here"),
        "{html}"
    );
    assert!(html.contains("href=\"https://gitlab.example/1\""), "{html}");
}

#[tokio::test]
async fn a_task_that_is_done_and_still_asks_for_somebody_says_so() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, status, result) VALUES
               ('t1', 'fix_build', 'completed', '{"verdict": "action_needed", "summary": "s", "why": "nothing was <b>done"}'),
               ('t2', 'fix_build', 'completed', '{"verdict": "succeeded", "summary": "s"}')"#,
        )
        .await;
    let (_, list) = page(&served, "/").await;
    assert_eq!(list.matches(">action needed<").count(), 1, "{list}");
    let (_, html) = page(&served, "/tasks/t1").await;
    assert!(
        html.contains(">action needed<") && html.contains("nothing was &#60;b&#62;done"),
        "{html}"
    );
}

#[tokio::test]
async fn nothing_is_loaded_from_elsewhere_and_no_script_runs() {
    let served = Served::new().await;
    let response = served.http.get(served.url("/")).send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let html = response.text().await.unwrap();
    assert!(!html.contains("//") || !html.contains("src="), "{html}");
    assert_eq!(page(&served, "/style.css").await.0, 200);
    let (status, html) = page(&served, "/tasks/none").await;
    assert_eq!(status, 404);
    assert!(html.contains("There is no such thing"), "{html}");
}
