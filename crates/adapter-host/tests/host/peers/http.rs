use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server of this process that answers every request with its name.
pub struct Origin {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Origin {
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream {
                    std::thread::spawn(move || _ = answer(&stream, name));
                }
            }
        });
        Self { address, ends }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        _ = TcpStream::connect(self.address);
    }
}

fn answer(stream: &TcpStream, name: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            (&mut &*stream).write_all(answer.as_bytes())?;
        }
        line.clear();
    }
    Ok(())
}

/// Asks over one connection, for as long as that is kept.
pub struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Status and body. A connection that its other end closed between two requests is no failure; one that breaks
    /// under a request is.
    pub fn get(&mut self) -> io::Result<(u16, String)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream
            .get_mut()
            .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no answer: {line:?}")))?;
        let (mut length, mut keeps) = (0, true);
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(count) = header.strip_prefix("content-length: ") {
                length = count.parse().map_err(io::Error::other)?;
            }
            keeps &= header != "connection: close";
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        self.stream = keeps.then_some(stream);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
