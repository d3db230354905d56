//! A worker that stands still for longer than its lease and then goes on as if nothing had happened.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use filejobs_cli::sample::Sample;
use filejobs_testkit::cluster::Cluster;
use filejobs_testkit::disk::files_below;
use filejobs_testkit::http::Upload;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};

use crate::{BINARY, submit};

/// Long enough that a worker which is held up by other tests does not lose it.
const LEASE: Duration = Duration::from_secs(10);

/// How often the moment is waited for.
const TRIES: u32 = 5;

/// Enough that the worker has results to store for a while.
const ROWS: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_for_three_leases_commits_nothing_and_leaves_nothing() {
    let postgres = PostgresServer::shared();
    let mut cluster = Cluster::start(BINARY, postgres).unwrap();
    let lease = ("FILEJOBS_LEASE".to_owned(), format!("{}s", LEASE.as_secs()));
    cluster.environment.push(lease);
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let zombie = cluster.spawn(&["worker"]).await.unwrap();
    let mut tries = 0;
    let id = loop {
        let id = submit(&cluster, &api, &upload(ROWS)).await;
        // The engine has ended, and the worker is about to store and commit what it left.
        until_result(&cluster, true).await;
        zombie.signal("STOP").unwrap();
        if cluster.job(&api, "none", &id).await.unwrap()["status"] == "PROCESSING" {
            break id;
        }
        tries += 1;
        assert!(tries < TRIES, "it was faster each time");
        zombie.signal("CONT").unwrap();
        cluster.finished(&api, "none", &id).await.unwrap();
        until_result(&cluster, false).await;
    };
    let stopped = Instant::now();

    let mut successor = cluster.spawn(&["worker"]).await.unwrap();
    let done = cluster.finished(&api, "none", &id).await.unwrap();
    assert_eq!(done["status"], "COMPLETED", "{done}");
    assert_eq!(done["rows_processed"], ROWS);
    assert!(done["attempt"].as_u64() >= Some(2), "{done}");
    wait::until("three leases to pass", DEADLINE, async || {
        Ok((stopped.elapsed() > 3 * LEASE).then_some(()))
    })
    .await
    .unwrap();
    zombie.signal("CONT").unwrap();
    // At its commit; or before, when it hears of its lease first.
    wait::until(
        "the zombie to hear that it is too late",
        DEADLINE,
        async || {
            let refused = zombie.log().contains("the task was taken away");
            Ok(refused.then_some(()))
        },
    )
    .await
    .unwrap();
    assert_eq!(cluster.job(&api, "none", &id).await.unwrap(), done);
    let database = cluster.database_url.rsplit('/').next().unwrap();
    let named = "SELECT blob FROM parts UNION SELECT rows_blob FROM parts
        UNION SELECT rejected FROM tasks WHERE rejected IS NOT NULL UNION SELECT blob FROM jobs";
    let named = postgres.run(database, named).unwrap();
    let named: BTreeSet<&str> = named.lines().collect();
    let folder = cluster.files();
    wait::until("its blobs to be removed", DEADLINE, async || {
        let there = files_below(&folder);
        let there = there.iter().map(|path| key(&folder, path));
        Ok((there.collect::<BTreeSet<_>>() == named).then_some(()))
    })
    .await
    .unwrap();

    // It has not become useless.
    successor.kill().unwrap();
    let next = submit(&cluster, &api, &upload(3)).await;
    let next = cluster.finished(&api, "none", &next).await.unwrap();
    assert_eq!(next["status"], "COMPLETED", "{next}");
}

/// Waits until there is an engine's result, or none.
async fn until_result(cluster: &Cluster, is_there: bool) {
    wait::until("an engine's result to come or go", DEADLINE, async || {
        let files = files_below(&cluster.scratch());
        let any = files.iter().any(|path| path.ends_with("result.json"));
        Ok((any == is_there).then_some(()))
    })
    .await
    .unwrap();
}

fn upload(rows: u64) -> Upload {
    let sample = Sample {
        rows,
        bad: 1.0,
        ..Sample::default()
    };
    let mut bytes = Vec::new();
    sample.write(&mut bytes).unwrap();
    Upload::new("sample.csv", bytes).field("schema", Sample::schema())
}

/// The key of the blob that lies in a file.
fn key<'a>(folder: &Path, file: &'a Path) -> &'a str {
    file.strip_prefix(folder).unwrap().to_str().unwrap()
}
