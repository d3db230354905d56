//! The counts of jobs stay cheap to read while many files come.

mod fresh;

use std::sync::Arc;

use filejobs_store::conformance::Bench;
use filejobs_store::{JobFilter, Page, Store};
use filejobs_store_postgres::{Clock, PostgresStore, Settings};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};
use futures::StreamExt as _;
use futures::stream;

/// More than are handed in between two times that changes are added up.
const JOBS: usize = 700;

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_added_up_without_a_sweep() {
    let url = fresh::database().await;
    let bench = Bench::new(|_, sources| {
        let url = url.clone();
        async move {
            let settings = Settings {
                connections: 4,
                kept: 0,
                clock: Clock::Callers,
            };
            let store = PostgresStore::open(&url, sources, settings).await;
            store.expect("opened") as Arc<dyn Store>
        }
    })
    .await;
    stream::iter(0..JOBS)
        .for_each_concurrent(4, async |_| {
            bench.job().await;
        })
        .await;
    let database = url.rsplit('/').next().expect("the database's name");
    wait::until("most changes to be added up", DEADLINE, async || {
        let left = "SELECT COUNT(*) FROM job_count_changes";
        let left: usize = PostgresServer::shared().run(database, left)?.parse()?;
        Ok((left < JOBS / 2).then_some(()))
    })
    .await
    .expect("added up");
    let first = Page::Offset {
        offset: 0,
        limit: 1,
    };
    let listed = bench.store.jobs(&JobFilter::default(), first).await;
    assert_eq!(listed.expect("listed").total, JOBS as u64);
}
