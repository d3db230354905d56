//! How webhooks are sent, as the operator sets it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::schedule::Schedule;
use crate::guard::Allowed;

/// How webhooks are sent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys of the signatures; without one webhooks are not signed. With several each message carries a signature
    /// of each, so that receivers can change from one to the next in their own time.
    pub secrets: Vec<Secret>,
    /// Hosts and networks that are sent to although they are private or reserved.
    pub allowed: Vec<Allowed>,
    /// Pauses before the second, third and fourth attempt.
    pub pauses: [Duration; 3],
    /// How long one attempt may take.
    pub attempt: Duration,
    /// Nothing is sent later than this after the job's end.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            allowed: Vec::new(),
            pauses: [1, 2, 4].map(Duration::from_secs),
            attempt: Duration::from_millis(2500),
            window: Duration::from_secs(10),
        }
    }
}

impl Config {
    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            pauses: self.pauses,
            attempt: self.attempt,
            window: self.window,
        }
    }
}

/// The key of the signatures, as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes in Base64. Never shown.
#[derive(Clone)]
pub struct Secret(Arc<standardwebhooks::Webhook>);

/// A text that is no secret of the wanted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is `whsec_` followed by 24 to 64 random bytes in Base64")]
pub struct InvalidSecret;

impl Secret {
    /// The signature of a body.
    pub(crate) fn sign(&self, id: &str, seconds: i64, body: &str) -> Option<String> {
        self.0.sign(id, seconds, body.as_bytes()).ok()
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix("whsec_").ok_or(InvalidSecret)?;
        // 24 bytes are 32 characters of Base64, 64 bytes are 88.
        if !(32..=88).contains(&encoded.len()) {
            return Err(InvalidSecret);
        }
        let webhook = standardwebhooks::Webhook::new(text).map_err(|_| InvalidSecret)?;
        Ok(Self(Arc::new(webhook)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_secret_signs_as_the_standard_says() {
        // The example of https://github.com/standard-webhooks/standard-webhooks.
        let secret: Secret = SECRET.parse().unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = secret.sign(id, 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(
            signature.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn a_secret_has_one_form_and_is_never_shown() {
        for wrong in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_short",
            "whsec_!fKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(wrong.parse::<Secret>().is_err(), "{wrong}");
        }
        let shown = format!("{:?}", SECRET.parse::<Secret>().unwrap());
        assert!(!shown.contains("MfKQ"), "{shown}");
    }
}
