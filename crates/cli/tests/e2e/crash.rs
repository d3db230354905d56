//! The service killed with -9, again and again, in the middle of its work.

use std::collections::HashSet;
use std::time::Duration;

use filejobs_testkit::disk::files_below;
use filejobs_testkit::service::Service;
use filejobs_testkit::wait::{self, DEADLINE};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::{sample_upload, service};

/// Kills.
const KILLS: usize = 50;
/// Rows of each file: enough for several pieces.
const ROWS: u64 = 300_000;
/// The same moments on every run; another number gives others.
const SEED: u64 = 20_260_722;

#[tokio::test]
async fn fifty_kills_at_random_moments_lose_no_row_and_repeat_none() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut service = service().arg("--split-mb").arg(1).start().await.unwrap();
    let (sample, upload) = sample_upload(ROWS, 2.0);
    let mut jobs: Vec<String> = Vec::new();
    for kill in 0..KILLS {
        let busy = match jobs.last() {
            Some(id) => !has_ended(&service, id).await,
            None => false,
        };
        if !busy {
            let upload = upload.clone().key(&format!("file-{kill}"));
            jobs.push(service.submit(&upload).await.unwrap());
        }
        // The moment is the test: anywhere from the upload's answer to the last commit.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        service.kill().unwrap();
        service.start().await.unwrap();
    }
    for id in &jobs {
        let job = service.finished(id).await.unwrap();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        assert_eq!(job["rows_processed"], ROWS, "{job}");
        assert_eq!(job["rows_failed"], sample.bad_rows(), "{job}");
        assert_eq!(job["generation"], 0, "{job}");
        no_row_twice(&service, id, sample.bad_rows()).await;
    }
    let all = service.get("/api/jobs").await.unwrap().json();
    assert_eq!(all["total"], jobs.len());
    // A worker tidies up after its commit.
    wait::until("engines and scratch files to go", DEADLINE, async || {
        let scratch = files_below(&service.data().join("scratch"));
        let staged = files_below(&service.data().join("files/staging"));
        // But for the lock of the living worker.
        let tidy = service.children().is_empty() && scratch.len() == 1 && staged.is_empty();
        Ok(tidy.then_some(()))
    })
    .await
    .unwrap();
}

async fn has_ended(service: &Service, id: &str) -> bool {
    service.job(id).await.unwrap()["completed_at"].is_string()
}

async fn no_row_twice(service: &Service, id: &str, bad: u64) {
    let results = service
        .get_as(&format!("/api/jobs/{id}/results"), "text/csv")
        .await
        .unwrap();
    let text = results.text();
    let ids: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(ids.len() as u64, ROWS - bad);
    assert_eq!(
        ids.iter().collect::<HashSet<_>>().len(),
        ids.len(),
        "a valid row is there twice"
    );
    let errors = service
        .get_as(&format!("/api/jobs/{id}/errors"), "text/csv")
        .await
        .unwrap();
    assert_eq!(errors.text().lines().count() as u64, bad + 1);
    let rejected = service
        .get(&format!("/api/jobs/{id}/rejected.csv"))
        .await
        .unwrap();
    let text = rejected.text();
    let rows: HashSet<&str> = text.lines().skip(1).collect();
    assert_eq!(
        rows.len() as u64,
        bad,
        "a rejected row is missing or there twice"
    );
}
