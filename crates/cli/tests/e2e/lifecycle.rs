//! How the service starts, stops and stays alone.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use filejobs_testkit::events::{Event, read_until};
use filejobs_testkit::processes;
use filejobs_testkit::service::Service;
use filejobs_testkit::wait::{self, DEADLINE};

use crate::{BINARY, sample_upload, service, small_upload};

#[tokio::test]
async fn sigterm_in_the_middle_of_a_job_loses_nothing() {
    let mut service = service().arg("--split-mb").arg(1).start().await.unwrap();
    let (sample, upload) = sample_upload(600_000, 2.0);
    let id = service.submit(&upload).await.unwrap();
    service
        .job_when(&id, "the job to begin", |job| job["status"] == "PROCESSING")
        .await
        .unwrap();
    let engines = service.children();
    let (status, _) = service.terminate().await.unwrap();
    assert!(status.success(), "{status}: {}", service.log());
    assert!(engines.iter().all(|pid| !processes::is_alive(*pid)));
    service.start().await.unwrap();
    let job = service.finished(&id).await.unwrap();
    assert_eq!(
        (job["rows_processed"].as_u64(), job["rows_failed"].as_u64()),
        (Some(600_000), Some(sample.bad_rows()))
    );
    assert_eq!(job["attempt"], 1, "a stop spends no attempt: {job}");
}

#[tokio::test]
async fn an_idle_service_ends_at_once() {
    let mut service = service().start().await.unwrap();
    service.run(&small_upload()).await.unwrap();
    let (status, _) = service.terminate().await.unwrap();
    assert!(status.success());
    // Nothing was left to be given up.
    let log = service.log();
    for given_up in ["did not stop in time", "did not end in time"] {
        assert!(!log.contains(given_up), "{log}");
    }
}

#[tokio::test]
async fn the_service_ends_with_the_program_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(BINARY)
        .args([
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--until-stdin-closes",
            "--data-dir",
        ])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let status = wait::until("the service to end", DEADLINE, async || {
        Ok(child.try_wait()?)
    })
    .await
    .unwrap();
    assert!(status.success(), "{status}");
}

/// As after `filejobs dev 2>&1 | head`, or when what takes the logs has died.
#[tokio::test]
async fn a_service_whose_output_nobody_reads_any_more_works_and_ends_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(BINARY)
        .args(["dev", "--log", "info", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let said = said.lines().map(Result::unwrap);
    let said: Vec<String> = said
        .take_while(|line| !line.starts_with("Serving"))
        .collect();
    drop(child.stderr.take());
    let home = said[0].rsplit(' ').next().unwrap();
    let submitted = Command::new(BINARY)
        .args(["submit", "examples/orders.csv", "--wait", "--server", home])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&submitted.stdout);
    assert!(told.contains("COMPLETED"), "{submitted:?}");

    processes::signal(child.id(), "TERM").unwrap();

    let status = wait::until("the service to end", DEADLINE, async || {
        Ok(child.try_wait()?)
    });
    let status = status.await;
    let _ = child.kill();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_data_folder_has_one_service() {
    let service = service().start().await.unwrap();
    let second = Command::new(BINARY)
        .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(service.data())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(3));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(
        told.contains(service.url()) && told.contains("--data-dir"),
        "{told}"
    );
    service.healthy().await.unwrap();
}

#[test]
fn every_unusable_setting_is_told_and_no_secret() {
    let told = Command::new(BINARY)
        .args([
            "dev",
            "--webhook-secret",
            "whsec_hush!",
            "--chunk-size",
            "0",
            "nowhere.csv",
        ])
        .env_clear()
        .env("MAX_CONCURRENCY", "0")
        .env("MAX_UPLOAD_MB", "0")
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(2));
    let text = String::from_utf8(told.stderr).unwrap();
    for name in [
        "CHUNK_SIZE",
        "MAX_CONCURRENCY",
        "MAX_UPLOAD_MB",
        "nowhere.csv",
        "FILEJOBS_WEBHOOK_SECRET",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}

/// What a job's events say about its states, from the first on.
async fn states(service: &Service, id: &str) -> Vec<Event> {
    let stream = service
        .client
        .get(format!("{}/api/jobs/{id}/events", service.url()));
    let stream = stream.header("last-event-id", "0").send().await.unwrap();
    let mut events = read_until(stream, "finished").await.unwrap();
    events.retain(|event| event.name != "progress");
    events
}

#[tokio::test]
async fn the_events_of_a_job_survive_a_restart() {
    let mut service = service().start().await.unwrap();
    let id = service.submit(&small_upload()).await.unwrap();
    service.finished(&id).await.unwrap();
    let before = states(&service, &id).await;
    service.kill().unwrap();
    service.start().await.unwrap();
    assert_eq!(states(&service, &id).await, before);
}
