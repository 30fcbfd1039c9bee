//! Clients who never stop asking: each asks again as soon as it has its answer, so that a slow machine is asked less. What
//! a version of the shop answers, well or with an error of its own, is told from what no version answered: connections
//! refused or cut, answers of HAProxy's, answers that end too soon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Longer than anybody waits for a page; nothing here takes a tenth of it on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Version `v7` of the shop is 7.
pub type Version = u16;

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Well(Version),
    /// An error that the version itself answered.
    Bad(Version),
    /// No version's answer.
    Lost(String),
}

#[derive(Clone, Debug)]
pub struct Request {
    /// Unix seconds, as those of the database on the same machine.
    pub asked: f64,
    pub answered: f64,
    pub answer: Answer,
}

/// What the requests of some time came to.
#[derive(Default)]
pub struct Tally {
    pub all: usize,
    /// By version, well and not.
    pub answers: BTreeMap<Version, (usize, usize)>,
    pub lost: Vec<String>,
    /// When each version answered last.
    pub last: BTreeMap<Version, f64>,
    /// Of each second.
    by_second: BTreeMap<u64, BTreeMap<Version, usize>>,
    /// Seconds.
    pub longest: f64,
}

impl Tally {
    pub fn of(&self, version: Version) -> (usize, usize) {
        self.answers.get(&version).copied().unwrap_or_default()
    }

    /// Either version answered somebody.
    pub fn both(&self, one: Version, other: Version) -> bool {
        [one, other]
            .iter()
            .all(|version| self.answers.contains_key(version))
    }

    /// Of all requests, how many in a hundred reached the version.
    pub fn share(&self, version: Version) -> f64 {
        let (well, bad) = self.of(version);
        percent(well + bad, self.all)
    }

    /// The same of the second in which it was most.
    pub fn most(&self, version: Version) -> f64 {
        let shares = self.by_second.values().map(|second| {
            let of = second.get(&version).copied().unwrap_or_default();
            percent(of, second.values().sum())
        });
        shares.fold(0.0, f64::max)
    }
}

fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

pub struct Load {
    port: u16,
    over: CancellationToken,
    clients: Vec<Client>,
}

struct Client {
    seen: Arc<Mutex<Vec<Request>>>,
    asking: tokio::task::JoinHandle<()>,
}

impl Load {
    /// `kept` clients keep their connections, `fresh` ones make a new one for each request.
    pub fn begin(port: u16, kept: usize, fresh: usize) -> Self {
        let over = CancellationToken::new();
        let client = |keeps| {
            let (seen, over) = (Arc::<Mutex<Vec<Request>>>::default(), over.clone());
            let asking = tokio::spawn(visit(port, keeps, seen.clone(), over));
            Client { seen, asking }
        };
        let keeps = std::iter::repeat_n(true, kept).chain(std::iter::repeat_n(false, fresh));
        let clients = keeps.map(client).collect();
        Self { port, over, clients }
    }

    /// Of the requests that were asked since, and answered.
    pub fn since(&self, from: f64) -> Tally {
        let mut tally = Tally::default();
        for client in &self.clients {
            let seen = client.seen.lock().expect("no client panics");
            // In the order of time.
            let begin = seen.partition_point(|request| request.asked < from);
            for request in &seen[begin..] {
                tally.all += 1;
                tally.longest = tally.longest.max(request.answered - request.asked);
                let (version, well) = match &request.answer {
                    Answer::Well(version) => (*version, true),
                    Answer::Bad(version) => (*version, false),
                    Answer::Lost(how) => {
                        tally.lost.push(how.clone());
                        continue;
                    }
                };
                let count = tally.answers.entry(version).or_default();
                *(if well { &mut count.0 } else { &mut count.1 }) += 1;
                let second = tally.by_second.entry(request.asked as u64).or_default();
                *second.entry(version).or_default() += 1;
                let last = tally.last.entry(version).or_default();
                *last = last.max(request.answered);
            }
        }
        tally
    }

    /// Those that are asked from now on, until there are so many.
    pub async fn next(&self, many: usize) -> Tally {
        let from = now();
        loop {
            let tally = self.since(from);
            if tally.all >= many {
                return tally;
            }
            let ended = self.clients.iter().any(|client| client.asking.is_finished());
            assert!(!ended, "a client of port {} gave up", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every client has its last answer, and asks no more.
    pub async fn end(&mut self) {
        self.over.cancel();
        for client in &mut self.clients {
            (&mut client.asking).await.expect("no client panics");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

type Connection = BufReader<TcpStream>;

async fn visit(port: u16, keeps: bool, seen: Arc<Mutex<Vec<Request>>>, over: CancellationToken) {
    let mut kept = None;
    while !over.is_cancelled() {
        let asked = now();
        let asking = tokio::time::timeout(PATIENCE, ask(port, kept.take(), keeps)).await;
        let answer = match asking.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}"))) {
            Ok((answer, connection)) => {
                kept = connection;
                answer
            }
            Err(how) => Answer::Lost(how),
        };
        let is_lost = matches!(answer, Answer::Lost(_));
        let request = Request {
            asked,
            answered: now(),
            answer,
        };
        seen.lock().expect("no client panics").push(request);
        if is_lost {
            // Where nobody listens a client would ask for nothing else than errors.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// One request; and the connection, if it may be kept.
pub async fn ask(
    port: u16,
    kept: Option<Connection>,
    keeps: bool,
) -> Result<(Answer, Option<Connection>), String> {
    let on = if kept.is_some() { "a kept" } else { "a new" };
    let broken = |error: std::io::Error| format!("{error} on {on} connection");
    let mut stream = match kept {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.map_err(broken)?),
    };
    let request = match keeps {
        true => "GET / HTTP/1.1\r\nhost: shop\r\n\r\n",
        false => "GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n",
    };
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let (mut status, mut length, mut stays) = (String::new(), None, keeps);
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.map_err(broken)?;
        if read == 0 {
            return Err(format!(
                "closed before the answer was whole on {on} connection: {status:?}"
            ));
        }
        let line = line.trim_end();
        let header = line.to_ascii_lowercase();
        if status.is_empty() {
            line.clone_into(&mut status);
        } else if let Some(said) = header.strip_prefix("content-length:") {
            length = said.trim().parse::<usize>().ok();
        } else if header.starts_with("connection:") && header.ends_with("close") {
            stays = false;
        } else if header.is_empty() {
            break;
        }
    }
    let length = length.ok_or_else(|| format!("{status} without a length"))?;
    let mut body = vec![0; length];
    let cut = |error: std::io::Error| format!("{status} and a body cut off on {on} connection: {error}");
    stream.read_exact(&mut body).await.map_err(cut)?;
    if !stays {
        let mut more = Vec::new();
        stream.read_to_end(&mut more).await.map_err(broken)?;
        if !more.is_empty() {
            return Err(format!("{status} and {} bytes too many", more.len()));
        }
    }
    let answer = read(&status, &String::from_utf8_lossy(&body));
    Ok((answer, stays.then_some(stream)))
}

/// Only a version of the shop signs its answers.
fn read(status: &str, body: &str) -> Answer {
    let version = body
        .strip_prefix("shop v")
        .and_then(|rest| rest.strip_suffix('\n'));
    let version = version.and_then(|number| number.parse().ok());
    match (version, status) {
        (Some(version), "HTTP/1.1 200 OK") => Answer::Well(version),
        (Some(version), "HTTP/1.1 500 Internal Server Error") => Answer::Bad(version),
        _ => Answer::Lost(format!("{status}: {}", body.trim_end())),
    }
}

/// A server that answers each request so, and then closes.
async fn server(answer: &'static str) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 512];
            // What closes with something unread resets.
            let all = if answer == RESETS { 1 } else { asked.len() };
            _ = stream.read(&mut asked[..all]).await;
            if answer != RESETS {
                _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    port
}

const RESETS: &str = "(reset)";

#[tokio::test]
async fn what_is_lost_is_told_from_what_a_version_answers() {
    const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nshop v7\n";
    const BAD: &str =
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 8\r\nconnection: close\r\n\r\nshop v7\n";
    let answered = |answer: &'static str| async move {
        let load = Load::begin(server(answer).await, 1, 1);
        load.next(4).await
    };
    for (answer, counts) in [(WELL, (1, 0)), (BAD, (0, 1))] {
        let tally = answered(answer).await;
        let (well, bad) = tally.of(7);
        assert_eq!((well > 0, bad > 0), (counts.0 > 0, counts.1 > 0), "{answer}");
        assert_eq!((tally.all, tally.lost.len()), (well + bad, 0), "{:?}", tally.lost);
    }
    for (answer, says) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\nconnection: close\r\n\r\nshop v7\n",
            "503",
        ),
        (
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry",
            "sorry",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshop v7\n", "cut off"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "before the answer was whole"),
        ("HTTP/1.1 200 OK\r\n\r\nshop v7\n", "without a length"),
        ("", "before the answer was whole"),
        (RESETS, "reset"),
    ] {
        let tally = answered(answer).await;
        assert_eq!(tally.lost.len(), tally.all, "{answer:?}: {:?}", tally.answers);
        assert!(
            tally.lost.iter().all(|how| how.contains(says)),
            "{answer:?}: {:?}",
            tally.lost
        );
    }
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr());
    let tally = Load::begin(nobody.expect("a free port").port(), 1, 1)
        .next(2)
        .await;
    assert!(
        tally.lost.iter().all(|how| how.contains("refused")),
        "{:?}",
        tally.lost
    );
}
