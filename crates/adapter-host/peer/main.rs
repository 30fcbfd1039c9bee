//! What the tests of this crate start: a keeper, as `longshore` has one, and versions of a small server of HTTP.
//! Both end with the process whose number they are given, so that a test that was killed leaves nothing behind.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use adapter_host::{HostConfig, HostFleet, KeeperCommand};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // By hand a keeper is begun without a word of who began it.
        ["keep", test, ref by @ .., folder] if matches!(by, [] | ["--begun-by", _]) => {
            end_with(test);
            let by = by.last().copied().map(str::to_owned);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            if let Err(error) = runtime.block_on(adapter_host::keep(Path::new(folder), by)) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        // What a worker does of itself: sees to it that what is wished for is kept.
        ["work", test, config, runtime_dir] => {
            end_with(test);
            let config = std::fs::read(config).expect("the configuration");
            let config: HostConfig = serde_json::from_slice(&config).expect("is one");
            let keeper = KeeperCommand {
                program: std::env::current_exe().expect("this program"),
                args: vec!["keep".to_owned(), test.to_owned()],
                runtime_dir: runtime_dir.into(),
            };
            let fleet = HostFleet::new(&config, keeper).expect("usable");
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            loop {
                runtime
                    .block_on(fleet.revive())
                    .expect("keeps what is wished for");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        ["serve", test, port, version] => {
            end_with(test);
            if version.contains("crashing") {
                eprintln!("cannot open the database");
                std::process::exit(3);
            }
            let port: u16 = port.parse().expect("a port");
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
            for stream in listener.incoming() {
                let (stream, version) = (stream.expect("a connection"), version.to_owned());
                if version.contains("hanging") {
                    // Taken, and never answered.
                    std::mem::forget(stream);
                    continue;
                }
                std::thread::spawn(move || _ = answer(&stream, &version));
            }
        }
        _ => panic!(
            "keep TEST [--begun-by WHO] FOLDER, work TEST CONFIG RUNTIME-DIR, or serve TEST PORT VERSION"
        ),
    }
}

fn end_with(test: &str) {
    let process = format!("/proc/{test}");
    std::thread::spawn(move || {
        while Path::new(&process).exists() {
            std::thread::sleep(Duration::from_millis(200));
        }
        std::process::exit(0);
    });
}

/// Every answer takes a little, so that some are always under way; one to `/slow` takes two seconds.
fn answer(stream: &TcpStream, version: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut slow) = (String::new(), false);
    while reader.read_line(&mut line)? > 0 {
        slow |= line.starts_with("GET /slow");
        if line == "\r\n" {
            std::thread::sleep(Duration::from_millis(if slow { 2000 } else { 1 }));
            slow = false;
            let body = format!("{version} {}", std::process::id());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            (&mut &*stream).write_all(answer.as_bytes())?;
        }
        line.clear();
    }
    Ok(())
}
