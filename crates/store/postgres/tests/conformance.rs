//! The suite that every store passes, on Postgres.

mod fresh;

use std::sync::Arc;

use filejobs_store::Store;
use filejobs_store::conformance::Bench;
use filejobs_store_postgres::{Clock, PostgresStore, Settings};

async fn bench() -> Bench {
    let url = fresh::database().await;
    Bench::new(|_, sources| async move {
        let settings = Settings {
            connections: 8,
            kept: 0,
            clock: Clock::Callers,
        };
        let store = PostgresStore::open(&url, sources, settings).await;
        store.expect("opened") as Arc<dyn Store>
    })
    .await
}

filejobs_store::conformance_tests!(bench());
