//! How a token looks: `lsh_ID_SECRET`. The id finds it in the database and may be seen; the secret is 256 random bits.

use domain::Role;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use store::NewToken;
use subtle::{Choice, ConstantTimeEq};

/// What every token of ours begins with, so that scanners for secrets know it.
const PREFIX: &str = "lsh_";
const ID_CHARS: usize = 8;
const SECRET_BYTES: usize = 32;

/// A new token: what its holder is given, once, and what the database keeps of it.
pub fn mint(
    name: String,
    role: Role,
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
) -> (SecretString, NewToken) {
    let id = hex(&rand::random::<[u8; ID_CHARS / 2]>());
    let token = format!("{PREFIX}{id}_{}", hex(&rand::random::<[u8; SECRET_BYTES]>()));
    let new = NewToken {
        id,
        name,
        role,
        digest: digest(&token),
        expires_at,
    };
    (token.into(), new)
}

/// The id in a token of ours; none in what is no such token.
pub fn id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (id.len() == ID_CHARS && secret.len() == 2 * SECRET_BYTES && is_hex(id) && is_hex(secret)).then_some(id)
}

/// Whether it means to be a token of ours, be it cut off or mistyped.
pub fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Whether the token is the one whose digest is stored, in constant time.
pub fn is(token: &str, stored: &[u8]) -> bool {
    digest(token).as_slice().ct_eq(stored).into()
}

/// Whether any of the secrets was sent. Every one is looked at, whichever matches, so that the time taken tells nothing.
pub fn matches_any(sent: &str, secrets: &[SecretString]) -> bool {
    let sent = digest(sent);
    let found = secrets.iter().fold(Choice::from(0), |found, secret| {
        // As digests, whose length does not tell the secret's.
        found | sent.as_slice().ct_eq(&digest(secret.expose_secret()))
    });
    found.into()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_alone_and_found_by_its_id() {
        let (token, new) = mint("ci".to_owned(), Role::Enqueue, None);
        let token = token.expose_secret();
        assert_eq!(id(token), Some(new.id.as_str()));
        assert!(is(token, &new.digest));
        let last = if token.ends_with('0') { "1" } else { "0" };
        let other = format!("{}{last}", &token[..token.len() - 1]);
        assert!(!is(&other, &new.digest));
        let (second, again) = mint("ci".to_owned(), Role::Enqueue, None);
        assert!(second.expose_secret() != token && again.id != new.id);
    }

    #[test]
    fn what_is_cut_or_foreign_has_no_id() {
        let (token, _) = mint("ci".to_owned(), Role::Read, None);
        let token = token.expose_secret();
        for wrong in [
            "",
            "lsh_",
            "lsh_12345678_",
            &token[..token.len() - 1],
            &token[1..],
            "glpat-x",
        ] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
        assert!(
            domain::redact(token).len() < token.len(),
            "a token that turns up in a log is taken out"
        );
    }
}
