//! A running job that is no longer wanted.

use std::path::Path;
use std::time::{Duration, Instant};

use filejobs_cli::sample::Sample;
use filejobs_testkit::wait::{self, DEADLINE};

use crate::topology::Topology;

run_on! {[dev, processes] [a_cancelled_job_of_ten_million_rows_leaves_no_child_and_no_file]}

/// How long it may take until nothing of the job runs any more: two seconds, and more on a machine that is busy with
/// other tests, but less than the lease, whose end would stop it as well.
const GONE: Duration = Duration::from_secs(20);

fn big_file(path: &Path) {
    let sample = Sample {
        rows: 10_000_000,
        bad: 1.0,
        ..Sample::default()
    };
    sample.write(std::fs::File::create(path).unwrap()).unwrap();
}

async fn a_cancelled_job_of_ten_million_rows_leaves_no_child_and_no_file(on: Topology) {
    let service = on.alone().start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.csv");
    big_file(&file);
    let submitted = service.client_command(&["submit"]).arg(&file).output();
    let submitted = submitted.unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    let id = String::from_utf8(submitted.stdout)
        .unwrap()
        .trim()
        .to_owned();
    service
        .job_when(&id, "the job to be under way", |job| {
            job["rows_processed"].as_u64() > Some(0)
        })
        .await
        .unwrap();
    assert!(!service.engines().is_empty());

    let asked = Instant::now();
    let answer = service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await
        .unwrap();
    answer.assert_status(200);
    assert_eq!(answer.json()["status"], "CANCELLED");
    wait::until("child and files to go", DEADLINE, async || {
        Ok((service.engines().is_empty() && service.scratch().is_empty()).then_some(()))
    })
    .await
    .unwrap();
    let took = asked.elapsed();
    eprintln!("child and files were gone after {took:?}");
    assert!(took <= GONE, "it took {took:?}");

    let again = service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await
        .unwrap();
    again.assert_status(200);
    assert_eq!(service.job(&id).await.unwrap()["outcome"], "cancelled");
    service.healthy().await.unwrap();
}
