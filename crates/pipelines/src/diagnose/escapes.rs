//! Terminal escape sequences: how long one is, and the text of a block without them.

use std::ops::Range;

/// Lines without an escape sequence are stripped too if one stands this near behind them, in bytes.
const NEAR: usize = 4096;
/// A runner's own echo of the next command of a script that stops at the first failure: a dollar sign in bold green.
/// Tools that echo what they run do not colour it so.
const ECHO: &[u8] = b"\x1b[32;1m$ ";

/// The text of some lines without their escape sequences, and where it stood.
#[derive(Default)]
pub(super) struct Stripped {
    pub text: Vec<u8>,
    /// Places in the text where something was taken out, with the bytes taken out up to there.
    joints: Vec<(usize, usize)>,
    /// Where the echo of a command stood in the lines.
    pub echoes: Vec<usize>,
}

impl Stripped {
    pub fn fill(&mut self, lines: &[u8]) {
        self.text.clear();
        self.joints.clear();
        self.echoes.clear();
        let mut at = 0;
        for escape in memchr::memchr_iter(0x1b, lines) {
            // One that ends another sequence went with it.
            let Some(before) = lines.get(at..escape) else {
                continue;
            };
            self.text.extend_from_slice(before);
            let rest = &lines[escape..];
            if rest.starts_with(ECHO) {
                self.echoes.push(escape);
            }
            at = escape + length(rest);
            self.joints.push((self.text.len(), at - self.text.len()));
        }
        self.text.extend_from_slice(lines.get(at..).unwrap_or_default());
    }

    /// Makes rising places in the text those in a block in which the lines begin at `start`.
    pub fn restore<'p>(&self, places: impl Iterator<Item = &'p mut usize>, start: usize) {
        let mut joints = self.joints.iter().peekable();
        let mut moved = start;
        for place in places {
            while let Some((_, removed)) = joints.next_if(|(joint, _)| *joint <= *place) {
                moved = start + removed;
            }
            *place += moved;
        }
    }
}

/// The next lines of `block`, at or behind `from`, that hold escape sequences; empty, at the end, if none do.
pub(super) fn next(block: &[u8], from: usize) -> Range<usize> {
    let Some(first) = memchr::memchr(0x1b, &block[from..]).map(|escape| from + escape) else {
        return block.len()..block.len();
    };
    let start = memchr::memrchr(b'\n', &block[from..first]).map_or(from, |newline| from + newline + 1);
    let mut last = first;
    loop {
        let end = memchr::memchr(b'\n', &block[last..]).map_or(block.len(), |newline| last + newline + 1);
        let near = &block[end..block.len().min(end + NEAR)];
        match memchr::memrchr(0x1b, near) {
            Some(escape) => last = end + escape,
            None => return start..end,
        }
    }
}

/// The length of the escape sequence at the start of `bytes` (which starts with ESC). None goes beyond its line.
pub(super) fn length(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            let body = bytes[2..]
                .iter()
                .take_while(|byte| (0x20..=0x3f).contains(*byte))
                .count();
            match bytes.get(2 + body) {
                Some(last) if (0x40..=0x7e).contains(last) => body + 3,
                _ => body + 2,
            }
        }
        // Operating-system, application and device strings end with BEL or ESC \.
        Some(b']' | b'_' | b'P' | b'^') => {
            let window = &bytes[..bytes.len().min(4096)];
            for (at, byte) in window.iter().enumerate().skip(2) {
                match byte {
                    0x07 => return at + 1,
                    0x1b if window.get(at + 1) == Some(&b'\\') => return at + 2,
                    b'\n' | b'\r' => return 2,
                    _ => {}
                }
            }
            2
        }
        Some(b'(' | b')' | b'#') => match bytes.get(2) {
            None | Some(b'\n' | b'\r') => 2,
            Some(_) => 3,
        },
        Some(byte) if (0x30..=0x7e).contains(byte) => 2,
        _ => 1,
    }
}

/// Whether the line is the echo of a command, at most behind a timestamp.
pub(super) fn is_command_echo(line: &[u8]) -> bool {
    let Some(escape) = memchr::memchr(0x1b, &line[..line.len().min(40)]) else {
        return false;
    };
    let rest = &line[escape..];
    rest.strip_prefix(b"\x1b[0K").unwrap_or(rest).starts_with(ECHO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runners_own_echo_is_a_command() {
        assert!(is_command_echo(b"\x1b[32;1m$ make test\x1b[0;m"));
        assert!(is_command_echo(
            b"2024-05-14T09:12:40.123456Z 00O \x1b[0K\x1b[32;1m$ make\x1b[0;m"
        ));
        assert!(!is_command_echo(b"$ tsc -b"));
        assert!(!is_command_echo(b"\x1b[32;1mFetching changes\x1b[0;m"));
        assert!(!is_command_echo(b"\x1b[2m$ tsc\x1b[0m"));
    }

    #[test]
    fn no_sequence_goes_beyond_its_line() {
        for line in ["\x1b]0;title", "\x1b[", "\x1b[0;3", "\x1b(", "\x1b_x\x1b"] {
            let alone = {
                let mut stripped = Stripped::default();
                stripped.fill(line.as_bytes());
                stripped.text
            };
            let mut stripped = Stripped::default();
            for next in ["\nfailed\x07\n", "\rfailed\x07\r"] {
                stripped.fill(format!("{line}{next}").as_bytes());
                assert_eq!(stripped.text, [&alone, next.as_bytes()].concat(), "{line:?}");
            }
        }
    }

    #[test]
    fn the_place_of_what_is_left_is_known() {
        let lines = b"a\x1b[1mb\x1b[0m\x1b[31mc\n\x1b[0K\x1b[32;1m$ d";
        let mut stripped = Stripped::default();
        stripped.fill(lines);
        assert_eq!(stripped.text, b"abc\n$ d");
        let mut places: Vec<usize> = (0..stripped.text.len()).collect();
        stripped.restore(places.iter_mut(), 0);
        let stood: Vec<u8> = places.iter().map(|at| lines[*at]).collect();
        assert_eq!(stood, stripped.text);
        assert_eq!(stripped.echoes, [21]);
    }

    #[test]
    fn lines_far_from_any_sequence_are_left_as_they_are() {
        let plain = "plain\n".repeat(NEAR);
        let block = format!("{plain}a\x1b[1m\nb\n\x1b[0m{plain}\x1b[1m");
        let first = next(block.as_bytes(), 0);
        assert_eq!(&block[first.clone()], "a\x1b[1m\nb\n\x1b[0mplain\n");
        let second = next(block.as_bytes(), first.end);
        assert_eq!(&block[second.clone()], "\x1b[1m");
        assert_eq!(next(block.as_bytes(), second.end), block.len()..block.len());
    }
}
