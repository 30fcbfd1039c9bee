//! The streaming pass: raw bytes in, matches out, in memory that does not grow with the log.
//!
//! Input is read in blocks of fixed size. Each block, without its escape sequences, is searched for the rules' literals
//! in one pass; only a line that holds one is cleaned and shown to patterns. What is decided never depends on how the
//! input was cut into pieces, because blocks have the same size whatever the pieces were.

use std::ops::Range;

use super::diagnosis::{Context, Diagnosis};
use super::escapes::Stripped;
use super::form::MarkKind;
use super::lazy::LazyRegex;
use super::ledger::{Captures, Hit, Ledger};
use super::rules::{Rank, RuleSet, Target};
use super::verdict;
use super::wide::Encoding;
use super::{clean, command, escapes};

/// Bytes searched at once: large enough for long lines, small enough for a second-level cache.
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
    /// What has come of the next block, unless the input holds all of it in one piece.
    buffer: Vec<u8>,
    /// Where the unsearched bytes begin; before it lies what an excerpt may need.
    position: usize,
    lines: Lines,
    total: u64,
    /// Memory that is used for one line and kept for the next.
    text: String,
    candidates: Vec<u32>,
    /// Likewise for a block.
    signs: Vec<Sign>,
    stripped: Stripped,
}

/// Why a line is looked at: it holds a key, or (if that is `None`) the echo of a command. With its place in the block.
type Sign = (usize, Option<u32>);

/// The numbers of lines, counted only as far as somebody asks.
struct Lines {
    /// The number of the line at `counted`, from 1.
    number: u64,
    /// A place in the block.
    counted: usize,
}

impl Lines {
    /// The number of the line at `place`, which never lies before an earlier one.
    fn number_at(&mut self, block: &[u8], place: usize) -> u64 {
        self.number += memchr::memchr_iter(b'\n', &block[self.counted..place]).count() as u64;
        self.counted = place;
        self.number
    }
}

impl<'r> Scanner<'r> {
    pub fn new(rules: &'r RuleSet) -> Scanner<'r> {
        Scanner {
            rules,
            ledger: Ledger::default(),
            encoding: Encoding::default(),
            buffer: Vec::new(),
            position: 0,
            lines: Lines {
                number: 1,
                counted: 0,
            },
            total: 0,
            text: String::new(),
            candidates: Vec::new(),
            signs: Vec::new(),
            stripped: Stripped::default(),
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
            // A block that the input holds in one piece need not be copied.
            if self.buffer.is_empty() && bytes.len() >= BLOCK {
                let kept = self.search(&bytes[..BLOCK], false);
                bytes = &bytes[kept..];
                continue;
            }
            let room = BLOCK - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BLOCK {
                let mut block = std::mem::take(&mut self.buffer);
                let kept = self.search(&block, false);
                block.drain(..kept);
                self.buffer = block;
            }
        }
    }

    /// Ends the log and judges it.
    pub fn finish(mut self, context: &Context) -> Diagnosis {
        if let Some(text) = self.encoding.finish() {
            self.gather(&text);
        }
        let block = std::mem::take(&mut self.buffer);
        self.search(&block, true);
        let number = self.lines.number;
        let ends_with_newline = block.last() == Some(&b'\n');
        let lines = if self.total == 0 || (ends_with_newline && number > 1) {
            number - 1
        } else {
            number
        };
        verdict::judge(self.rules, self.ledger, lines, context)
    }

    /// Looks at the lines of a block from `position` on, and says where those begin that the next block has to hold too.
    fn search(&mut self, block: &[u8], last: bool) -> usize {
        let limit = if last {
            block.len()
        } else {
            searchable(block, self.position)
        };
        let mut signs = std::mem::take(&mut self.signs);
        self.find_signs(&block[..limit], &mut signs);
        let (mut at, mut later) = (self.position, signs.as_slice());
        while let Some((sign, _)) = later.first() {
            let floor = at.max(sign.saturating_sub(PIECE));
            let start =
                memchr::memrchr(b'\n', &block[floor..*sign]).map_or(floor, |newline| floor + newline + 1);
            let ceiling = limit.min(sign + PIECE);
            let end = memchr::memchr(b'\n', &block[*sign..ceiling]).map_or(ceiling, |newline| sign + newline);
            at = end.max(sign + 1);
            let here;
            (here, later) = until(later, at);
            self.look(block, start..end, here);
        }
        self.signs = signs;
        for hit in self.ledger.kept_lines() {
            settle(hit, block);
        }
        let keep = if last { limit } else { before_start(block, limit) };
        // What is kept may begin with lines that are counted already.
        self.lines.number_at(block, keep.max(self.lines.counted));
        self.lines.counted -= keep;
        self.position = limit - keep;
        keep
    }

    /// Finds what makes lines of the block worth a look, in order.
    fn find_signs(&mut self, block: &[u8], signs: &mut Vec<Sign>) {
        let (rules, stripped) = (self.rules, &mut self.stripped);
        signs.clear();
        let mut from = self.position;
        while from < block.len() {
            let escaped = escapes::next(block, from);
            rules.index.keys(&block[..escaped.start], from, |at, key| {
                signs.push((at, Some(key)))
            });
            stripped.fill(&block[escaped.clone()]);
            let first = signs.len();
            rules
                .index
                .keys(&stripped.text, 0, |at, key| signs.push((at, Some(key))));
            stripped.restore(signs[first..].iter_mut().map(|(at, _)| at), escaped.start);
            if !stripped.echoes.is_empty() {
                signs.extend(stripped.echoes.iter().map(|echo| (escaped.start + echo, None)));
                signs[first..].sort_unstable_by_key(|(at, _)| *at);
            }
            from = escaped.end;
        }
    }

    /// Shows a line to the patterns whose keys it holds, or those of its parts that hold some: a carriage return ends a part.
    fn look(&mut self, block: &[u8], line: Range<usize>, signs: &[Sign]) {
        let (mut candidates, mut text) = (
            std::mem::take(&mut self.candidates),
            std::mem::take(&mut self.text),
        );
        let whole = &block[line.clone()];
        if let Some(plain) = clean::plain(whole.strip_suffix(b"\r").unwrap_or(whole)) {
            self.rules
                .index
                .proposed_by(signs.iter().filter_map(|(_, key)| *key), &mut candidates);
            self.look_at(block, line, plain, &candidates);
        } else {
            let mut later = signs;
            while let Some((sign, _)) = later.first() {
                let start = memchr::memrchr(b'\r', &block[line.start..*sign])
                    .map_or(line.start, |before| line.start + before + 1);
                let end =
                    memchr::memchr(b'\r', &block[*sign..line.end]).map_or(line.end, |behind| sign + behind);
                let here;
                (here, later) = until(later, end.max(sign + 1));
                let part = &block[start..end];
                clean::strip_escapes(part, &mut text);
                if here.iter().any(|(_, key)| key.is_none()) && escapes::is_command_echo(part) {
                    let number = self.lines.number_at(block, line.start);
                    self.ledger.next_command(number, &text);
                }
                self.rules
                    .index
                    .proposed_by(here.iter().filter_map(|(_, key)| *key), &mut candidates);
                if !candidates.is_empty() {
                    self.look_at(block, line.clone(), &text, &candidates);
                }
            }
        }
        (self.candidates, self.text) = (candidates, text);
    }

    fn look_at(&mut self, block: &[u8], place: Range<usize>, stripped: &str, candidates: &[u32]) {
        let rules = self.rules;
        let timeless = clean::skip_time(stripped);
        let (plain, said) = rules.undecorated(timeless);
        let rank = || said.unwrap_or_else(|| Rank::told_by(plain));
        let hit = |line: u64, text: &str| Hit {
            line,
            text: clean::clip(text, KEPT_LINE),
            captures: Captures::None,
            before: Vec::new(),
            after: Vec::new(),
            rank: rank(),
            is_mark: false,
            owed: Some(place.clone()),
        };
        let mut marks: Vec<(MarkKind, Option<i32>)> = Vec::new();
        for at in candidates {
            let pattern = &rules.patterns[*at as usize];
            if let Target::Mark(mark) = pattern.target
                && rules.index.admits(*at, timeless)
                && pattern.regex.is_match(timeless)
            {
                marks.push((
                    rules.marks[mark as usize].kind,
                    exit_code(&pattern.regex, timeless),
                ));
            }
        }
        let is_mark = marks.iter().any(|(kind, _)| {
            matches!(
                kind,
                MarkKind::StepFailed | MarkKind::JobFailed | MarkKind::JobOk | MarkKind::StepOk
            )
        });
        for (rule, pattern) in rules.recognised(candidates, plain) {
            let line = self.lines.number_at(block, place.start);
            if !self.ledger.wants(rule, line, rules.rules[rule as usize].pick) {
                self.ledger.count(rule, line);
                continue;
            }
            let mut found = hit(line, plain);
            found.is_mark = is_mark;
            found.captures = if plain.len() > KEPT_LINE || rules.anchors[rule as usize].is_some() {
                Captures::Taken(rules.captured(pattern, plain))
            } else {
                Captures::InText(pattern)
            };
            if let Some(anchor) = &rules.anchors[rule as usize] {
                settle(&mut found, block);
                move_to_anchor(&mut found, anchor, rules);
            }
            self.ledger.keep(rule, found);
        }
        if said != Some(Rank::Echo) && !is_mark && command::complains(plain) {
            let line = self.lines.number_at(block, place.start);
            if self.ledger.wants_complaint(line) {
                self.ledger.complain(hit(line, plain));
            }
        }
        for (kind, code) in marks {
            let line = self.lines.number_at(block, place.start);
            self.ledger.mark(kind, code, line, || hit(line, timeless));
        }
    }
}

/// The exit code that a mark's pattern finds. Most have none to find, which is told sooner than searched.
fn exit_code(pattern: &LazyRegex, text: &str) -> Option<i32> {
    pattern.names().next()?;
    let found = pattern.captures(text)?;
    std::str::from_utf8(found.name("code")?.as_bytes())
        .ok()?
        .parse()
        .ok()
}

/// The signs before `end`, and those behind.
fn until(signs: &[Sign], end: usize) -> (&[Sign], &[Sign]) {
    signs.split_at(signs.iter().take_while(|(at, _)| *at < end).count())
}

/// Copies what the verdict may need of a kept line's surroundings while the block that holds them is at hand.
fn settle(hit: &mut Hit, buffer: &[u8]) {
    if let Some(span) = hit.owed.take() {
        hit.before = buffer[before_start(buffer, span.start)..span.start].to_vec();
        hit.after = buffer[span.end..after_end(buffer, span.end)].to_vec();
    }
}

/// Moves a hit up to the nearest line before it that the anchor matches, if one is near.
fn move_to_anchor(hit: &mut Hit, anchor: &LazyRegex, rules: &RuleSet) {
    let Some(before) = hit.before.strip_suffix(b"\n") else {
        return;
    };
    let mut stripped = String::new();
    let mut end = before.len();
    for back in 1..=LINES_BACK {
        let start = memchr::memrchr(b'\n', &before[..end]).map_or(0, |newline| newline + 1);
        clean::strip_escapes(&before[start..end], &mut stripped);
        let (plain, _) = rules.undecorated(clean::skip_time(&stripped));
        if anchor.is_match(plain) {
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
