//! Stands between everybody and HAProxy's runtime API, and writes down what it is told to change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Stops when it is dropped.
pub struct Wire {
    socket: PathBuf,
    told: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// What ends it.
const OVER: &str = "over";

impl Wire {
    /// `socket` is its own, and `haproxy` HAProxy's.
    pub fn start(socket: PathBuf, haproxy: &Path) -> Self {
        let listener = UnixListener::bind(&socket).expect("listens");
        let (told, haproxy) = (Arc::new(Mutex::new(Vec::new())), haproxy.to_owned());
        let written = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let mut lines = BufReader::new(client);
                let mut line = String::new();
                // Who dies before it has said a whole line has said nothing.
                if lines.read_line(&mut line).is_err() || !line.ends_with('\n') {
                    continue;
                }
                if line.trim_end() == OVER {
                    return;
                }
                let changes = line.trim_end().split(';').filter(|command| {
                    command.starts_with("set weight ") || command.starts_with("set server ")
                });
                written
                    .lock()
                    .expect("no panic")
                    .extend(changes.map(str::to_owned));
                _ = hand_on(&line, &haproxy, lines.into_inner());
            }
        });
        Self {
            socket,
            told,
            thread: Some(thread),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How often each weight was set.
    pub fn weights(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        let told = self.told.lock().expect("no panic");
        for command in told.iter().filter_map(|told| told.strip_prefix("set weight ")) {
            *count.entry(command.to_owned()).or_default() += 1;
        }
        count
    }

    /// How many other changes of servers there were.
    pub fn others(&self) -> usize {
        let told = self.told.lock().expect("no panic");
        told.iter().filter(|told| told.starts_with("set server ")).count()
    }
}

fn hand_on(line: &str, haproxy: &Path, mut client: UnixStream) -> std::io::Result<()> {
    let mut haproxy = UnixStream::connect(haproxy)?;
    haproxy.write_all(line.as_bytes())?;
    let mut answer = Vec::new();
    haproxy.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Both)
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Ok(mut own) = UnixStream::connect(&self.socket) {
            _ = own.write_all(format!("{OVER}\n").as_bytes());
        }
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
