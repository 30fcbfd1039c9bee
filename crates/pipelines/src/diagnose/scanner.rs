//! The streaming pass: raw bytes in, matches out, in memory that does not grow with the log.
//!
//! Input gathers in a block of fixed size. Each full block is searched for the rules' literals in one pass; only a
//! line that holds one is cleaned and shown to patterns. What is decided never depends on how the input was
//! cut into pieces, because blocks fill to the same size whatever the pieces were.

use super::diagnosis::{Context, Diagnosis};
use super::ledger::{Captures, Hit, Ledger};
use super::rules::{MarkKind, Rank, RuleSet, Target};
use super::verdict;
use super::wide::Encoding;
use super::{clean, command};

/// Bytes searched at once: large enough to amortise the copy, small enough for a second-level cache.
const BLOCK: usize = 256 * 1024;
/// A longer line is looked at in pieces of this size, which all carry its number.
const PIECE: usize = 64 * 1024;
/// At most this many bytes on either side of a line are kept for its excerpt.
const AROUND: usize = 8 * 1024;
/// Lines of the excerpt before and after the deciding one.
pub(super) const LINES_BEFORE: usize = 4;
/// Lines before a match that an anchor may lie in.
const LINES_BACK: usize = 12;
pub(super) const LINES_AFTER: usize = 5;
/// Bytes of a kept line.
const KEPT_LINE: usize = 2048;

/// Reads a log piece by piece.
///
/// ```
/// use pipelines::diagnose::{Context, RuleSet, Scanner};
/// let rules = RuleSet::builtin().unwrap();
/// let mut scanner = Scanner::new(rules);
/// scanner.feed(b"error[E0425]: cannot find value `x` in this ");
/// scanner.feed(b"scope\nerror: could not compile `demo`\n");
/// let diagnosis = scanner.finish(&Context::default());
/// assert_eq!(diagnosis.class.name(), "compile_error");
/// assert_eq!(diagnosis.line, Some(1));
/// ```
pub struct Scanner<'r> {
    rules: &'r RuleSet,
    ledger: Ledger,
    encoding: Encoding,
    buffer: Vec<u8>,
    /// Where the unsearched bytes begin; before it lies what an excerpt may need.
    position: usize,
    /// The number of the line at `position`, from 1.
    line: u64,
    total: u64,
    /// Memory that is used for one line and kept for the next.
    text: String,
    candidates: Vec<u32>,
    /// Likewise for a block: the keys in it, with their positions.
    keys: Vec<(usize, u32)>,
}

impl<'r> Scanner<'r> {
    pub fn new(rules: &'r RuleSet) -> Scanner<'r> {
        Scanner {
            rules,
            ledger: Ledger::default(),
            encoding: Encoding::default(),
            buffer: Vec::with_capacity(BLOCK),
            position: 0,
            line: 1,
            total: 0,
            text: String::new(),
            candidates: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Takes the next bytes of the log, in pieces of any size.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self.encoding.decode(bytes) {
            Some(text) => self.gather(&text),
            None => self.gather(bytes),
        }
    }

    fn gather(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BLOCK {
                self.search(false);
            }
        }
    }

    /// Ends the log and judges it.
    pub fn finish(mut self, context: &Context) -> Diagnosis {
        if let Some(text) = self.encoding.finish() {
            self.gather(&text);
        }
        self.search(true);
        let ends_with_newline = self.buffer.last() == Some(&b'\n');
        let lines = if self.total == 0 || (ends_with_newline && self.line > 1) {
            self.line - 1
        } else {
            self.line
        };
        verdict::judge(self.rules, self.ledger, lines, context)
    }

    fn search(&mut self, last: bool) {
        let buffer = std::mem::take(&mut self.buffer);
        let limit = if last {
            buffer.len()
        } else {
            searchable(&buffer, self.position)
        };
        let mut at = self.position;
        let mut counted = self.position;
        // An escape sequence may stand inside a literal, so a line that has one is looked at too.
        let mut escape = memchr::memchr(0x1b, &buffer[at..limit]).map(|found| at + found);
        let mut found = std::mem::take(&mut self.keys);
        self.rules.index.keys(&buffer[..limit], at, &mut found);
        let mut keys = found.as_slice();
        while let Some(hit) = [escape, keys.first().map(|(at, _)| *at)]
            .into_iter()
            .flatten()
            .min()
        {
            let floor = at.max(hit.saturating_sub(PIECE));
            let start =
                memchr::memrchr(b'\n', &buffer[floor..hit]).map_or(floor, |newline| floor + newline + 1);
            let ceiling = limit.min(hit + PIECE);
            let end = memchr::memchr(b'\n', &buffer[hit..ceiling]).map_or(ceiling, |newline| hit + newline);
            self.line += memchr::memchr_iter(b'\n', &buffer[counted..start]).count() as u64;
            counted = start;
            at = end.max(hit + 1);
            let here = keys.iter().take_while(|(key, _)| *key < at).count();
            let (here, later) = keys.split_at(here);
            self.look(&buffer, start, end, here);
            keys = later;
            if escape.is_some_and(|found| found < at) {
                escape = memchr::memchr(0x1b, &buffer[at..limit]).map(|found| at + found);
            }
        }
        self.keys = found;
        self.line += memchr::memchr_iter(b'\n', &buffer[counted..limit]).count() as u64;
        for hit in self.ledger.kept_lines() {
            settle(hit, &buffer);
        }
        self.buffer = buffer;
        if last {
            self.position = limit;
            return;
        }
        let keep = before_start(&self.buffer, limit);
        self.buffer.drain(..keep);
        self.position = limit - keep;
    }

    /// Shows one line to the patterns whose keys it holds.
    fn look(&mut self, buffer: &[u8], start: usize, end: usize, keys: &[(usize, u32)]) {
        let mut candidates = std::mem::take(&mut self.candidates);
        let line = &buffer[start..end];
        if !keys.is_empty()
            && let Some(plain) = clean::plain(line.strip_suffix(b"\r").unwrap_or(line))
        {
            self.rules.index.proposed_by(keys, &mut candidates);
            self.look_at(buffer, start, end, plain, &candidates);
        } else {
            let mut text = std::mem::take(&mut self.text);
            for segment in line
                .split(|byte| *byte == b'\r')
                .filter(|segment| !segment.is_empty())
            {
                clean::strip_escapes(segment, &mut text);
                if clean::is_command_echo(segment) {
                    self.ledger.next_command(self.line, &text);
                }
                self.rules.index.proposed(text.as_bytes(), &mut candidates);
                if !candidates.is_empty() {
                    self.look_at(buffer, start, end, &text, &candidates);
                }
            }
            self.text = text;
        }
        self.candidates = candidates;
    }

    fn look_at(&mut self, buffer: &[u8], start: usize, end: usize, stripped: &str, candidates: &[u32]) {
        let rules = self.rules;
        let timeless = clean::skip_time(stripped);
        let (plain, said) = rules.undecorated(timeless);
        let line = self.line;
        let rank = || said.unwrap_or_else(|| Rank::told_by(plain));
        let hit = |text: &str| Hit {
            line,
            text: clean::clip(text, KEPT_LINE),
            captures: Captures::None,
            before: Vec::new(),
            after: Vec::new(),
            rank: rank(),
            is_mark: false,
            owed: Some(start..end),
        };
        let mut marks: Vec<(MarkKind, Option<i32>)> = Vec::new();
        for at in candidates {
            let pattern = &rules.patterns[*at as usize];
            if let Target::Mark(mark) = pattern.target
                && rules.index.admits(*at, timeless)
                && let Some(found) = pattern.regex.captures(timeless.as_bytes())
            {
                let code = found
                    .name("code")
                    .and_then(|code| std::str::from_utf8(code.as_bytes()).ok()?.parse().ok());
                marks.push((rules.marks[mark as usize].kind, code));
            }
        }
        let is_mark = marks.iter().any(|(kind, _)| {
            matches!(
                kind,
                MarkKind::StepFailed | MarkKind::JobFailed | MarkKind::JobOk | MarkKind::StepOk
            )
        });
        for (rule, pattern) in rules.recognised(candidates, plain) {
            if !self.ledger.wants(rule, line, rules.rules[rule as usize].pick) {
                self.ledger.count(rule, line);
                continue;
            }
            let mut found = hit(plain);
            found.is_mark = is_mark;
            found.captures = if plain.len() > KEPT_LINE || rules.anchors[rule as usize].is_some() {
                Captures::Taken(rules.captured(pattern, plain))
            } else {
                Captures::InText(pattern)
            };
            if let Some(anchor) = &rules.anchors[rule as usize] {
                settle(&mut found, buffer);
                move_to_anchor(&mut found, anchor, rules);
            }
            self.ledger.keep(rule, found);
        }
        if said != Some(Rank::Echo)
            && !is_mark
            && command::complains(plain)
            && self.ledger.wants_complaint(line)
        {
            self.ledger.complain(hit(plain));
        }
        for (kind, code) in marks {
            self.ledger.mark(kind, code, line, || hit(timeless));
        }
    }
}

/// Copies what the verdict may need of a kept line's surroundings while the block that holds them is at hand.
fn settle(hit: &mut Hit, buffer: &[u8]) {
    if let Some(span) = hit.owed.take() {
        hit.before = buffer[before_start(buffer, span.start)..span.start].to_vec();
        hit.after = buffer[span.end..after_end(buffer, span.end)].to_vec();
    }
}

/// Moves a hit up to the nearest line before it that the anchor matches, if one is near.
fn move_to_anchor(hit: &mut Hit, anchor: &regex::bytes::Regex, rules: &RuleSet) {
    let Some(before) = hit.before.strip_suffix(b"\n") else {
        return;
    };
    let mut stripped = String::new();
    let mut end = before.len();
    for back in 1..=LINES_BACK {
        let start = memchr::memrchr(b'\n', &before[..end]).map_or(0, |newline| newline + 1);
        clean::strip_escapes(&before[start..end], &mut stripped);
        let (plain, _) = rules.undecorated(clean::skip_time(&stripped));
        if anchor.is_match(plain.as_bytes()) {
            let text = clean::clip(plain, KEPT_LINE);
            let mut after = before[end..].to_vec();
            after.push(b'\n');
            after.extend_from_slice(hit.text.as_bytes());
            after.extend_from_slice(&hit.after);
            hit.line = hit.line.saturating_sub(back as u64);
            hit.before = before[..start].to_vec();
            hit.after = after;
            hit.text = text;
            return;
        }
        if start == 0 {
            return;
        }
        end = start - 1;
    }
}

/// How far a block that is not the last may be searched: to the end of a line that has its excerpt's
/// following lines in the block too, or into the middle of a line that is longer than the block.
fn searchable(buffer: &[u8], position: usize) -> usize {
    let floor = buffer.len() - AROUND;
    let mut limit = buffer.len();
    for _ in 0..=LINES_AFTER {
        match memchr::memrchr(b'\n', &buffer[floor..limit]) {
            Some(newline) => limit = floor + newline,
            None => {
                limit = floor;
                break;
            }
        }
    }
    if limit > floor {
        return limit + 1;
    }
    // Long lines: end at the last newline before the floor, or cut a line that has none.
    match memchr::memrchr(b'\n', &buffer[position..floor]) {
        Some(newline) if floor - (position + newline) < PIECE => position + newline + 1,
        _ => floor,
    }
}

fn before_start(buffer: &[u8], start: usize) -> usize {
    let floor = start.saturating_sub(AROUND);
    let mut at = start;
    for _ in 0..=LINES_BACK + LINES_BEFORE {
        match memchr::memrchr(b'\n', &buffer[floor..at]) {
            Some(newline) => at = floor + newline,
            None => return floor,
        }
    }
    at + 1
}

fn after_end(buffer: &[u8], end: usize) -> usize {
    let ceiling = buffer.len().min(end + AROUND);
    let mut at = end;
    for _ in 0..=LINES_AFTER {
        match memchr::memchr(b'\n', &buffer[at..ceiling]) {
            Some(newline) => at += newline + 1,
            None => return ceiling,
        }
    }
    at
}
