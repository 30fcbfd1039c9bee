//! What the adapter for GitLab says where a call is refused, held back or has no token, and that it gives none away.

use std::time::Duration;

use domain::{ErrorKind, Idem, RepoRef};
use futures_util::StreamExt;
use ports::{Forge, Tickets};
use serde_json::json;
use testkit::gitlab::{FakeGitlab, Role, Scope, TOKEN};
use testkit::peer::{Fault, When};

use crate::{PROJECT, failed, forges, host};

#[tokio::test]
async fn a_body_of_commands_alone_is_refused_in_clear_words() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(PROJECT, &[]);
    let error = forges(vec![host(&fake)])
        .create_note(&at, "/close")
        .await
        .expect_err("no note");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("commands"), "{error}");
    assert_eq!(fake.with(|world| world.quick_actions.len()), 1);
}

#[tokio::test]
async fn each_refusal_has_its_kind_for_reads_and_for_writes() {
    use ErrorKind::{Conflict, Denied, Invalid, NotFound, RateLimited, Timeout, Unavailable};
    for (fault, read, write) in [
        (Fault::Status(400), Invalid, Invalid),
        (Fault::Status(401), Denied, Denied),
        (Fault::Status(403), Denied, Denied),
        (Fault::Status(404), NotFound, NotFound),
        (Fault::Status(409), Conflict, Conflict),
        (Fault::Status(413), Invalid, Invalid),
        (Fault::Status(422), Invalid, Invalid),
        (Fault::Status(500), Unavailable, Timeout),
        (Fault::Status(502), Unavailable, Timeout),
        (Fault::Status(503), Unavailable, Unavailable),
        (Fault::Cut, Unavailable, Timeout),
        (Fault::DoneThenStatus(504), Unavailable, Timeout),
        (
            Fault::RateLimited(Duration::from_secs(1)),
            RateLimited,
            RateLimited,
        ),
    ] {
        let fake = FakeGitlab::start();
        let at = fake.open_issue(PROJECT, &[]);
        let reader = forges(vec![host(&fake)]);
        fake.fault(&When::any(), &fault);
        let error = reader.ticket(&at).await.expect_err("read");
        assert_eq!(error.kind, read, "{fault:?}: {error}");
        let writer = forges(vec![host(&fake)]);
        fake.fault(&When::any(), &fault);
        let error = writer.create_note(&at, "hello").await.expect_err("write");
        assert_eq!(error.kind, write, "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_even_for_a_write() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(PROJECT, &[]);
    let forges = forges(vec![host(&fake)]);
    drop(fake);
    let error = forges
        .create_note(&at, "hello")
        .await
        .expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("can be reached"), "{error}");
}

#[tokio::test]
async fn the_pause_that_was_asked_for_is_kept_without_asking_again() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(PROJECT, &[]);
    let forges = forges(vec![host(&fake)]);
    fake.fault(&When::any(), &Fault::RateLimited(Duration::from_secs(60)));
    forges.ticket(&at).await.expect_err("refused");
    let error = forges.ticket(&at).await.expect_err("held back");
    assert_eq!(error.kind, ErrorKind::RateLimited);
    let wait = error.retry_after().expect("says how long");
    assert!(
        wait > Duration::from_secs(50) && wait <= Duration::from_secs(60),
        "{wait:?}"
    );
    assert_eq!(fake.requests().len(), 1, "the second call stayed at home");
}

#[tokio::test]
async fn our_own_rate_is_kept() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(PROJECT, &[]);
    let mut slow = host(&fake);
    slow.requests_per_minute = 1;
    // The next turn is a minute away, which is longer than anybody waits here.
    slow.timeout = Duration::from_secs(3);
    let forges = forges(vec![slow]);
    forges.ticket(&at).await.expect("the first");
    let error = forges.ticket(&at).await.expect_err("the second");
    assert_eq!(error.kind, ErrorKind::RateLimited, "{error}");
    assert!(
        error.to_string().contains("our own limit of 1 requests a minute"),
        "{error}"
    );
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn the_message_says_what_is_missing_and_where() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(PROJECT, &[]);
    let forges = forges(vec![host(&fake)]);
    fake.with(|world| world.limit_token(Scope::ReadApi, Role::Developer));
    let error = forges
        .create_note(&at, "hello")
        .await
        .expect_err("read-only token");
    let told = error
        .to_string()
        .replace(fake.url().trim_start_matches("http://"), "HOST");
    assert_eq!(
        told,
        "could not write a note on issue 1 of group/app at HOST: the answer was 403 Forbidden: insufficient_scope: \
         The request requires higher privileges than provided by the access token. \
         The token may not do this: give it the `api` scope and at least the Reporter role"
    );
}

#[tokio::test]
async fn the_host_in_the_address_decides_which_token_is_sent() {
    let (one, two) = (FakeGitlab::start(), FakeGitlab::start());
    let forges = forges(vec![host(&one), host(&two)]);
    let at = two.open_issue(PROJECT, &[]);
    forges.ticket(&at).await.expect("reads");
    assert_eq!((one.requests().len(), two.requests().len()), (0, 1));

    for (provider, url, kind, words) in [
        (
            "gitlab",
            "https://elsewhere.example/group/app",
            ErrorKind::Denied,
            "no token for elsewhere.example",
        ),
        (
            "github",
            "https://github.com/group/app",
            ErrorKind::Denied,
            "no token for github.com",
        ),
        ("gitlab", "not an address", ErrorKind::Invalid, "no web address"),
        (
            "bitbucket",
            "",
            ErrorKind::Invalid,
            "`bitbucket`, which is unknown",
        ),
        ("local", "", ErrorKind::Invalid, "no ticket folder"),
    ] {
        let mut at = at.clone();
        at.repo.provider = provider.to_owned();
        at.repo.url = url.to_owned();
        let error = forges.ticket(&at).await.expect_err(words);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_missing_token_fails_the_calls_that_need_it_and_nothing_else() {
    let (with, without) = (FakeGitlab::start(), FakeGitlab::start());
    let mut bare = host(&without);
    bare.token = None;
    let forges = forges(vec![bare, host(&with)]);
    forges
        .ticket(&with.open_issue(PROJECT, &[]))
        .await
        .expect("the other one works");
    let error = forges
        .ticket(&without.open_issue(PROJECT, &[]))
        .await
        .expect_err("no token");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("Set the token"), "{error}");
    assert_eq!(without.requests(), []);
}

#[tokio::test]
async fn no_error_holds_the_token() {
    let token_of = |number: u32| format!("glpat-secret{number:08}");
    let faults = [400, 401, 403, 404, 409, 422, 429, 500, 502, 503].map(Fault::Status);
    let others = [Fault::Cut, Fault::CutBody(3), Fault::Hang, Fault::DoneThenCut];
    for (number, fault) in faults.into_iter().chain(others).enumerate() {
        let fake = FakeGitlab::start();
        let token = token_of(u32::try_from(number).expect("small"));
        fake.with(|world| {
            let ours = world.tokens[TOKEN].clone();
            world.tokens.insert(token.clone(), ours);
        });
        let placed = fake.add_pipeline(PROJECT, &failed(&["test"]));
        let at = fake.open_issue(PROJECT, &[]);
        // Credentials in the repository's address must not come out either.
        let with_password = |repo: &RepoRef| RepoRef {
            url: repo.url.replace("http://", &format!("http://oauth2:{token}@")),
            ..repo.clone()
        };
        let mut at = at;
        at.repo = with_password(&at.repo);
        let repo = with_password(&placed.repo);
        let mut job = placed.jobs[0].clone();
        job.repo = repo.clone();
        let idem = Idem::new("t/s/k");
        for call in 0..7 {
            let mut host = host(&fake);
            host.token = Some(token.as_str().into());
            host.timeout = Duration::from_millis(200);
            let forges = forges(vec![host]);
            fake.clear_faults();
            fake.faults(3, &When::any(), &fault);
            let error = match call {
                0 => forges.ticket(&at).await.err(),
                1 => forges.create_note(&at, "hello").await.err(),
                2 => forges.own_notes(&at).await.err(),
                3 => forges.failed_jobs(&repo, placed.pipeline).await.err(),
                4 => forges.retry_job(&job, &[], &idem).await.err(),
                5 => forges.job(&job).await.err(),
                _ => match forges.log(&job).await {
                    Err(error) => Some(error),
                    Ok(mut log) => log.next().await.and_then(Result::err),
                },
            };
            let Some(error) = error else { continue };
            let whole = format!("{error} {error:?} {}", json!(error));
            assert!(!whole.contains(&token), "{fault:?}, call {call}: {whole}");
        }
    }
}

#[tokio::test]
async fn a_server_that_repeats_our_token_is_masked() {
    let fake = FakeGitlab::start();
    let at = fake.open_issue(&format!("group/{TOKEN}"), &[]);
    let forges = forges(vec![host(&fake)]);
    fake.fault(&When::any(), &Fault::Echo(418));
    let error = forges.ticket(&at).await.expect_err("refused");
    let causes = error.causes.join(" ");
    assert!(causes.contains("[token]") && !causes.contains(TOKEN), "{error}");
}
