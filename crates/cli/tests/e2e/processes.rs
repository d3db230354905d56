//! The service as many processes, on Postgres and Redis.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::http::{self, Upload};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::processes;
use filejobs_testkit::s3::{self, S3Server};
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;

use crate::{BINARY, sample_upload, small_upload};

fn cluster() -> Cluster {
    Cluster::start(BINARY, PostgresServer::shared()).unwrap()
}

async fn submit(cluster: &Cluster, api: &Member, key: &str, upload: &Upload) -> String {
    let request = upload.request(&cluster.client, api.url());
    let answer = http::answer(request.header("x-api-key", key)).await;
    http::job_id(&answer.unwrap()).unwrap()
}

/// Waits until what a process says at `/readyz` is as wanted.
async fn readiness(
    cluster: &Cluster,
    member: &Member,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> u16 {
    let seen = wait::until(what, DEADLINE, async || {
        let answer = cluster.readiness(member).await;
        Ok(answer
            .filter(|answer| wanted(&answer.json()))
            .map(|answer| answer.status))
    });
    seen.await.unwrap()
}

#[tokio::test]
async fn a_file_goes_its_way_through_many_processes() {
    goes_its_way(cluster()).await;
}

#[tokio::test]
async fn a_file_goes_its_way_through_a_storage_that_speaks_s3() {
    let mut cluster = cluster();
    let storage = S3Server::shared();
    let bucket = storage.bucket().unwrap();
    for (name, value) in [
        ("FILEJOBS_S3_BUCKET", bucket.as_str()),
        ("FILEJOBS_S3_ENDPOINT", &storage.endpoint()),
        ("AWS_ACCESS_KEY_ID", s3::KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", s3::SECRET),
    ] {
        cluster
            .environment
            .push((name.to_owned(), value.to_owned()));
    }
    goes_its_way(cluster).await;
    assert!(storage.folder(&bucket).join("uploads").is_dir());
}

#[tokio::test]
async fn the_place_of_a_volume_that_is_not_mounted_is_not_taken_for_the_storage() {
    let cluster = cluster();
    let key = cluster.admin_key().unwrap();
    let mut api = cluster.spawn(&["api"]).await.unwrap();
    let id = submit(&cluster, &api, &key, &small_upload()).await;
    api.terminate().await.unwrap();
    let (files, volume) = (cluster.files(), cluster.files().with_extension("away"));
    std::fs::rename(&files, &volume).unwrap();
    std::fs::create_dir(&files).unwrap();
    for process in ["api", "worker", "scheduler"] {
        let mut member = cluster.launch(cluster.command(&[process])).unwrap();
        let (status, _) = member.ended().await.unwrap();
        assert!(!status.success(), "{process}");
        let log = member.log();
        assert!(log.contains("is the volume mounted"), "{process}: {log}");
    }
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 0);
    drop(cluster.spawn(&["api", "--new-folder"]).await.unwrap());
    std::fs::remove_dir_all(&files).unwrap();
    std::fs::rename(&volume, &files).unwrap();
    let api = cluster.spawn(&["api"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    let job = cluster.finished(&api, &key, &id).await.unwrap();
    assert_eq!(job["status"], "COMPLETED");
}

async fn goes_its_way(cluster: Cluster) {
    let apis = [cluster.spawn(&["api"]).await, cluster.spawn(&["api"]).await];
    let apis = apis.map(Result::unwrap);
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    let key = cluster.admin_key().unwrap();
    let id = submit(&cluster, &apis[0], &key, &small_upload()).await;
    // Handed in at one, asked for at the other.
    let job = cluster.finished(&apis[1], &key, &id).await.unwrap();
    assert_eq!(job["status"], "COMPLETED", "{job}");
    assert_eq!(
        (&job["rows_processed"], &job["rows_failed"]),
        (&3.into(), &1.into())
    );
    let url = format!("{}/api/health", apis[0].url());
    let wanted =
        serde_json::json!({"status": "healthy", "db": "up", "redis": "up", "storage": "up"});
    let healthy = wait::until("all parts to be healthy", DEADLINE, async || {
        let health = http::answer(cluster.client.get(&url)).await?;
        Ok((health.json() == wanted).then_some(()))
    });
    healthy.await.unwrap();
    let url = format!("{}/api/workers", apis[0].url());
    let workers = cluster.client.get(url).header("x-api-key", &key);
    let workers = http::answer(workers).await.unwrap().json();
    assert_eq!(
        workers["workers"].as_array().map(Vec::len),
        Some(1),
        "{workers}"
    );
}

/// A command that starts with few files that it may have open.
fn with_few_files(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let set = command.get_envs();
    let set = set.filter_map(|(name, value)| Some((name, value?)));
    shell
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(set);
    shell
}

#[tokio::test]
async fn every_process_may_have_as_many_files_open_as_the_system_allows() {
    let cluster = cluster();
    for part in ["api", "worker", "scheduler"] {
        let command = with_few_files(&cluster.command(&[part]));
        let mut member = cluster.launch(command).unwrap();
        member.until_ready().await.unwrap();
        let (soft, hard) = processes::open_files_limits(member.pid()).unwrap();
        assert!(hard > 256, "this machine allows {hard}");
        assert_eq!(soft, hard, "{part}");
        let told = format!("now={hard}");
        assert!(member.log().contains(&told), "{}", member.log());
    }
    let service = crate::service().in_namespace("ulimit -Sn 256");
    let service = service.start().await.unwrap();
    let (soft, hard) = processes::open_files_limits(service.pid()).unwrap();
    assert_eq!(soft, hard, "dev");
}

#[tokio::test]
async fn a_killed_scheduler_is_followed_within_fifteen_seconds_and_a_stopped_one_at_once() {
    let cluster = cluster();
    let mut first = cluster.spawn(&["scheduler"]).await.unwrap();
    readiness(&cluster, &first, "the first to lead", |said| {
        said["leads"] == true
    })
    .await;
    let mut second = cluster.spawn(&["scheduler"]).await.unwrap();
    let third = cluster.spawn(&["scheduler"]).await.unwrap();
    for waiting in [&second, &third] {
        let stands_by = |said: &Value| said["state"] == "ready" && said["leads"] == false;
        readiness(&cluster, waiting, "the others to stand by", stands_by).await;
    }
    first.kill().unwrap();
    let killed = Instant::now();
    let mut slowest = Duration::ZERO;
    let leads = async |member: &Member| {
        let said = cluster.readiness(member).await;
        said.is_some_and(|said| said.json()["leads"] == true)
    };
    let second_leads = wait::until("another to lead", DEADLINE, async || {
        let asked = Instant::now();
        let (one, other) = (leads(&second).await, leads(&third).await);
        slowest = slowest.max(asked.elapsed());
        assert!(!(one && other), "two lead");
        Ok((one || other).then_some(one))
    });
    let second_leads = second_leads.await.unwrap();
    let took = killed.elapsed();
    // A machine that is busy with other tests is as slow to the scheduler as it is to us.
    let limit = Duration::from_secs(15) + 3 * slowest;
    assert!(took < limit, "{took:?}, {limit:?}");
    let (mut leader, next) = if second_leads {
        (second, third)
    } else {
        std::mem::swap(&mut first, &mut second);
        (third, first)
    };
    let (status, _) = leader.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let log = leader.log();
    assert!(!log.contains("when the term of this one is over"), "{log}");
    readiness(&cluster, &next, "the last to lead", |said| {
        said["leads"] == true
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_gives_its_task_back_without_spending_an_attempt() {
    let cluster = cluster();
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let mut worker = cluster
        .spawn(&["worker", "--grace", "100ms"])
        .await
        .unwrap();
    let (_, upload) = sample_upload(3_000_000, 0.01);
    let id = submit(&cluster, &api, "none", &upload).await;
    let begun = wait::until("the task to run", DEADLINE, async || {
        let job = cluster.job(&api, "none", &id).await?;
        Ok((job["status"] == "PROCESSING").then_some(()))
    });
    begun.await.unwrap();
    let (status, took) = worker.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let waiting = cluster.job(&api, "none", &id).await.unwrap();
    assert_ne!(waiting["status"], "FAILED");
    // Its attempts were one: had the first been spent, there would be none left.
    let _next = cluster
        .spawn(&["worker", "--max-retries", "0"])
        .await
        .unwrap();
    let job = cluster.finished(&api, "none", &id).await.unwrap();
    assert_eq!(job["status"], "COMPLETED", "{job}");
    assert_eq!(job["rows_processed"], 3_000_000);
}

#[tokio::test]
async fn a_second_signal_ends_a_process_at_once() {
    let cluster = cluster();
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let mut worker = cluster.spawn(&["worker", "--grace", "10m"]).await.unwrap();
    let (_, upload) = sample_upload(3_000_000, 0.01);
    submit(&cluster, &api, "none", &upload).await;
    processes::hold_engine(worker.pid()).await.unwrap();
    worker.signal("TERM").unwrap();
    readiness(&cluster, &worker, "it to stop", |said| {
        said["state"] == "stopping"
    })
    .await;
    worker.signal("TERM").unwrap();
    // Long before its ten minutes are over.
    let (status, _) = worker.ended().await.unwrap();
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn a_process_waits_for_its_servers_and_says_which_does_not_come() {
    let mut cluster = Cluster::empty(BINARY, PostgresServer::shared()).unwrap();
    // Nobody has migrated yet.
    let mut early = cluster.launch(cluster.command(&["api"])).unwrap();
    let waits = wait::until("it to say so", DEADLINE, async || {
        Ok(early
            .log()
            .contains("waiting for the database")
            .then_some(()))
    });
    waits.await.unwrap();
    assert!(cluster.run(&["migrate"]).unwrap().status.success());
    early.until_ready().await.unwrap();
    let again = cluster.run(&["migrate"]).unwrap();
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("up to date"),
        "{again:?}"
    );

    let refused = |cluster: &Cluster, name: &str, within: &str| {
        let output = cluster.run(&["worker", "--start-timeout", within]);
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains(name) && told.contains("FILEJOBS_START_TIMEOUT"),
            "{told}"
        );
        assert!(!told.contains("hush"), "{told}");
    };
    let database = std::mem::replace(
        &mut cluster.database_url,
        "postgres://filejobs:hush@127.0.0.1:1/none".to_owned(),
    );
    refused(&cluster, "the database", "1s");
    cluster.database_url = database;
    cluster.redis_url = "redis://:hush@127.0.0.1:1".to_owned();
    // The database answers within that.
    refused(&cluster, "Redis", "10s");
    // Files are handed in all the same.
    let api = cluster.spawn(&["api"]).await.unwrap();
    assert!(
        api.log().contains("going on without Redis"),
        "{}",
        api.log()
    );
}

/// Waits until so many rows are there.
async fn rows(database: &str, from: &str, count: usize) {
    let counted = format!("SELECT count(*) FROM {from}");
    let there = wait::until(from, DEADLINE, async || {
        let found = PostgresServer::shared().run(database, &counted)?;
        Ok((found == count.to_string()).then_some(()))
    });
    there.await.unwrap();
}

/// How a process ended, and what it said.
async fn output(mut child: Child) -> Output {
    let ended = wait::until("it to end", DEADLINE, async || Ok(child.try_wait()?));
    ended.await.unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn a_migration_takes_as_long_as_it_needs_and_is_not_done_when_it_is_stopped() {
    const LOCKS: &str = "pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    const LONG: &str = "pg_stat_activity WHERE datname = current_database()
        AND application_name = 'filejobs' AND now() - backend_start > interval '12 seconds'";
    let cluster = Cluster::empty(BINARY, PostgresServer::shared()).unwrap();
    let database = cluster.database_url.rsplit('/').next().unwrap().to_owned();
    // Another one migrates: it holds their lock.
    let hold = format!(
        "SELECT pg_advisory_lock({}), pg_sleep(300)",
        0x6669_6c65_6a6f_6273_i64
    );
    let other = std::thread::spawn({
        let database = database.clone();
        move || PostgresServer::shared().run(&database, &hold)
    });
    rows(&database, LOCKS, 1).await;

    let [stopped, waiting] = [(); 2].map(|()| {
        let mut migrate = cluster.command(&["migrate", "--start-timeout", "10s"]);
        let migrate = migrate.stdout(Stdio::piped()).stderr(Stdio::piped());
        migrate.spawn().unwrap()
    });
    rows(&database, LONG, 2).await;
    processes::signal(stopped.id(), "TERM").unwrap();
    let stopped = output(stopped).await;
    assert_eq!(stopped.status.code(), Some(3), "{stopped:?}");
    let told = String::from_utf8_lossy(&stopped.stderr);
    assert!(told.contains("stopped before"), "{told}");

    let end = format!("SELECT pg_terminate_backend(pid) FROM {LOCKS}");
    PostgresServer::shared().run(&database, &end).unwrap();
    let waiting = output(waiting).await;
    assert!(waiting.status.success(), "{waiting:?}");
    let told = String::from_utf8_lossy(&waiting.stdout);
    assert!(told.contains("up to date"), "{told}");
    assert!(other.join().unwrap().is_err());
}

#[tokio::test]
async fn readiness_follows_what_a_process_needs() {
    let mut cluster = cluster();
    let api = cluster.spawn(&["api"]).await.unwrap();
    let worker = cluster.spawn(&["worker"]).await.unwrap();
    for member in [&api, &worker] {
        let is_ready = |said: &Value| said["state"] == "ready";
        let status = readiness(&cluster, member, "it to be ready", is_ready).await;
        assert_eq!(status, 200);
        let live = cluster.client.get(format!("{}/livez", member.ops()));
        http::answer(live).await.unwrap().assert_status(200);
        let probe = |url: &str| {
            let mut command = Command::new(BINARY);
            command
                .args(["probe", "--url", url])
                .env_clear()
                .output()
                .unwrap()
        };
        let probed = wait::until("a probe to be well answered", DEADLINE, async || {
            let probed = probe(&format!("{}/readyz", member.ops()));
            Ok(probed.status.success().then_some(()))
        });
        probed.await.unwrap();
        assert_eq!(probe("http://127.0.0.1:1/readyz").status.code(), Some(1));
    }
    cluster.redis.kill().unwrap();
    // A worker takes nothing without Redis; files are still handed in.
    let status = readiness(&cluster, &worker, "it to wait", |said| {
        said["state"] == "waiting"
    })
    .await;
    assert_eq!(status, 503);
    let status = readiness(&cluster, &api, "it to see it", |said| {
        said["redis"] == "down"
    })
    .await;
    assert_eq!(status, 200);
    cluster.redis.restart().unwrap();
    readiness(&cluster, &worker, "it to go on", |said| {
        said["state"] == "ready"
    })
    .await;
}

#[test]
fn every_setting_that_cannot_be_used_is_told_at_once_and_no_secret() {
    let told = Command::new(BINARY)
        .args(["scheduler", "--webhook-secret", "whsec_hush!"])
        .env_clear()
        .env("DATABASE_URL", "mysql://me:hush@db/jobs")
        .env("REDIS_URL", "http://:hush@redis")
        .env("MAX_RETRIES", "often")
        .env("BASE_BACKOFF", "1h")
        .env("FILEJOBS_KEEP", "long")
        .env("FILEJOBS_KEEP_ORPHANS", "59m")
        .env("FILEJOBS_WEBHOOK_ALLOW", "not a host!")
        .env("FILEJOBS_OPS_LISTEN", "9090")
        .env("FILEJOBS_GRACE", "")
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(2));
    let text = String::from_utf8(told.stderr).unwrap();
    for name in [
        "DATABASE_URL",
        "REDIS_URL",
        "UPLOAD_DIR",
        "MAX_RETRIES",
        "BASE_BACKOFF",
        "FILEJOBS_KEEP (",
        "FILEJOBS_KEEP_ORPHANS (",
        "FILEJOBS_WEBHOOK_SECRET",
        "FILEJOBS_WEBHOOK_ALLOW",
        "FILEJOBS_OPS_LISTEN",
        "FILEJOBS_GRACE",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}
