//! What a broken connection is called.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

/// In a few words and without an address: `connection refused`.
pub(crate) fn words(error: &(dyn StdError + 'static)) -> String {
    let (mut current, mut innermost) = (Some(error), String::new());
    while let Some(error) = current {
        if let Some(known) = error.downcast_ref::<io::Error>().and_then(known) {
            return known;
        }
        innermost = error.to_string();
        current = below(error);
    }
    innermost
}

/// `source` leaves out the error that an `io::Error` holds.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

fn known(error: &io::Error) -> Option<String> {
    let words = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "connection closed"
        }
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::TimedOut => "no connection in time",
        // What TLS finds wrong comes so, and says itself what it is.
        ErrorKind::InvalidData => return Some(format!("TLS failed: {error}")),
        _ if error.to_string().contains("failed to lookup address") => "its name is not known",
        _ => return None,
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Above(io::Error);
    impl std::fmt::Display for Above {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("client error at http://user:pass@host/")
        }
    }
    impl StdError for Above {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_kinds_are_told_apart_and_what_is_unknown_speaks_for_itself() {
        for (kind, said) in [
            (ErrorKind::ConnectionRefused, "connection refused"),
            (ErrorKind::ConnectionReset, "connection reset"),
            (ErrorKind::UnexpectedEof, "connection closed"),
            (ErrorKind::TimedOut, "no connection in time"),
        ] {
            assert_eq!(words(&Above(io::Error::from(kind))), said);
        }
        let held = io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(words(&Above(io::Error::other(held))), "connection reset");
        let unknown = io::Error::other("something else");
        assert_eq!(words(&Above(unknown)), "something else");
    }
}
