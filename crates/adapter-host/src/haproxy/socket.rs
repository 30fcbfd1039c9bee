use std::io;
use std::time::Duration;

use domain::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Address;

/// Makes HAProxy say how bad each of its messages is: without, a refusal looks like any other text.
const SEVERITIES: &str = "set severity-output number";
/// Up to here a message says that the command was refused; above it tells what was done.
const WORST_OF_SUCCESS: char = '4';
/// HAProxy takes one line of at most a buffer (16 KiB by default).
const LINE: usize = 8000;

/// The runtime API: a connection for each question, so that a restart of HAProxy in between goes unnoticed.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    address: Address,
    timeout: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Runtime {
    pub(crate) fn new(address: Address, timeout: Duration) -> Self {
        Self { address, timeout }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The answer to a command that changes nothing.
    pub(crate) async fn ask(&self, command: &str) -> Result<String> {
        let answers = self.talk(std::slice::from_ref(&command), false).await?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// Gives commands that change something, in order and as many as possible in one line. The first that is refused
    /// is the error; those after it in the same line were given all the same.
    pub(crate) async fn tell(&self, commands: &[String]) -> Result<()> {
        let mut rest = commands;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = rest.iter().take_while(|command| {
                length += command.len() + 1;
                length <= LINE
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let now: Vec<&str> = now.iter().map(String::as_str).collect();
            self.talk(&now, true).await?;
            rest = later;
        }
        Ok(())
    }

    async fn talk(&self, commands: &[&str], changes: bool) -> Result<Vec<String>> {
        let mut stream = match timeout(self.timeout, self.connect()).await {
            Ok(stream) => stream.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.unreachable(&io::ErrorKind::TimedOut.into())),
        };
        let line = format!("{SEVERITIES};{}\n", commands.join(";"));
        let mut said = Vec::new();
        let exchange = async {
            stream.write_all(line.as_bytes()).await?;
            stream.read_to_end(&mut said).await
        };
        let broken = match timeout(self.timeout, exchange).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no whole answer in {} s", self.timeout.as_secs_f32()),
            )),
        };
        let said = String::from_utf8_lossy(&said);
        let mut answers = answers(&said);
        if broken.is_some() || answers.len() != commands.len() + 1 {
            let error = broken.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Err(self.cut(commands, changes, &error));
        }
        answers.remove(0);
        for (answer, command) in answers.iter().zip(commands) {
            if let Some(refusal) = refusal(answer) {
                return Err(self.refused(command, refusal));
            }
        }
        Ok(answers)
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        })
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let what = format!("could not reach HAProxy's runtime API at {}", self.address);
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::denied(what)
                .because(error)
                .next("Give our user the socket: `user`, `group` or `mode` of its `stats socket` line"),
            io::ErrorKind::NotFound => Error::unavailable(format!("{what}: there is no such socket"))
                .next("Is HAProxy running, and is this the path of its `stats socket` line?"),
            _ => Error::unavailable(what)
                .because(error)
                .next("Is HAProxy running, and does it answer there?"),
        }
    }

    fn cut(&self, commands: &[&str], changes: bool, error: &io::Error) -> Error {
        let first = commands.first().copied().unwrap_or_default();
        let what = format!("HAProxy at {} did not answer `{first}`", self.address);
        if changes {
            Error::timeout(what).because(error)
        } else {
            Error::unavailable(what).because(error)
        }
    }

    fn refused(&self, command: &str, refusal: &str) -> Error {
        let what = format!("HAProxy at {} refused `{command}`: {refusal}", self.address);
        if refusal.starts_with("Permission denied") {
            Error::denied(what).next("Give its `stats socket` line `level admin`")
        } else if refusal.starts_with("No such") || refusal.starts_with("Can't find") {
            Error::not_found(what).next("Compare the name with haproxy.cfg")
        } else if refusal.contains("static LB") {
            Error::invalid(what).next("Give the backend `balance roundrobin` or `balance leastconn`")
        } else {
            Error::invalid(what)
        }
    }
}

/// An answer ends with an empty line.
fn answers(said: &str) -> Vec<String> {
    let mut answers = Vec::new();
    let mut now = String::new();
    for line in said.lines() {
        if line.is_empty() {
            answers.push(std::mem::take(&mut now));
        } else {
            now.push_str(line);
            now.push('\n');
        }
    }
    answers
}

fn refusal(answer: &str) -> Option<&str> {
    if let Some((severity, text)) = answer.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        let refused = severity.chars().all(|c| c < WORST_OF_SUCCESS);
        return refused.then(|| text.lines().next().unwrap_or_default());
    }
    answer.starts_with("Unknown command").then_some("Unknown command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_and_refusals_from_news() {
        let said = "\n\n[3]: No such server.\n\n[4]: no need to change the addr\n\n1\n# be_id\n3 shop\n\n";
        let answers = answers(said);
        assert_eq!(answers.len(), 5);
        assert_eq!(answers[4], "1\n# be_id\n3 shop\n");
        let refusals: Vec<_> = answers.iter().map(|answer| refusal(answer)).collect();
        assert_eq!(refusals, [None, None, Some("No such server."), None, None]);
        assert_eq!(
            refusal("Unknown command, but maybe one\n"),
            Some("Unknown command")
        );
    }
}
