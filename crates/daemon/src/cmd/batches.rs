//! A file of tasks, one a line, read in batches.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use domain::{Error, NewTask};
use tokio::sync::mpsc;

/// Tasks of a batch: large enough that a commit costs little, small enough that little is undone with one wrong line.
const TASKS: usize = 5000;
/// Bytes after which a batch is full. One line more stays below what the API takes at once.
const BYTES: usize = 8 * 1024 * 1024;
/// Longest line: as large as a single task may be for the API.
const LINE: usize = 2 * api::PAYLOAD_BYTES;

/// Lines that go in together.
#[derive(Default)]
pub struct Batch {
    /// None at the end of the file.
    pub tasks: Vec<NewTask>,
    /// Where each stands, from 1.
    pub lines: Vec<usize>,
    /// The lines that hold a task.
    pub text: Vec<u8>,
    /// The last line that was read.
    pub last: usize,
}

/// Why no more could be read.
pub struct Unread {
    /// The line at fault; none where it is the file's reading that failed.
    pub line: Option<usize>,
    pub error: Error,
}

pub struct Lines {
    pub name: String,
    reader: Box<dyn BufRead + Send>,
    /// Lines read so far.
    at: usize,
}

impl Lines {
    /// `-` is standard input.
    pub fn open(from: &Path) -> Result<Self, Error> {
        let (name, reader): (_, Box<dyn BufRead + Send>) = if from == Path::new("-") {
            let input = BufReader::with_capacity(1 << 16, std::io::stdin());
            ("standard input".to_owned(), Box::new(input))
        } else {
            let name = from.display().to_string();
            let file = File::open(from).map_err(|error| {
                Error::invalid(format!("could not open {name}"))
                    .because(&error)
                    .next("--from takes a file of tasks, one JSON object a line, or - for standard input")
            })?;
            (name, Box::new(BufReader::with_capacity(1 << 16, file)))
        };
        Ok(Self { name, reader, at: 0 })
    }

    #[cfg(test)]
    pub fn of(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            reader: Box::new(std::io::Cursor::new(text.to_owned().into_bytes())),
            at: 0,
        }
    }

    /// Batch after batch up to one without tasks, or to what cannot be read. They are read by a thread of their own: whoever
    /// waits for a silent standard input still hears signals, and the process can end.
    pub fn read(mut self) -> mpsc::Receiver<Result<Batch, Unread>> {
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            loop {
                let batch = self.batch();
                let is_last = batch.as_ref().map_or(true, |batch| batch.tasks.is_empty());
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    pub fn batch(&mut self) -> Result<Batch, Unread> {
        let mut batch = Batch::default();
        while batch.tasks.len() < TASKS && batch.text.len() < BYTES {
            let start = batch.text.len();
            let read = self
                .reader
                .by_ref()
                .take(LINE as u64 + 1)
                .read_until(b'\n', &mut batch.text)
                .map_err(|error| Unread {
                    line: None,
                    error: Error::invalid(format!("could not read {}", self.name)).because(&error),
                })?;
            if read == 0 {
                break;
            }
            self.at += 1;
            let wrong = |error| Unread {
                line: Some(self.at),
                error,
            };
            if read > LINE {
                let what = format!("the line has more than {LINE} bytes");
                let next = "A payload may have 1 MiB of JSON: send a link to what is large";
                return Err(wrong(Error::invalid(what).next(next)));
            }
            batch.last = self.at;
            let line = batch.text[start..].trim_ascii();
            if line.is_empty() {
                // However many there are, they fill no batch.
                batch.text.truncate(start);
                continue;
            }
            let task = api::read_task(line).map_err(|fault| wrong(fault.error))?;
            batch.tasks.push(task);
            batch.lines.push(self.at);
            // The last line of a file may have no end.
            if batch.text.last() != Some(&b'\n') {
                batch.text.push(b'\n');
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        Lines::of("tasks.ndjson", text)
    }

    fn batch(lines: &mut Lines) -> Batch {
        lines.batch().ok().expect("lines")
    }

    #[test]
    fn a_file_is_read_in_batches_whose_tasks_know_their_lines() {
        let line = "{\"type\": \"x\"}\n";
        let text = format!("\n{}\r\n{}", line.repeat(TASKS), line.trim_end());
        let mut file = lines(&text);
        let first = batch(&mut file);
        assert_eq!(
            (first.tasks.len(), first.lines[0], first.last),
            (TASKS, 2, TASKS + 1)
        );
        let second = batch(&mut file);
        assert_eq!(
            (second.lines.as_slice(), second.last),
            (&[TASKS + 3][..], TASKS + 3)
        );
        assert!(second.text.ends_with(b"}\n"));
        assert!(batch(&mut file).tasks.is_empty());
    }

    #[test]
    fn a_batch_stays_below_what_the_api_takes_at_once_and_a_line_too_long_is_not_read_to_its_end() {
        let log = "x".repeat(1_000_000);
        let line = format!("{{\"type\": \"x\", \"payload\": {{\"log\": \"{log}\"}}}}\n");
        let mut long = lines(&line.repeat(12));
        assert_eq!(batch(&mut long).tasks.len(), 9);
        assert_eq!(batch(&mut long).tasks.len(), 3);
        let unread = lines(&" ".repeat(2 * LINE)).batch().err().expect("too long");
        assert!(
            unread.line == Some(1) && unread.error.what.contains("2097152 bytes"),
            "{}",
            unread.error
        );
    }

    #[test]
    fn blank_lines_are_no_end_however_many_there_are() {
        let blank = format!("{}\n", " ".repeat(1023));
        let count = BYTES / 1024 + 1;
        let mut file = lines(&format!("{}{{\"type\": \"x\"}}\n", blank.repeat(count)));
        let only = batch(&mut file);
        assert_eq!((only.lines.as_slice(), only.last), (&[count + 1][..], count + 1));
        assert_eq!(only.text, b"{\"type\": \"x\"}\n");
        assert!(batch(&mut file).tasks.is_empty());
    }

    #[test]
    fn a_folder_cannot_be_read_and_no_line_is_to_blame() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut lines = Lines::open(folder.path()).expect("it opens");
        let unread = lines.batch().err().expect("unread");
        assert!(unread.line.is_none() && unread.error.what.starts_with("could not read"));
    }
}
