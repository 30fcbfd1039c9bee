//! GitHub's signature of a body
//! (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).

use domain::Error;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::{ApiError, ApiResult};
use crate::token::hex;

const HEX_DIGITS: usize = 64;

/// What `X-Hub-Signature-256` held: 64 hexadecimal digits, in small letters.
#[derive(Debug)]
pub struct Signature(String);

impl Signature {
    /// Judged by its shape alone, before the body is read: nothing is kept for whoever sends none.
    pub fn sent(header: Option<&str>) -> ApiResult<Self> {
        let Some(header) = header else {
            return Err(refused(
                "X-Hub-Signature-256 is missing, so nobody knows whether GitHub sent this",
            ));
        };
        let digits = header.strip_prefix("sha256=").filter(|digits| {
            digits.len() == HEX_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match digits {
            Some(digits) => Ok(Self(digits.to_ascii_lowercase())),
            None => Err(refused(
                "X-Hub-Signature-256 is not `sha256=` with 64 hexadecimal digits",
            )),
        }
    }

    /// Whether it is the body's, in constant time.
    pub fn check(&self, body: &[u8], secret: &SecretString) -> ApiResult<()> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .map_err(|error| Error::internal("the webhook's secret cannot be used").because(&error))?;
        mac.update(body);
        let right = hex(&mac.finalize().into_bytes());
        match bool::from(right.as_bytes().ct_eq(self.0.as_bytes())) {
            true => Ok(()),
            false => Err(refused("X-Hub-Signature-256 is not this body's")),
        }
    }
}

fn refused(what: &str) -> ApiError {
    ApiError::unauthorised(what)
        .next("The webhook's secret in GitHub must be `github.webhook_secret` of this longshore")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    const RIGHT: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(header: Option<&str>, body: &str) -> Result<(), u16> {
        let secret = "It's a Secret to Everybody".into();
        Signature::sent(header)
            .and_then(|signature| signature.check(body.as_bytes(), &secret))
            .map_err(|error| error.status.as_u16())
    }

    #[test]
    fn githubs_own_example_is_right_in_either_case_and_nothing_else_is() {
        let body = "Hello, World!";
        assert_eq!(check(Some(RIGHT), body), Ok(()));
        let digits = RIGHT.trim_start_matches("sha256=");
        assert_eq!(
            check(Some(&format!("sha256={}", digits.to_uppercase())), body),
            Ok(())
        );
        assert_eq!(check(Some(RIGHT), "Hello, World"), Err(401));
        let other = format!("sha256={}8", &digits[..63]);
        let long = format!("{RIGHT}0");
        let sha1 = format!("sha1={}", &digits[..40]);
        let no_hex = format!("sha256={}", "g".repeat(64));
        for wrong in [
            "",
            "sha256=",
            digits,
            &other,
            &long,
            &sha1,
            &no_hex,
            "SHA256=",
            &RIGHT[..70],
        ] {
            assert_eq!(check(Some(wrong), body), Err(401), "{wrong}");
        }
        assert_eq!(check(None, body), Err(401));
    }
}
