//! The bench of the conformance suite on a database, for tests that look into it from outside as well.

use std::sync::Arc;

use filejobs_store::Store;
use filejobs_store::conformance::Bench;
use filejobs_store_postgres::{Clock, PostgresStore, Settings};

/// A store of the database at `url`, whose clock is the test's.
pub(crate) async fn bench(url: &str) -> Bench {
    Bench::new(|_, sources| async move {
        let settings = Settings {
            connections: 8,
            kept: 0,
            clock: Clock::Callers,
        };
        let store = PostgresStore::open(url, sources, settings).await;
        store.expect("opened") as Arc<dyn Store>
    })
    .await
}
