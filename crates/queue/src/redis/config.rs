//! Where the server is and how the queue behaves on it.

use std::fmt;
use std::time::Duration;

use filejobs_core::Sources;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// Address and credentials of a Redis server: `redis://[USER][:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` for TLS, or
/// `unix://PATH`. Shown without its credentials.
#[derive(Clone)]
pub struct Server(pub(super) ConnectionInfo);

/// A text that is no address of a Redis server. Never repeats the text: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "not the address of a Redis server: redis://[USER][:PASSWORD@]HOST[:PORT][/DB] is expected, rediss:// for TLS"
)]
pub struct InvalidServer(#[source] redis::RedisError);

impl std::str::FromStr for Server {
    type Err = InvalidServer;

    fn from_str(url: &str) -> Result<Self, InvalidServer> {
        let info = url.into_connection_info().map_err(InvalidServer)?;
        // Answers are read as this protocol writes them.
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP2);
        Ok(Self(info.set_redis_settings(settings)))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.addr().fmt(f)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// How the queue behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub server: Server,
    /// The key of the stream.
    pub stream: String,
    /// The name under which this process takes tickets, new with every start.
    pub consumer: String,
    /// Entries that the stream may hold.
    pub capacity: usize,
    /// After this time without an acknowledgement an entry goes to another consumer.
    pub pending_idle: Duration,
    /// A consumer that holds nothing and was not heard of for this time is removed. One that lives after all comes
    /// back by itself.
    pub consumer_gone: Duration,
    /// Jitter.
    pub sources: Sources,
}

impl Config {
    /// The defaults, for the process with the name `consumer`.
    #[must_use]
    pub fn new(server: Server, consumer: impl Into<String>, sources: Sources) -> Self {
        Self {
            server,
            stream: "filejobs:tasks".to_owned(),
            consumer: consumer.into(),
            capacity: 10_000,
            pending_idle: Duration::from_secs(10),
            consumer_gone: Duration::from_mins(10),
            sources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for url in [
            "redis://:s3cret@db.example:6380/2",
            "redis://s3cret:s3cret@db.example:6380",
            "rediss://user:s3cret@db.example:6380",
        ] {
            let server: Server = url.parse().unwrap();
            let shown = format!("{server} {server:?}");
            assert_eq!(shown, "db.example:6380 Server(db.example:6380)");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for url in [
            "",
            "s3cret",
            "http://:s3cret@db.example",
            "redis://:s3cret@db.example/zero",
            "redis://:s3cret@",
        ] {
            let error = url.parse::<Server>().unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            let told = format!("{error} {error:?} {source}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
