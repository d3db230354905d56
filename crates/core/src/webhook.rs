//! What a webhook's address must look like. Where it leads is checked when the connection is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Characters of an address.
const LONGEST: usize = 2048;

/// An address that a webhook can be sent to: `http` or `https`, a host, no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(Url);

/// Why an address is not taken, with what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhookUrl {
    /// Too long.
    #[error("is longer than {LONGEST} characters")]
    Long,
    /// No address at all.
    #[error("is no absolute URL such as https://example.com/hook")]
    Syntax,
    /// Another scheme.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// No host.
    #[error("names no host")]
    Host,
    /// A user name or password.
    #[error("must not hold a user name or password; check the signature instead")]
    Credentials,
}

impl WebhookUrl {
    /// The address in its normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address in its parts.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        if text.len() > LONGEST {
            return Err(InvalidWebhookUrl::Long);
        }
        let mut url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => InvalidWebhookUrl::Host,
            _ => InvalidWebhookUrl::Syntax,
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidWebhookUrl::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidWebhookUrl::Host);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidWebhookUrl::Credentials);
        }
        // Never sent; two spellings of one address would differ by it.
        url.set_fragment(None);
        // What is read back has the normal form, in which a character may be nine.
        if url.as_str().len() > LONGEST {
            return Err(InvalidWebhookUrl::Long);
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = InvalidWebhookUrl;

    fn try_from(text: String) -> Result<Self, InvalidWebhookUrl> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host_and_without_credentials() {
        use InvalidWebhookUrl::{Credentials, Host, Long, Scheme, Syntax};
        let long = format!("https://example.com/{}", "a".repeat(LONGEST));
        let grows = format!("https://example.com/{}", "\u{e4}".repeat(LONGEST / 3));
        let table = [
            (
                "https://example.com/hook?a=1",
                Ok("https://example.com/hook?a=1"),
            ),
            ("HTTP://Example.com:80/#part", Ok("http://example.com/")),
            ("http://0x7f.1/", Ok("http://127.0.0.1/")),
            ("http://[::1]:8080/", Ok("http://[::1]:8080/")),
            ("ftp://example.com/", Err(Scheme)),
            ("file:///etc/passwd", Err(Scheme)),
            ("javascript:alert(1)", Err(Scheme)),
            ("example.com/hook", Err(Syntax)),
            ("/hook", Err(Syntax)),
            ("", Err(Syntax)),
            ("http://", Err(Host)),
            ("https://user@example.com/", Err(Credentials)),
            ("https://:secret@example.com/", Err(Credentials)),
            (
                "https://example.com/a\0b\0",
                Ok("https://example.com/a%00b"),
            ),
            (&long, Err(Long)),
            (&grows, Err(Long)),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<WebhookUrl>();
            assert_eq!(
                parsed.as_ref().map(WebhookUrl::as_str),
                expected.as_ref().copied(),
                "{text}"
            );
        }
    }
}
