//! Backup and restore, in the order and with the programs of docs/operations.md.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use filejobs_core::Sources;
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::disk::files_below;
use filejobs_testkit::http;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;
use tempfile::TempDir;

use crate::{BINARY, sample_upload, small_upload};

/// What can be asked about a job that has ended.
const ASKED: [&str; 5] = ["", "/errors", "/results", "/rejected.csv", "/report"];

/// A service of which a backup was taken, and which went on.
struct Saved {
    cluster: Cluster,
    key: String,
    /// Ended before the backup, with what was told about it then.
    ended: (String, Vec<Vec<u8>>),
    /// Waited for a worker when the backup was taken; has ended since, with these counts.
    waiting: (String, Value),
    /// Handed in, and ended, after the backup.
    later: String,
    backup: TempDir,
}

/// The processes of a service.
struct Processes([Member; 3]);

impl Processes {
    async fn start(cluster: &Cluster) -> Self {
        let mut members = Vec::new();
        for name in ["api", "scheduler", "worker"] {
            members.push(cluster.spawn(&[name]).await.unwrap());
        }
        Self(members.try_into().unwrap())
    }

    fn api(&self) -> &Member {
        &self.0[0]
    }

    fn scheduler(&self) -> &Member {
        &self.0[1]
    }

    async fn stop(mut self) {
        for member in &mut self.0 {
            member.terminate().await.unwrap();
        }
    }
}

impl Saved {
    async fn new() -> Self {
        let server = PostgresServer::shared();
        let cluster = Cluster::start(BINARY, server).unwrap();
        let key = cluster.admin_key().unwrap();
        let mut processes = Processes::start(&cluster).await;
        let (_, large) = sample_upload(2_000, 5.0);
        let ended = submit(&cluster, processes.api(), &key, &large).await;
        cluster
            .finished(processes.api(), &key, &ended)
            .await
            .unwrap();
        processes.0[2].terminate().await.unwrap();
        let waiting = submit(&cluster, processes.api(), &key, &small_upload()).await;
        let told = told(&cluster, processes.api(), &key, &ended).await;

        // The database first: a file that has no job yet is none that a job lacks.
        let backup = tempfile::tempdir().unwrap();
        let database = cluster.database_url.rsplit('/').next().unwrap();
        let dump = backup.path().join("filejobs.dump");
        server.dump(database, &dump).unwrap();
        copy(&cluster.files(), &backup.path().join("files"));

        processes.0[2] = cluster.spawn(&["worker"]).await.unwrap();
        let job = cluster.finished(processes.api(), &key, &waiting).await;
        let counts = counts(&job.unwrap());
        let later = submit(&cluster, processes.api(), &key, &small_upload()).await;
        cluster
            .finished(processes.api(), &key, &later)
            .await
            .unwrap();
        processes.stop().await;
        Self {
            cluster,
            key,
            ended: (ended, told),
            waiting: (waiting, counts),
            later,
            backup,
        }
    }

    /// Puts the database of the backup in the place of the one that was lost.
    fn restore_database(&mut self) {
        let server = PostgresServer::shared();
        let dump = self.backup.path().join("filejobs.dump");
        let database = server.restore(&dump).unwrap();
        self.cluster.database_url = server.url(&database);
        let migrated = self.cluster.run(&["migrate"]).unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
    }

    /// What the backup holds is there, and what waited ends as it did before.
    async fn goes_on(&self, processes: &Processes) {
        let Self { cluster, key, .. } = self;
        let (ended, before) = &self.ended;
        let now = told(cluster, processes.api(), key, ended).await;
        for ((path, before), now) in ASKED.iter().zip(before).zip(&now) {
            assert!(before == now, "{path} tells something else");
        }
        let (waiting, wanted) = &self.waiting;
        let job = cluster.finished(processes.api(), key, waiting).await;
        assert_eq!(counts(&job.unwrap()), *wanted);
        let told = told(cluster, processes.api(), key, waiting).await;
        assert!(String::from_utf8_lossy(&told[2]).contains("Amara"));
        let url = format!("{}/api/jobs/{}", processes.api().url(), self.later);
        let unknown = http::answer(cluster.client.get(url).header("x-api-key", key)).await;
        unknown.unwrap().assert_problem(404);
    }
}

async fn submit(cluster: &Cluster, api: &Member, key: &str, upload: &http::Upload) -> String {
    let request = upload.request(&cluster.client, api.url());
    let answer = http::answer(request.header("x-api-key", key)).await;
    http::job_id(&answer.unwrap()).unwrap()
}

/// All that is told about a job that has ended.
async fn told(cluster: &Cluster, api: &Member, key: &str, id: &str) -> Vec<Vec<u8>> {
    let mut told = Vec::new();
    for path in ASKED {
        let url = format!("{}/api/jobs/{id}{path}", api.url());
        let answer = http::answer(cluster.client.get(url).header("x-api-key", key)).await;
        let answer = answer.unwrap();
        answer.assert_status(200);
        told.push(answer.body);
    }
    told
}

fn counts(job: &Value) -> Value {
    let names = ["status", "outcome", "rows_processed", "rows_failed"];
    names.iter().map(|name| job[name].clone()).collect()
}

/// Copies a folder with the times of its files.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[tokio::test]
async fn a_service_restored_from_its_backup_has_what_it_had_and_goes_on() {
    let mut saved = Saved::new().await;
    saved.restore_database();
    let files = saved.backup.path().join("restored");
    copy(&saved.backup.path().join("files"), &files);
    let place = ("UPLOAD_DIR".to_owned(), files.display().to_string());
    saved.cluster.environment.push(place);
    saved.cluster.redis.flush().unwrap();
    let processes = Processes::start(&saved.cluster).await;
    saved.goes_on(&processes).await;
    let again = submit(&saved.cluster, processes.api(), &saved.key, &small_upload()).await;
    let done = saved.cluster.finished(processes.api(), &saved.key, &again);
    assert_eq!(done.await.unwrap()["status"], "COMPLETED");
}

#[tokio::test]
async fn an_older_database_over_newer_files_removes_none_of_them() {
    let mut saved = Saved::new().await;
    saved.restore_database();
    let files = saved.cluster.files();
    let of_later = || -> Vec<PathBuf> {
        let mut found = files_below(&files);
        found.retain(|path| path.display().to_string().contains(&saved.later));
        found
    };
    let before = of_later();
    assert!(before.len() > 1, "its file and its results: {before:?}");
    // The restore took its time. What was left of an upload shows that a sweep has ended.
    std::fs::write(files.join("staging/broken-off"), "id,na").unwrap();
    for file in files_below(&files) {
        let yesterday = SystemTime::from(Sources::system().now() - Duration::from_hours(24));
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(yesterday).unwrap();
    }
    let processes = Processes::start(&saved.cluster).await;
    saved.goes_on(&processes).await;
    wait::until("a sweep to end", DEADLINE, async || {
        let log = processes.scheduler().log();
        Ok(log.contains("abandoned blobs are removed").then_some(()))
    })
    .await
    .unwrap();
    assert!(!files.join("staging/broken-off").exists());
    assert_eq!(of_later(), before);
}
