//! A server that crashes while findings are written ahead of their commit.

#[path = "fresh/bench.rs"]
mod bench;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use filejobs_core::ErrorClass;
use filejobs_store::TaskCommit;
use filejobs_store_postgres::PostgresStore;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};

use bench::bench;

/// What does not wait for the disk stays in the server's memory until something waits for it: a crash undoes all of it.
const LAZY: &[&str] = &[
    "wal_writer_delay=10000",
    "wal_writer_flush_after=1GB",
    "wal_buffers=64MB",
];

/// Findings of one job, and of one of the transactions that write them.
const FINDINGS: u64 = 30_000;
const CHUNK: usize = 8_000;

/// The transactions before and after stay: the commit must not take what is left for the whole.
#[tokio::test(flavor = "multi_thread")]
async fn findings_that_a_crash_has_undone_are_missed_by_the_commit() {
    let mut server = PostgresServer::start_durable_with(LAZY).expect("started");
    let database = server.create(None).expect("created");
    let url = server.url(&database);
    PostgresStore::migrate(&url).await.expect("migrated");
    let bench = bench(&url).await;
    bench.job().await;
    let claimed = bench.claim_next().await;
    let whole = bench.effects(1, FINDINGS, FINDINGS);
    let file = whole.findings.clone().expect("findings");
    let text = fs::read_to_string(&file).expect("read");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();

    // The findings come through a pipe, so that the test says when.
    let pipe = file.with_file_name("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let slow = TaskCommit {
        findings: Some(pipe.clone()),
        ..whole.clone()
    };
    let store = bench.store.clone();
    let committing =
        tokio::spawn(async move { store.commit(claimed.task, claimed.attempt, slow).await });
    let mut engine = OpenOptions::new().write(true).open(&pipe).expect("opened");
    let written = |server: &PostgresServer| {
        let count = server.run(&database, "SELECT count(*) FROM findings");
        count.ok().and_then(|count| count.parse::<usize>().ok())
    };
    let mut chunks = lines.chunks(CHUNK);
    for number in 1..=2 {
        let chunk = chunks.next().expect("a chunk").concat();
        engine.write_all(chunk.as_bytes()).expect("written");
        let there = wait::until("the chunk to be written", DEADLINE, async || {
            Ok((written(&server) == Some(number * CHUNK)).then_some(()))
        });
        there.await.expect("written");
        if number == 1 {
            let waits_for_the_disk = "CREATE TABLE flushed ()";
            server.run(&database, waits_for_the_disk).expect("flushed");
        }
    }
    server.restart().expect("crashed and started");
    assert_eq!(written(&server), Some(CHUNK), "the second chunk is undone");
    let rest = chunks.flatten().copied().collect::<String>();
    // Whoever reads it may have been refused by now.
    let _ = engine.write_all(rest.as_bytes());
    drop(engine);
    let refused = committing.await.expect("joined").expect_err("refused");
    assert_eq!(refused.class(), ErrorClass::Transient, "{refused:?}");

    let job = bench.commit(&claimed, whole).await;
    assert_eq!(job.errors_stored, FINDINGS);
    let seen =
        "SELECT count(*) FROM findings f JOIN finding_batches b ON b.id = f.batch WHERE b.linked";
    let seen = server.run(&database, seen).expect("asked");
    assert_eq!(seen, FINDINGS.to_string());
}
