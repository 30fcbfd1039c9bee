//! Clients who ask without end, over kept connections and new ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What they saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub asked: u64,
    /// A version's own errors, as it answered them.
    pub errors: u64,
    /// Whatever else was no good answer.
    pub lost: Vec<String>,
}

pub struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Clients {
    pub fn start(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |keeps: bool| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut seen, mut kept) = (Seen::default(), None);
                while !over.load(Ordering::Relaxed) {
                    seen.asked += 1;
                    match ask(port, kept.take()) {
                        Ok((Answer::Well, stream)) => kept = stream.filter(|_| keeps),
                        Ok((Answer::OwnError, stream)) => {
                            seen.errors += 1;
                            kept = stream.filter(|_| keeps);
                        }
                        Err(error) => seen.lost.push(error),
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                seen
            })
        };
        let threads = [true, true, false].map(client).into();
        Self { over, threads }
    }

    pub fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().expect("no panic");
            all.asked += seen.asked;
            all.errors += seen.errors;
            all.lost.extend(seen.lost);
        }
        all
    }
}

enum Answer {
    Well,
    OwnError,
}

type Connection = BufReader<TcpStream>;

fn ask(port: u16, kept: Option<Connection>) -> Result<(Answer, Option<Connection>), String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port)).map_err(broken)?;
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .map_err(broken)?;
            BufReader::new(stream)
        }
    };
    let request = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    stream.get_mut().write_all(request).map_err(broken)?;
    let (mut head, mut length, mut keeps) = (String::new(), 0, true);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).map_err(broken)?;
        let lower = line.trim_end().to_ascii_lowercase();
        if let Some(count) = lower.strip_prefix("content-length: ") {
            length = count.parse().unwrap_or_default();
        }
        keeps &= lower != "connection: close";
        if head.is_empty() {
            head = lower;
        } else if lower.is_empty() {
            break;
        }
        if line.is_empty() {
            return Err(format!("no whole answer: {head:?}"));
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(broken)?;
    let answer = if head.contains(" 200 ") {
        Answer::Well
    } else if head.contains(" 500 ") && body.starts_with(b"shop v") {
        Answer::OwnError
    } else {
        return Err(head);
    };
    Ok((answer, keeps.then_some(stream)))
}

/// What a new one gets now.
pub fn body(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
        .expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("is answered");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    body.to_owned()
}
