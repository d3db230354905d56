//! What is asked all the time stays cheap while many files come and wait.

#[path = "fresh/bench.rs"]
mod bench;
mod fresh;

use std::path::Path;

use filejobs_store::conformance::Bench;
use filejobs_store::{JobFilter, Page};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};
use futures::StreamExt as _;
use futures::stream;

use bench::bench;

/// More than are handed in between two times that changes are added up.
const JOBS: usize = 700;

async fn hand_in(bench: &Bench) {
    stream::iter(0..JOBS)
        .for_each_concurrent(4, async |_| {
            bench.job().await;
        })
        .await;
}

fn ask(url: &str, statements: &str) -> anyhow::Result<String> {
    let database = url.rsplit('/').next().expect("the database's name");
    PostgresServer::shared().run(database, statements)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_added_up_without_a_sweep() {
    let url = fresh::database().await;
    let bench = bench(&url).await;
    hand_in(&bench).await;
    wait::until("most changes to be added up", DEADLINE, async || {
        let left: usize = ask(&url, "SELECT COUNT(*) FROM job_count_changes")?.parse()?;
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

/// A server plans by what it knows of a table, and of one that fills fast it knows nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_published_by_their_ids_on_a_server_without_statistics() {
    let url = fresh::database().await;
    hand_in(&bench(&url).await).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let statements = std::fs::read_dir(folder).expect("the prepared statements");
    let statements = statements.map(|file| {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("read");
        let prepared: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        prepared["query"].as_str().expect("a query").to_owned()
    });
    let publish: Vec<_> = statements
        .filter(|s| s.starts_with("WITH named AS"))
        .collect();
    assert_eq!(publish.len(), 1, "{publish:?}");
    let plan = ask(
        &url,
        &format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE asked AS {}; EXPLAIN EXECUTE asked(NULL, NULL, NULL)",
            publish[0]
        ),
    )
    .expect("a plan");
    assert!(plan.contains("tasks_pkey"), "{plan}");
    assert!(!plan.contains("tasks_waiting"), "{plan}");
}
