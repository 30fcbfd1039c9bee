//! Logs in UTF-16, as some shells' redirections write them: told by their byte-order mark, read as UTF-8.

/// What the first bytes of a log said of its encoding, and the half of a character that waits for its rest.
#[derive(Debug, Default)]
pub(super) enum Encoding {
    /// Fewer than two bytes have come.
    #[default]
    Unsaid,
    First(u8),
    /// As it stands.
    Bytes,
    Wide {
        big_endian: bool,
        /// At most three bytes: half a unit, or a unit that waits for its other half.
        rest: Vec<u8>,
    },
}

impl Encoding {
    /// Takes the log's next bytes; `None` if they are to be read as they stand.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut rest, big_endian, bytes) = match std::mem::replace(self, Encoding::Bytes) {
            Encoding::Bytes => return None,
            Encoding::Wide { big_endian, rest } => (rest, big_endian, bytes),
            Encoding::Unsaid => match bytes {
                [] => {
                    *self = Encoding::Unsaid;
                    return Some(Vec::new());
                }
                [first @ (0xff | 0xfe)] => {
                    *self = Encoding::First(*first);
                    return Some(Vec::new());
                }
                [0xff, 0xfe, after @ ..] => (Vec::new(), false, after),
                [0xfe, 0xff, after @ ..] => (Vec::new(), true, after),
                _ => return None,
            },
            Encoding::First(first) => match (first, bytes) {
                (_, []) => {
                    *self = Encoding::First(first);
                    return Some(Vec::new());
                }
                (0xff, [0xfe, after @ ..]) => (Vec::new(), false, after),
                (0xfe, [0xff, after @ ..]) => (Vec::new(), true, after),
                _ => return Some([&[first], bytes].concat()),
            },
        };
        rest.extend_from_slice(bytes);
        let (text, used) = utf8(&rest, big_endian);
        rest.drain(..used);
        *self = Encoding::Wide { big_endian, rest };
        Some(text.into_bytes())
    }

    /// What is left when the log has ended.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(self) {
            Encoding::First(first) => Some(vec![first]),
            Encoding::Wide { rest, .. } if !rest.is_empty() => {
                Some(char::REPLACEMENT_CHARACTER.to_string().into_bytes())
            }
            _ => None,
        }
    }
}

/// As much of `wide` as is whole, and how many bytes that took.
fn utf8(wide: &[u8], big_endian: bool) -> (String, usize) {
    let units: Vec<u16> = wide
        .chunks_exact(2)
        .map(|pair| {
            let pair = [pair[0], pair[1]];
            if big_endian {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            }
        })
        .collect();
    let waits = units.last().is_some_and(|last| (0xd800..0xdc00).contains(last));
    let whole = &units[..units.len() - usize::from(waits)];
    let text = char::decode_utf16(whole.iter().copied())
        .map(|ch| ch.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    (text, whole.len() * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<u8> {
        let mut encoding = Encoding::default();
        let mut out = Vec::new();
        for piece in pieces {
            match encoding.decode(piece) {
                Some(text) => out.extend(text),
                None => out.extend_from_slice(piece),
            }
        }
        out.extend(encoding.finish().unwrap_or_default());
        out
    }

    #[test]
    fn both_orders_are_read_however_they_are_cut() {
        let text = "error: é 😀\r\nnext";
        for big in [false, true] {
            let mut wide = if big { vec![0xfe, 0xff] } else { vec![0xff, 0xfe] };
            for unit in text.encode_utf16() {
                wide.extend(if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                });
            }
            for cut in 0..wide.len() {
                assert_eq!(
                    read(&[&wide[..cut], &wide[cut..]]),
                    text.as_bytes(),
                    "cut at {cut}"
                );
            }
            let bytes: Vec<&[u8]> = wide.chunks(1).collect();
            assert_eq!(read(&bytes), text.as_bytes());
        }
    }

    #[test]
    fn everything_else_stands_as_it_is() {
        for text in [&b"plain"[..], b"\xff\xffraw", b"\xef\xbb\xbfbom", b"\xff", b""] {
            assert_eq!(read(&[text]), text);
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&bytes), text);
        }
        assert_eq!(read(&[b"\xff\xfea\0b"]), "a\u{fffd}".as_bytes());
    }
}
