//! An https address, through the guard that keeps webhooks off the operator's own network.

use std::time::Duration;

use filejobs_core::causes;
use filejobs_crd::Reason;
use filejobs_scheduler::guard::{Allowed, Guard, Refused, Unresolved};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{ClientBuilder, StatusCode};
use url::Url;

use super::{Failure, Incoming};
use crate::error::Error;

/// Longest wait for a connection, and between two pieces of the file.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// Fetches from addresses.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    guard: Guard,
}

impl Http {
    /// A client whose connections are each checked anew, and that follows nobody anywhere.
    pub(crate) fn new(allowed: &[Allowed]) -> Result<Self, Error> {
        let guard = Guard::new(allowed);
        let more = |builder: ClientBuilder| {
            let builder = builder.https_only(true).connect_timeout(CONNECT);
            builder.read_timeout(SILENCE)
        };
        let client = guard.client(more, "`url` sources");
        Ok(Self {
            client: client.map_err(Error::Client)?,
            guard,
        })
    }

    /// Asks for the file. Its name is the last part of the path.
    pub(super) async fn open(&self, address: &str) -> Result<Incoming, Failure> {
        let unusable =
            |_| Failure::never(Reason::SourceRefused, "`source.url` is no https address.");
        let url = Url::parse(address).map_err(unusable)?;
        if let Some(host) = url.host() {
            self.guard
                .check_literal(&host)
                .map_err(|Refused| refused())?;
        }
        let last = url.path_segments().and_then(|mut parts| parts.next_back());
        let name = last
            .filter(|name| !name.is_empty())
            .unwrap_or("file")
            .to_owned();
        let answer = self
            .client
            .get(url)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        check(answer.status())?;
        let bytes = answer
            .bytes_stream()
            .map_err(|error| failure(&error))
            .boxed();
        Ok(Incoming { name, bytes })
    }
}

fn refused() -> Failure {
    let told = "The address leads to a private network, which is not fetched from.";
    Failure::never(Reason::SourceRefused, told)
}

fn check(status: StatusCode) -> Result<(), Failure> {
    let code = status.as_u16();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let told = format!(
            "The address answers {code}; redirects are not followed: name the last address."
        );
        return Err(Failure::never(Reason::SourceRefused, told));
    }
    match code {
        408 | 425 | 429 => {}
        404 | 410 => {
            let told = format!("The address answers {code}: there is no file.");
            return Err(Failure::later(Reason::SourceNotFound, told));
        }
        400..=499 => {
            let told = format!("The address answers {code}: it does not give the file away.");
            return Err(Failure::never(Reason::SourceRefused, told));
        }
        _ => {}
    }
    let told = format!("The address answers {code}; it is tried again.");
    Err(Failure::later(Reason::SourceUnavailable, told))
}

/// What a failed request means. Nothing of its text is shown: it may name hosts.
fn failure(error: &reqwest::Error) -> Failure {
    if causes::find::<Refused>(error).is_some() {
        return refused();
    }
    if causes::find::<Unresolved>(error).is_some() {
        let told = "The address's host has no entry in the name service; it is tried again.";
        return Failure::later(Reason::SourceUnavailable, told);
    }
    let told = "The address does not answer as it should; it is tried again.";
    Failure::later(Reason::SourceUnavailable, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reason(address: &str) -> (Reason, bool) {
        let http = Http::new(&[]).unwrap();
        match http
            .open(address)
            .await
            .err()
            .expect("it must not be opened")
        {
            Failure::Never(rejection) => (rejection.reason, true),
            Failure::Later(rejection) => (rejection.reason, false),
            Failure::Ours(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused_by_number_and_by_name() {
        for address in [
            "https://127.0.0.1/a.csv",
            "https://10.96.0.1/api",
            "https://169.254.169.254/latest",
            "https://[::1]/a.csv",
            "https://[::ffff:127.0.0.1]/a.csv",
            "https://localhost/a.csv",
            "https://2130706433/a.csv",
        ] {
            assert_eq!(
                reason(address).await,
                (Reason::SourceRefused, true),
                "{address}"
            );
        }
    }

    #[test]
    fn answers_mean_now_later_or_never() {
        let outcome = |code| match check(StatusCode::from_u16(code).unwrap()) {
            Ok(()) => "now",
            Err(Failure::Later(_)) => "later",
            Err(Failure::Never(_)) => "never",
            Err(Failure::Ours(_)) => "ours",
        };
        let codes = [200, 206, 302, 308, 400, 403, 404, 408, 429, 500, 503];
        let outcomes = codes.map(outcome);
        assert_eq!(
            outcomes,
            [
                "now", "now", "never", "never", "never", "never", "later", "later", "later",
                "later", "later"
            ]
        );
    }
}
