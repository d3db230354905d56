//! A worker with a real store, queue, storage and engine; scripts stand in where an engine must go wrong.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod source;

use std::os::unix::process::CommandExt;
use std::time::Duration;

use filejobs_core::{FailureClass, FailureCode, JobState};
use filejobs_store::{NewJob, Remains, TaskKind, Tombstone};
use fixture::{
    LONG, Service, copies, engine, engine_after, engine_line, eventually, gone, script, with,
};

/// What the processes that the tests start run in place of `filejobs engine`. Does nothing as a test.
#[test]
#[expect(clippy::exit, reason = "the exit code is what a worker goes by")]
fn engine_process() {
    if std::path::Path::new(filejobs_engine::child::REQUEST).exists() {
        std::process::exit(filejobs_engine::child::serve().into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_rows_findings_and_rejected_rows() {
    let service = Service::start().await;
    let worker = service.worker(engine());
    let job = service.submit("id,name\n1,a\n2,b,x\n3,c\n4,d\n").await;

    let job = service.ended(job).await;

    assert_eq!(job.status, JobState::Completed);
    assert_eq!((job.rows_processed, job.rows_failed), (4, 1));
    let parts = service.store.parts(job.id).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), 3);
    for part in &parts {
        assert_eq!(service.blobs.size(&part.blob).await.unwrap(), part.bytes);
        assert!(service.blobs.size(&part.rows_blob).await.is_ok());
    }
    let rejected = service.store.rejected(job.id).await.unwrap();
    assert!(service.text(&rejected[0]).await.contains("2,b,"));
    worker.stop().await;
    assert_eq!(service.scratch(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_table_fails_as_validation_at_the_first_attempt() {
    let service = Service::start().await;
    let worker = service.worker(engine());
    let job = service.submit("").await;
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Failed);
    assert_eq!(job.failure_code, Some(FailureCode::EmptyFile));
    assert_eq!(job.attempt, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_file_gives_what_the_whole_file_gives() {
    let service = Service::start().await;
    let worker = service.worker(with(engine(), |config| config.limits.split_bytes = 500));
    let rows: Vec<_> = (0..300)
        .map(|n| format!("{},\"v\n{n}\"\n", n % 290))
        .collect();
    let csv = format!("id,value\n{}", rows.concat());
    let schema = r#"{"fields":[{"name":"id","type":"integer","constraints":{"unique":true}},{"name":"value","type":"string"}]}"#;
    let whole = service.submit_as(&csv, TaskKind::Whole, schema).await;
    let planned = service.submit_as(&csv, TaskKind::Plan, schema).await;

    let whole = service.ended(whole).await;
    let planned = service.ended(planned).await;

    assert_eq!(
        whole.status,
        JobState::Completed,
        "{:?}",
        whole.error_message
    );
    assert_eq!(
        planned.status,
        JobState::Completed,
        "{:?}",
        planned.error_message
    );
    assert!(planned.tasks.total > 3, "{:?}", planned.tasks);
    assert_eq!((whole.rows_processed, whole.rows_failed), (300, 10));
    assert_eq!(planned.tally, whole.tally);
    assert_eq!(planned.facts, whole.facts);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_through_a_pipe_is_read_all_the_same() {
    let service = Service::start().await;
    let worker = service.worker(script(&format!("cat | {}", engine_line())));
    let job = service.submit("id\n1\n2\n").await;
    let job = service.ended(job).await;
    assert_eq!((job.status, job.rows_processed), (JobState::Completed, 2));
    worker.stop().await;
}

#[tokio::test]
async fn an_engine_dies_with_its_worker() {
    let folder = tempfile::tempdir().unwrap();
    let request = r#"{"file_type":"csv","options":{},"schema":null,"step":{"kind":"whole"},"processor":{"type":"import"},"limits":{},"threads":1}"#;
    std::fs::write(folder.path().join(filejobs_engine::child::REQUEST), request).unwrap();
    // Its input never ends, so that it would wait for ever.
    let line = format!(
        "sleep 1000 | sh -c 'echo $$ > pid.part; mv pid.part pid; exec {}'",
        engine_line()
    );
    let mut parent = std::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .current_dir(folder.path())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = folder.path().join("pid");
    eventually("it has begun", || pid.exists()).await;
    let pid = std::fs::read_to_string(pid).unwrap();
    eventually("it copies its input", || copies(&pid)).await;

    parent.kill().unwrap();

    parent.wait().unwrap();
    eventually("it is gone", || gone(&pid)).await;
    let group = rustix::process::Pid::from_raw(parent.id().cast_signed()).unwrap();
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parser_that_always_crashes_uses_up_its_attempts() {
    let service = Service::start().await;
    let worker = service.worker(script("echo begun >&2; kill -SEGV $$"));
    let job = service.submit("a\n1\n").await;
    let job = service.ended(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::ParserCrash));
    assert_eq!(job.failure_class, Some(FailureClass::Processing));
    assert_eq!(job.attempt, 3);
    worker.stop().await;
    assert_eq!(service.scratch(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parser_that_crashes_once_costs_an_attempt_and_no_row() {
    let service = Service::start().await;
    let crashed = service.path("crashed");
    let once = format!(
        "if [ ! -e {0} ]; then : > {0}; kill -ABRT $$; fi",
        crashed.display()
    );
    let worker = service.worker(engine_after(&once));
    let job = service.submit("a\n1\n2\n").await;
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Completed);
    assert_eq!((job.rows_processed, job.attempt), (2, 2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_needs_too_much_memory_fails_as_limit_at_the_first_attempt() {
    let service = Service::start().await;
    let worker = service.worker(with(engine(), |config| {
        config.limits.engine_memory_bytes = 8 << 20;
    }));
    let row = format!("x{}\n", ",x".repeat(15_999));
    let job = service.submit(&row.repeat(100)).await;
    let job = service.ended(job).await;
    assert_eq!(
        job.failure_code,
        Some(FailureCode::LimitExceeded),
        "{:?}",
        job.error_message
    );
    assert_eq!(job.attempt, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_too_long_fails_as_limit() {
    let service = Service::start().await;
    let worker = service.worker(script("ulimit -S -t 1; while :; do :; done"));
    let job = service.submit("a\n1\n").await;
    let job = service.ended(job).await;
    assert_eq!(
        job.failure_code,
        Some(FailureCode::LimitExceeded),
        "{:?}",
        job.error_message
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_removed_when_its_job_is_completed_is_left_to_the_sweep() {
    let service = Service::start().await;
    let (gate, wait) = service.gate();
    let setup = with(engine_after(&wait), |config| config.delete_completed = true);
    let worker = service.worker(setup);
    let job = service.submit("a\n1\n").await;
    service.hanging().await;
    // The engine has the file already. A folder cannot be removed as a file is.
    let blob = service.job(job).await.blob;
    let file = service.path("blobs").join(&blob);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    std::fs::write(gate, "").unwrap();
    assert_eq!(service.ended(job).await.status, JobState::Completed);
    worker.stop().await;
    let upload = Tombstone {
        id: job,
        blob,
        remains: Remains::Upload,
        tries: 0,
    };
    assert_eq!(service.store.tombstones(10).await.unwrap(), [upload]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_when_its_job_is_completed_if_that_is_wanted() {
    let service = Service::start().await;
    let worker = service.worker(with(engine(), |config| config.delete_completed = true));
    let job = service.submit("a\n1\n").await;
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Completed);
    // A worker that has stopped has done what follows a commit.
    worker.stop().await;
    assert_eq!(service.store.tombstones(10).await.unwrap(), []);
    assert!(service.blobs.size(&job.blob).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_no_process_and_no_file() {
    let service = Service::start().await;
    let worker = service.worker(service.hang());
    let job = service.submit("a\n1\n").await;
    let pid = service.hanging().await;

    let cancelled = service.store.cancel(job).await.unwrap();

    assert_eq!(cancelled.status, JobState::Cancelled);
    eventually("the engine is gone", || gone(&pid)).await;
    eventually("its files are gone", || service.left().is_empty()).await;
    assert!(service.results().is_empty());
    worker.stop().await;
    assert_eq!(service.job(job).await.status, JobState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_gives_its_worker_back_and_ends_after_it_is_resumed() {
    let service = Service::start().await;
    let (gate, wait) = service.gate();
    let worker = service.worker(engine_after(&wait));
    let job = service.submit("a\n1\n").await;
    let pid = service.hanging().await;

    service.store.suspend(job).await.unwrap();
    eventually("the engine is gone", || gone(&pid)).await;
    std::fs::write(gate, "").unwrap();
    service.store.resume(job).await.unwrap();

    let job = service.ended(job).await;
    assert_eq!(
        (job.status, job.rows_processed, job.attempt),
        (JobState::Completed, 1, 1)
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_back_what_does_not_end_in_time() {
    let service = Service::start().await;
    let hang = with(service.hang(), |config| {
        config.grace = Duration::from_millis(50);
    });
    let worker = service.worker(hang);
    let job = service.submit("a\n1\n").await;
    let pid = service.hanging().await;

    worker.stop().await;

    assert!(gone(&pid));
    assert_eq!(service.scratch(), 0);
    assert_eq!(
        service
            .store
            .workers(Duration::from_hours(1))
            .await
            .unwrap(),
        []
    );
    let next = service.worker(engine());
    let job = service.ended(job).await;
    assert_eq!((job.status, job.attempt), (JobState::Completed, 1));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_lets_what_runs_end() {
    let service = Service::start().await;
    let (gate, wait) = service.gate();
    let patient = with(engine_after(&wait), |config| config.grace = LONG);
    let worker = service.worker(patient);
    let job = service.submit("a\n1\n").await;
    service.hanging().await;
    let late = service.submit("a\n1\n").await;

    worker.tell();
    std::fs::write(gate, "").unwrap();
    worker.stop().await;

    assert_eq!(service.job(job).await.status, JobState::Completed);
    assert_eq!(service.job(late).await.status, JobState::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_unnoticed_changes_nothing() {
    let service = Service::start().await;
    let (gate, wait) = service.gate();
    // Deaf and mute: its own connection hears of no change, and it renews nothing.
    let zombie = service.stranger(with(engine_after(&wait), |config| {
        config.lease = Duration::from_millis(10);
        config.heartbeat = Duration::from_hours(1);
    }));
    let zombie = zombie.await;
    let job = service.submit("a\n1\nx\n3\n").await;
    let pid = service.hanging().await;
    service.rescue().await;
    let worker = service.worker(engine());
    let won = service.ended(job).await;
    let (parts, results) = (service.store.parts(job).await.unwrap(), service.results());

    std::fs::write(gate, "").unwrap();
    eventually("the zombie's engine has ended", || gone(&pid)).await;
    zombie.stop().await;

    assert_eq!((won.status, won.attempt), (JobState::Completed, 2));
    assert_eq!(service.store.parts(job).await.unwrap(), parts);
    assert_eq!(service.results(), results);
    assert_eq!(service.job(job).await.tally, won.tally);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_job_keeps_nothing_of_its_earlier_run() {
    let service = Service::start().await;
    let worker = service.worker(engine());
    let strict = |new: &mut NewJob| new.options.max_errors = Some(0);
    let job = service.submit_with("a,b\n1,2\n3\n", strict).await;
    let first = service.ended(job).await;
    assert_eq!(first.failure_code, Some(FailureCode::TooManyErrors));
    assert!(service.results().iter().any(|path| path.contains("/0/")));

    service.store.retry(job).await.unwrap();

    let second = service.ended(job).await;
    assert_eq!((second.generation, second.rows_failed), (1, 1));
    eventually("what the first run left is gone", || {
        service.results().iter().all(|path| path.contains("/1/"))
    })
    .await;
    assert_eq!(service.store.rejected(job).await.unwrap().len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_all_end_with_their_own_counts() {
    let service = Service::start().await;
    let worker = service.worker(with(engine(), |config| config.slots = 2));
    let mut jobs = Vec::new();
    for rows in 1..=40 {
        let csv = format!("id,value\n{}", "1,2\n".repeat(rows));
        jobs.push((rows as u64, service.submit(&csv).await));
    }
    for (rows, job) in jobs {
        let job = service.ended(job).await;
        assert_eq!(
            (job.status, job.rows_processed, job.attempt),
            (JobState::Completed, rows, 1)
        );
    }
    worker.stop().await;
    assert_eq!(service.scratch(), 0);
}
