//! What is SQLite's own: files, disks that are full, constraints, plans of statements.

use std::path::PathBuf;

use filejobs_core::{ErrorClass, JobState};
use filejobs_store::Error;
use filejobs_store::conformance::{Bench, assert_status, effects};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::*;
use crate::problem::Problem;

/// A bench, its store by its own type, and its file.
async fn bench() -> (Bench, Arc<SqliteStore>, PathBuf) {
    let (mut own, mut path) = (None, None);
    let bench = Bench::new(|folder, sources| {
        let file = folder.join("jobs.db");
        path = Some(file.clone());
        let own = &mut own;
        async move {
            let store = SqliteStore::open(&file, sources).await.unwrap();
            *own = Some(store.clone());
            store as Arc<dyn Store>
        }
    });
    let bench = bench.await;
    (bench, own.unwrap(), path.unwrap())
}

async fn connect(path: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let (bench, store, path) = bench().await;
    let job = bench
        .finished(bench.new_job(), bench.effects(1, 10, 3))
        .await;
    let waiting = bench.job().await;
    drop(store);
    let again = SqliteStore::open(&path, bench.sources.clone())
        .await
        .unwrap();
    assert_eq!(again.job(job.id).await.unwrap(), Some(job));
    assert_eq!(again.waiting(10).await.unwrap()[0].job, waiting.id);
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let (bench, store, _path) = bench().await;
    let limit = |pages: i64| {
        let store = store.clone();
        async move {
            store
                .database
                .write("limiting the file", Durable::Later, move |unit| {
                    Box::pin(async move {
                        let pragma = format!("PRAGMA max_page_count = {pages}");
                        let pragma = sqlx::query(AssertSqlSafe(pragma));
                        pragma.execute(&mut unit.connection).await?;
                        Ok(())
                    })
                })
                .await
                .unwrap();
        }
    };
    bench.job().await;
    limit(1).await;
    let mut new = bench.new_job();
    new.filename = "x".repeat(500_000);
    let full = store.create_job(new.clone()).await;
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    assert_eq!(full.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(store.job(new.id).await.unwrap(), None);
    limit(1_000_000).await;
    assert_status(&store.create_job(new).await.unwrap(), JobState::Queued);
}

#[tokio::test]
async fn a_unit_that_panics_or_fails_leaves_nothing_behind() {
    let (bench, store, _path) = bench().await;
    let job = bench.job().await;
    for panics in [true, false] {
        let lost = store
            .database
            .write("failing", Durable::Yes, move |unit| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM jobs")
                        .execute(&mut unit.connection)
                        .await?;
                    assert!(!panics, "on purpose");
                    Err::<(), _>(Problem::Answer(Error::NotFound))
                })
            })
            .await;
        assert!(lost.is_err());
        assert_eq!(store.job(job.id).await.unwrap(), Some(job.clone()));
    }
    assert_status(
        &bench.finished(bench.new_job(), effects(1, 0)).await,
        JobState::Completed,
    );
}

#[tokio::test]
async fn a_job_is_created_once() {
    let (bench, store, _path) = bench().await;
    let new = bench.new_job();
    let job = bench.hand_in(new.clone()).await;
    let twice = store.create_job(new).await.unwrap_err();
    assert_eq!(twice.reason(), "Backend");
    assert_eq!(bench.get(job.id).await, job);
}

#[tokio::test]
async fn data_that_cannot_be_read_is_named() {
    let (bench, _store, path) = bench().await;
    let job = bench.job().await;
    let mut connection = connect(&path).await;
    sqlx::query("UPDATE jobs SET options = '{'")
        .execute(&mut connection)
        .await
        .unwrap();
    let error = bench.store.job(job.id).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    let wanted = format!(
        "table jobs, column options: the value in row {} cannot be read",
        job.id
    );
    assert_eq!(source, wanted);
    assert_eq!(error.to_string(), "the database failed while reading a job");
}

#[tokio::test]
async fn sql_by_hand_obeys_the_invariants() {
    let (bench, _store, path) = bench().await;
    bench.finished(bench.new_job(), effects(10, 0)).await;
    bench.job().await;
    bench.claim_next().await;
    let mut connection = connect(&path).await;
    let forbidden = [
        "UPDATE jobs SET status = 'DONE'",
        "UPDATE jobs SET status = 'COMPLETED' WHERE status = 'PROCESSING'",
        "UPDATE jobs SET completed_at = NULL WHERE status = 'COMPLETED'",
        "UPDATE jobs SET completed_at = 1 WHERE status = 'PROCESSING'",
        "UPDATE jobs SET status = 'FAILED', completed_at = 1",
        "UPDATE jobs SET rows_failed = rows_processed + 1",
        "UPDATE jobs SET priority = 11",
        "UPDATE jobs SET tasks_done = tasks_total + 1",
        "UPDATE jobs SET errors_stored = findings_max + 1",
        "UPDATE tasks SET released = attempt + 1",
        "UPDATE tasks SET released = attempt WHERE state = 'RUNNING'",
        "UPDATE tasks SET worker = NULL WHERE state = 'RUNNING'",
        "UPDATE tasks SET state = 'RUNNING' WHERE state = 'DONE'",
        "UPDATE tasks SET held = 1 WHERE state = 'RUNNING'",
        "UPDATE tasks SET dead = 1 WHERE state = 'DONE'",
        "UPDATE tasks SET ended_at = NULL WHERE state = 'DONE'",
        "UPDATE jobs SET file_size = 'large'",
        "INSERT INTO deliveries (id, job, url, body, created_at) SELECT x'00', id, '', '', 0 FROM jobs",
    ];
    for statement in forbidden {
        let done = sqlx::query(statement).execute(&mut connection).await;
        let error = done.map(|d| d.rows_affected()).unwrap_err().to_string();
        assert!(
            error.contains("constraint") || error.contains("cannot store"),
            "{statement}: {error}"
        );
    }
}

/// Every statement of the crate, as `.sqlx/` has them.
fn statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = std::fs::read_dir(folder).unwrap();
    let statements = files.map(|file| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let described: serde_json::Value = serde_json::from_str(&text).unwrap();
        described["query"].as_str().unwrap().to_owned()
    });
    statements.collect()
}

/// What a statement may read in full: tables that stay small whatever the number of jobs, lists that are its own
/// argument, and partial indexes that hold open work only.
fn may_be_read_in_full(scanned: &str) -> bool {
    const SMALL: [&str; 9] = [
        "api_keys",
        "job_counts",
        "leadership",
        "namespaces",
        "priorities",
        "search",
        "spent_uploads",
        "tombstones",
        "workers",
    ];
    const OPEN_WORK: [&str; 7] = [
        "tasks_waiting",
        "tasks_waiting_of_job",
        "tasks_busy",
        "tasks_published",
        "tasks_leased",
        "tasks_dead",
        "finding_batches_loose",
    ];
    let index = scanned.rsplit_once("INDEX ").map_or("", |(_, index)| index);
    SMALL.contains(&scanned)
        || OPEN_WORK.contains(&index)
        || ["VIRTUAL TABLE", "CONSTANT ROW", "VALUES CLAUSE"]
            .iter()
            .any(|own| scanned.contains(own))
}

#[tokio::test]
async fn no_statement_reads_a_table_that_grows_in_full() {
    let (_bench, _store, path) = bench().await;
    let mut connection = connect(&path).await;
    let mut scans = Vec::new();
    for statement in statements() {
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let plan = sqlx::query(AssertSqlSafe(explain))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
        // What the statement makes itself is read in full; what that is made of has steps of its own.
        let made: Vec<&str> = steps
            .iter()
            .filter_map(|step| {
                step.strip_prefix("MATERIALIZE ")
                    .or_else(|| step.strip_prefix("CO-ROUTINE "))
            })
            .collect();
        for scanned in steps.iter().filter_map(|step| step.strip_prefix("SCAN ")) {
            if !made.contains(&scanned) && !may_be_read_in_full(scanned) {
                scans.push(format!("{scanned}: {statement}"));
            }
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n\n"));
}
