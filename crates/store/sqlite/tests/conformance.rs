//! The suite that every store passes, on SQLite.

use std::sync::Arc;

use filejobs_store::Store;
use filejobs_store::conformance::Bench;
use filejobs_store_sqlite::SqliteStore;

async fn bench() -> Bench {
    Bench::new(|folder, sources| async move {
        let store = SqliteStore::open(&folder.join("jobs.db"), sources).await;
        store.expect("opened") as Arc<dyn Store>
    })
    .await
}

filejobs_store::conformance_tests!(bench());
