//! Connections: how they are made, how many there are, and how each is lent out and taken back.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{PgConnection, Postgres};

use crate::Settings;

/// Longest wait for a connection of the pool, one that is opened included.
pub(crate) const ACQUIRE: Duration = Duration::from_secs(5);
/// Longest time for the work of a unit, whatever it waits for. The server's own limits are shorter, so that a server that
/// can be reached says what was too slow; this one ends the wait for a server that cannot.
pub(crate) const UNIT: Duration = Duration::from_secs(20);
/// Longest time for what takes the server no time: to begin, to roll back, to look whether a connection lives.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

/// What the server is told about every connection. A peer that is gone without a word is noticed, and what it held is
/// let go of, within half a minute.
const SERVER_SETTINGS: [(&str, &str); 8] = [
    ("statement_timeout", "15s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // Milliseconds: the one that the server shows without its unit.
    ("tcp_user_timeout", "25000"),
    // Compiling a plan takes longer than any statement of ours.
    ("jit", "off"),
];

/// Statements kept prepared on each connection: more than there are.
const PREPARED: usize = 256;
/// A connection is replaced after this time, so that memory of the server and stale routes do not stay for ever.
const LIFETIME: Duration = Duration::from_mins(30);
/// A connection past those that are kept is closed after this time without work.
const IDLE: Duration = Duration::from_mins(2);

/// Where the database is, and how to speak to it.
pub(crate) fn options(url: &str) -> sqlx::Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse()?;
    let name = options.get_application_name().unwrap_or("filejobs");
    let name = name.to_owned();
    Ok(options
        .application_name(&name)
        .statement_cache_capacity(PREPARED)
        .options(SERVER_SETTINGS))
}

/// One pool for everything but the listener: some connections are kept open, others come and go with the load.
pub(crate) fn pool(options: &PgConnectOptions, settings: &Settings) -> PgPool {
    PgPoolOptions::new()
        .max_connections(settings.connections.max(1))
        .min_connections(settings.kept.min(settings.connections))
        .acquire_timeout(ACQUIRE)
        .max_lifetime(LIFETIME)
        .idle_timeout(IDLE)
        // One that has died in the pool is found by its first statement and replaced, at no cost for those that live.
        .test_before_acquire(false)
        .connect_lazy_with(options.clone())
}

/// A connection on loan.
///
/// It goes back to the pool by [`Lent::give_back`] alone, which is called once no transaction is open on it. However else
/// a unit ends (a panic, a deadline, a lost connection), the connection is closed, and that rolls back: none comes into
/// the pool from inside a transaction.
#[derive(Debug)]
pub(crate) struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    pub(crate) async fn from(pool: &PgPool) -> sqlx::Result<Self> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Puts it back for the next unit.
    pub(crate) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Not `close`, which speaks to a server that may not answer.
            drop(connection.detach());
        }
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0
            .as_ref()
            .expect("only `give_back` and `drop` empty it, and both take it away")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0
            .as_mut()
            .expect("only `give_back` and `drop` empty it, and both take it away")
    }
}

#[cfg(test)]
mod tests {
    use filejobs_testkit::postgres::PostgresServer;
    use sqlx::{AssertSqlSafe, ConnectOptions as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_has_bounds_that_the_server_keeps() {
        let server = PostgresServer::shared();
        let url = server.url(&server.create(None).unwrap());
        let mut connection = options(&url).unwrap().connect().await.unwrap();
        for (name, value) in SERVER_SETTINGS {
            let show = sqlx::query_scalar(AssertSqlSafe(format!("SHOW {name}")));
            let shown: String = show.fetch_one(&mut connection).await.unwrap();
            assert_eq!(shown, value, "{name}");
        }
    }
}
