use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Stands between the adapter and HAProxy's sockets: counts what is changed, takes rights away and cuts connections.
pub struct Gate {
    path: PathBuf,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    dir: PathBuf,
    denies: AtomicBool,
    cuts: AtomicBool,
    hangs: AtomicBool,
    changes: AtomicUsize,
}

impl Gate {
    /// Before the sockets `admin.sock` and `operator.sock` in that folder.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("gate.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        let state = Arc::new(State {
            dir: dir.to_owned(),
            denies: AtomicBool::new(false),
            cuts: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            changes: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { state.pass(stream).await });
            }
        });
        Self { path, state, task }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn changes(&self) -> usize {
        self.state.changes.load(Ordering::SeqCst)
    }

    /// From now on with the rights of an operator, who may look.
    pub fn deny(&self) {
        self.state.denies.store(true, Ordering::SeqCst);
    }

    /// The next change is carried out, and nothing is heard of it.
    pub fn cut_next_change(&self) {
        self.state.cuts.store(true, Ordering::SeqCst);
    }

    /// Nothing is answered any more.
    pub fn hang(&self) {
        self.state.hangs.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn pass(&self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if self.hangs.load(Ordering::SeqCst) {
            stream.read_line(&mut line).await?;
            return Ok(());
        }
        let denies = self.denies.load(Ordering::SeqCst);
        let level = if denies { "operator.sock" } else { "admin.sock" };
        let mut far = UnixStream::connect(self.dir.join(level)).await?;
        far.write_all(line.as_bytes()).await?;
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await?;
        let changes = line.matches("set weight").count() + line.matches("set server").count();
        if changes > 0 && !denies {
            self.changes.fetch_add(changes, Ordering::SeqCst);
            if self.cuts.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
        }
        stream.write_all(&answer).await
    }
}
