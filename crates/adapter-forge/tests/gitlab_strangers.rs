//! Answers that no GitLab gives, but what stands before it may: redirects, and pages of a proxy.

use std::sync::{Arc, Mutex};

use adapter_forge::{Config, Forges, HostConfig, Provider};
use domain::{ErrorKind, RepoRef, TicketKind, TicketRef};
use ports::Tickets;
use testkit::gitlab::TOKEN;

fn forges(hosts: Vec<HostConfig>) -> Forges {
    Forges::new(&Config { hosts, local: None }).expect("a usable configuration")
}

/// Answers every request with `answer`, and keeps what was asked.
fn scripted(answer: String) -> (String, Arc<Mutex<Vec<String>>>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut head = vec![0; 64 << 10];
            let read = stream.read(&mut head).unwrap_or(0);
            kept.lock()
                .expect("no panic")
                .push(String::from_utf8_lossy(&head[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, seen)
}

#[tokio::test]
async fn a_redirect_takes_the_token_to_no_other_host_and_a_write_nowhere() {
    let (elsewhere, seen) =
        scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".to_owned());
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let (url, asked) = scripted(format!(
            "HTTP/1.1 {status}\r\nLocation: {elsewhere}/x?sig=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        let mut config = HostConfig::new(Provider::Gitlab);
        config.url = Some(url.parse().expect("an address"));
        config.token = Some(TOKEN.into());
        let repo = RepoRef {
            provider: "gitlab".into(),
            url,
            project: "7".into(),
        };
        let at = TicketRef {
            repo,
            kind: TicketKind::Issue,
            iid: 1,
        };
        let forges = forges(vec![config]);
        forges.ticket(&at).await.expect_err("no ticket");
        let error = forges
            .create_note(&at, "secret words")
            .await
            .expect_err("no note");
        assert_eq!(error.kind, ErrorKind::NotFound, "{status}: {error}");
        assert!(
            error.to_string().contains("it has moved to") && !error.to_string().contains("sig=1"),
            "{error}"
        );
        assert!(
            asked
                .lock()
                .expect("no panic")
                .iter()
                .all(|head| head.contains(TOKEN))
        );
    }
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 4, "the reads alone followed");
    for head in seen.iter() {
        assert!(
            !head.contains(TOKEN) && !head.to_lowercase().contains("private-token"),
            "{head}"
        );
        assert!(!head.contains("secret words"), "{head}");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_leaves_a_write_in_doubt() {
    let page = "<html>Welcome to the proxy</html>";
    let (url, _) = scripted(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    ));
    let mut config = HostConfig::new(Provider::Gitlab);
    config.url = Some(url.parse().expect("an address"));
    config.token = Some(TOKEN.into());
    let repo = RepoRef {
        provider: "gitlab".into(),
        url,
        project: "group/app".into(),
    };
    let at = TicketRef {
        repo,
        kind: TicketKind::Issue,
        iid: 1,
    };
    let forges = forges(vec![config]);
    let error = forges.create_note(&at, "hello").await.expect_err("no note");
    assert!(error.is_in_doubt(), "{error:?}");
    let error = forges.ticket(&at).await.expect_err("no ticket");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error:?}");
}
