//! What the store costs when a million jobs have ended: no more than when few have.
//!
//! One database is made for all tests here, by SQL, within half a minute. `statements` looks at the plan of every
//! statement there is; `calls` makes the calls that run all day long and counts the rows that each has read.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod calls;
#[path = "../fresh/mod.rs"]
mod fresh;
mod statements;

use std::sync::Arc;

use filejobs_core::JobId;
use filejobs_store::conformance::Bench;
use filejobs_store::{JobFilter, Page, Store};
use filejobs_store_postgres::{Clock, PostgresStore, Settings};
use filejobs_testkit::history::History;
use filejobs_testkit::postgres::PostgresServer;
use tokio::sync::OnceCell;

const HISTORY: History = History {
    jobs: 1_000_000,
    findings: 1_000_000,
};

/// Tables that a scan may read from end to end, and why.
const SMALL_TABLES: &[(&str, &str)] = &[
    ("workers", "a row for each process of the last hour"),
    ("leadership", "one row"),
    ("quotas", "one row"),
    ("api_keys", "made by hand"),
    ("job_counts", "namespaces times states"),
    ("job_count_changes", "what has changed since the last sweep"),
    (
        "tombstones",
        "a row until the blobs of a deleted job are gone",
    ),
    (
        "spent_uploads",
        "a row until the file of a completed job is gone",
    ),
    ("_sqlx_migrations", "a row for each migration"),
];

/// A database in which a million jobs have ended.
struct Million {
    server: &'static PostgresServer,
    name: String,
    /// Makes what the calls work on.
    bench: Bench,
    /// The job with a million findings.
    found: JobId,
}

async fn million() -> &'static Million {
    static MILLION: OnceCell<Million> = OnceCell::const_new();
    MILLION.get_or_init(make).await
}

async fn make() -> Million {
    let server = PostgresServer::shared();
    let url = fresh::database().await;
    let name = url.rsplit('/').next().expect("the database's name");
    let bench = Bench::new(|_, sources| {
        let url = url.clone();
        async move { open(&url, sources).await as Arc<dyn Store> }
    })
    .await;
    let mut effects = bench.effects(1, 10, 1);
    effects.parts = vec![filejobs_store::conformance::part(0, "valid", 9)];
    let model = bench.finished(bench.new_job(), effects).await;
    let found = HISTORY.make(server, name, &model.id.to_string());
    let found = found.expect("a history").parse().expect("an id");
    let (any, first) = (
        JobFilter::default(),
        Page::Offset {
            offset: 0,
            limit: 1,
        },
    );
    let listed = bench.store.jobs(&any, first).await;
    let listed = listed.expect("the store answers");
    assert_eq!(listed.total, u64::from(HISTORY.jobs) + 1);
    Million {
        server,
        name: name.to_owned(),
        bench,
        found,
    }
}

async fn open(url: &str, sources: filejobs_core::Sources) -> Arc<PostgresStore> {
    let settings = Settings {
        connections: 4,
        kept: 0,
        clock: Clock::Callers,
    };
    let store = PostgresStore::open(url, sources, settings).await;
    store.expect("opened")
}

impl Million {
    /// Runs a statement; gives its rows as text.
    fn run(&self, statement: &str) -> anyhow::Result<String> {
        self.server.run(&self.name, statement)
    }
}

fn is_small(table: &str) -> bool {
    SMALL_TABLES.iter().any(|(small, _)| *small == table)
}
