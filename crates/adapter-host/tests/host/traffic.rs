//! Real traffic while versions change.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ports::TrafficRouter;

use crate::peers::{Client, Site, Way, both_ways, idem, lives, until};

both_ways! {
    a_canary_is_promoted_and_no_request_fails
    a_replica_ends_when_its_last_request_has_its_answer
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    kept: AtomicU64,
    new: AtomicU64,
    failed: AtomicU64,
    /// By version.
    answers: std::sync::Mutex<BTreeMap<String, u64>>,
    failures: std::sync::Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl Seen {
    fn all(&self) -> u64 {
        self.kept.load(Ordering::SeqCst) + self.new.load(Ordering::SeqCst)
    }

    fn answers(&self) -> BTreeMap<String, u64> {
        self.answers.lock().expect("no panic").clone()
    }

    fn note(&self, answer: std::io::Result<(u16, String)>) {
        match answer {
            Ok((200, body)) => {
                let version = body.split(' ').next().unwrap_or_default().to_owned();
                *self.answers.lock().expect("no panic").entry(version).or_default() += 1;
            }
            other => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                self.failures.lock().expect("no panic").push(format!("{other:?}"));
            }
        }
    }
}

/// Clients of both kinds, until they are told to end.
fn load(port: u16, seen: &Arc<Seen>) -> Vec<std::thread::JoinHandle<()>> {
    let client = |keeps: bool| {
        let seen = Arc::clone(seen);
        std::thread::spawn(move || {
            let mut client = Client::new(port);
            while !seen.ends.load(Ordering::Relaxed) {
                if !keeps {
                    client = Client::new(port);
                }
                seen.note(client.get());
                let count = if keeps { &seen.kept } else { &seen.new };
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    [true, true, true, true, true, true, false, false]
        .map(client)
        .into()
}

/// As many more requests as that, and what each version answered of them.
async fn of_the_next(seen: &Seen, requests: u64) -> BTreeMap<String, u64> {
    let (before, from) = (seen.answers(), seen.all());
    until("so many were asked", || async { seen.all() >= from + requests }).await;
    let mut now = seen.answers();
    for (version, count) in &mut now {
        *count -= before.get(version).copied().unwrap_or_default();
    }
    now
}

fn percent(answers: &BTreeMap<String, u64>, version: &str) -> f64 {
    let all: u64 = answers.values().sum();
    answers.get(version).copied().unwrap_or_default() as f64 * 100.0 / all as f64
}

async fn a_canary_is_promoted_and_no_request_fails(way: Way) {
    const AT_LEAST: u64 = 50_000;
    let site = Site::start_by(way);
    site.roll_out("v1", 2).await;
    site.complete().await;
    let begun = Instant::now();
    let seen = Arc::new(Seen::default());
    let clients = load(site.haproxy.port(), &seen);

    let router = site.router();
    site.launch("v2", 1).await;
    site.complete().await;
    let mut traffic = router.read(&site.route()).await.expect("reads");
    let mut told = Vec::new();
    for weight in [0, 10, 50, 100] {
        traffic = router
            .set(&site.route(), weight, &traffic.mark, &idem())
            .await
            .expect("sets");
        let answers = of_the_next(&seen, 8_000).await;
        let share = percent(&answers, "v2");
        told.push(format!("{weight} %: {share:.1}"));
        assert!(
            (share - traffic.candidate.percent()).abs() < 3.0,
            "{weight} %: {share} {answers:?}"
        );
    }
    // Promoted: the stable side becomes the same version while nobody asks it, and takes over.
    site.roll_out("v2", 2).await;
    site.complete().await;
    router
        .set(&site.route(), 0, &traffic.mark, &idem())
        .await
        .expect("sets");
    site.retire().await;
    site.complete().await;
    until("it is gone", || async {
        site.group(ports::Side::Candidate).await.is_none()
    })
    .await;
    // A roll-out under load, without a candidate.
    site.roll_out("v3", 2).await;
    site.complete().await;
    let left = AT_LEAST.saturating_sub(seen.all()).max(2_000);
    let last = of_the_next(&seen, left).await;
    assert!(percent(&last, "v3") > 99.0, "{last:?}");

    seen.ends.store(true, Ordering::SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().expect("no panic"));
    let failures = seen.failures.lock().expect("no panic").clone();
    println!(
        "{} requests in {:.1} s ({} over kept connections, {} over new ones), {} failed; shares {told:?}; answers {:?}",
        seen.all(),
        begun.elapsed().as_secs_f32(),
        seen.kept.load(Ordering::SeqCst),
        seen.new.load(Ordering::SeqCst),
        failures.len(),
        seen.answers(),
    );
    assert_eq!(failures, Vec::<String>::new());
    assert!(seen.all() >= AT_LEAST, "only {} requests", seen.all());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

fn slow(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let request = b"GET /slow HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("asks");
    stream
}

async fn is_under_way(site: &Site) {
    until("the request is under way", || async {
        let table = site.haproxy.ask("show stat shop 4 -1");
        table
            .lines()
            .any(|line| line.starts_with("shop,stable") && line.split(',').nth(4) == Some("1"))
    })
    .await;
}

async fn a_replica_ends_when_its_last_request_has_its_answer(way: Way) {
    let site = Site::start_by(way);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let old = site.processes()[0];
    let mut stream = slow(site.haproxy.port());
    is_under_way(&site).await;
    site.roll_out("v2", 1).await;
    until("the new one serves", || async { site.ask().0 == "v2" }).await;
    assert!(lives(old), "it still has a request to answer");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("is answered");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("v1"),
        "{answer}"
    );
    site.complete().await;
    assert!(!lives(old));
}

#[tokio::test]
async fn a_drain_has_a_limit() {
    let soon = |workload: &mut adapter_host::WorkloadConfig| {
        workload.drain_limit = domain::Span(Duration::from_millis(200))
    };
    let site = Site::with(crate::peers::BACKENDS, soon);
    site.roll_out("v1", 1).await;
    site.complete().await;
    let old = site.processes()[0];
    let mut stream = slow(site.haproxy.port());
    is_under_way(&site).await;
    site.roll_out("v2", 1).await;
    until("it was ended", || async { !lives(old) }).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("is told");
    assert!(
        !answer.contains("200 OK"),
        "it did not wait for the answer: {answer}"
    );
    site.complete().await;
}
