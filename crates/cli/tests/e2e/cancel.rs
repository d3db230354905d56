//! A running job that is no longer wanted.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use filejobs_cli::sample::Sample;
use filejobs_testkit::wait::{self, DEADLINE};

use crate::disk::files_below;
use crate::{BINARY, service};

/// How long it may take until nothing of the job runs any more.
const GONE: Duration = Duration::from_secs(2);

fn big_file(path: &Path) {
    let sample = Sample {
        rows: 10_000_000,
        bad: 1.0,
        ..Sample::default()
    };
    sample.write(std::fs::File::create(path).unwrap()).unwrap();
}

#[tokio::test]
async fn a_cancelled_job_of_ten_million_rows_leaves_no_child_and_no_file() {
    let service = service().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.csv");
    big_file(&file);
    let submitted = Command::new(BINARY)
        .args(["submit", "--server", service.url()])
        .arg(&file)
        .output()
        .unwrap();
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
    assert!(!service.children().is_empty());

    let asked = Instant::now();
    let answer = service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await
        .unwrap();
    answer.assert_status(200);
    assert_eq!(answer.json()["status"], "CANCELLED");
    let scratch = service.data().join("scratch");
    wait::until("child and files to go", DEADLINE, async || {
        let left = files_below(&scratch)
            .into_iter()
            .filter(|path| !path.ends_with("lock"));
        Ok((service.children().is_empty() && left.count() == 0).then_some(()))
    })
    .await
    .unwrap();
    let took = asked.elapsed();
    assert!(took <= GONE, "it took {took:?}");

    let again = service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await
        .unwrap();
    again.assert_status(200);
    assert_eq!(service.job(&id).await.unwrap()["outcome"], "cancelled");
    assert_eq!(service.health().await, 200);
}
