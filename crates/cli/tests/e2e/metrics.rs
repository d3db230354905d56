//! `/metrics` of every process.

use std::time::{Duration, SystemTime};

use filejobs_core::Sources;
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::figures::Figures;
use filejobs_testkit::http::{self, Upload};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::processes;
use filejobs_testkit::wait::{self, DEADLINE};
use reqwest::Method;

use crate::{BINARY, SMALL, sample_upload, service, small_upload};

/// Waits until a process' figures are as wanted; what is recorded follows what is answered.
async fn until(
    cluster: &Cluster,
    member: &Member,
    what: &str,
    wanted: impl Fn(&Figures) -> bool,
) -> Figures {
    let mut last = Figures::default();
    let seen = wait::until(what, DEADLINE, async || {
        last = cluster.figures(member).await?;
        Ok(wanted(&last).then_some(()))
    });
    let seen = seen.await;
    assert!(seen.is_ok(), "{seen:?}: {last:?}");
    last
}

async fn submit(cluster: &Cluster, api: &Member, key: &str, upload: &Upload) -> String {
    let request = upload.request(&cluster.client, api.url());
    let answer = http::answer(request.header("x-api-key", key)).await;
    http::job_id(&answer.unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_is_counted_by_every_process_that_it_passes() {
    let cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let api = cluster.spawn(&["api"]).await.unwrap();
    let scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let mut worker = cluster.spawn(&["worker"]).await.unwrap();
    let key = cluster.admin_key().unwrap();
    let id = submit(&cluster, &api, &key, &small_upload()).await;
    cluster.finished(&api, &key, &id).await.unwrap();

    let of_worker = until(&cluster, &worker, "the attempt to be counted", |figures| {
        figures.sum("filejobs_attempts_total") > 0.0
    })
    .await;
    for (name, labels, wanted) in [
        (
            "filejobs_attempts_total",
            &[("kind", "whole"), ("result", "done")][..],
            1.0,
        ),
        ("filejobs_rows_total", &[("result", "valid")], 2.0),
        ("filejobs_rows_total", &[("result", "failed")], 1.0),
        ("filejobs_row_errors_total", &[("code", "type-error")], 1.0),
        ("filejobs_read_bytes_total", &[], SMALL.len() as f64),
        ("filejobs_engine_ends_total", &[("reason", "result")], 1.0),
        ("filejobs_engine_ends_total", &[("reason", "crash")], 0.0),
        ("filejobs_job_wait_seconds_count", &[], 1.0),
        (
            "filejobs_attempt_duration_seconds_count",
            &[("kind", "whole")],
            1.0,
        ),
        (
            "filejobs_jobs_finished_total",
            &[("outcome", "completed_with_errors"), ("failure_class", "")],
            1.0,
        ),
        (
            "filejobs_job_processing_seconds_count",
            &[("outcome", "completed_with_errors")],
            1.0,
        ),
        ("filejobs_backend_up", &[("backend", "redis")], 1.0),
        ("filejobs_db_connections_max", &[], 10.0),
    ] {
        assert_eq!(
            of_worker.value(name, labels),
            Some(wanted),
            "{name} {labels:?}"
        );
    }
    assert!((of_worker.sum("filejobs_build_info") - 1.0).abs() < f64::EPSILON);
    assert!(of_worker.sum("process_resident_memory_bytes") > 1e6);

    let of_api = cluster.figures(&api).await.unwrap();
    for (name, labels, wanted) in [
        ("filejobs_jobs_created_total", &[("type", "csv")][..], 1.0),
        ("filejobs_uploaded_bytes_total", &[], SMALL.len() as f64),
        (
            "filejobs_http_request_duration_seconds_count",
            &[
                ("method", "POST"),
                ("route", "/api/files/upload"),
                ("status", "2xx"),
            ],
            1.0,
        ),
        (
            "filejobs_http_problems_total",
            &[("code", "storage_full")],
            0.0,
        ),
    ] {
        assert_eq!(
            of_api.value(name, labels),
            Some(wanted),
            "{name} {labels:?}"
        );
    }
    // What the whole service has is told by who leads it.
    assert!(of_api.names().all(|name| name != "filejobs_jobs"));

    let of_scheduler = until(&cluster, &scheduler, "the job to have ended", |figures| {
        figures.value("filejobs_jobs", &[("status", "COMPLETED")]) == Some(1.0)
    })
    .await;
    for (name, labels, wanted) in [
        ("filejobs_scheduler_leads", &[][..], 1.0),
        ("filejobs_tickets_published_total", &[], 1.0),
        ("filejobs_workers", &[], 1.0),
        ("filejobs_dead_letters", &[], 0.0),
        ("filejobs_queue_oldest_age_seconds", &[], 0.0),
        ("filejobs_queue_tasks", &[("state", "running")], 0.0),
    ] {
        assert_eq!(
            of_scheduler.value(name, labels),
            Some(wanted),
            "{name} {labels:?}"
        );
    }

    worker.terminate().await.unwrap();
    a_cancel_counts_once(&cluster, &api, &scheduler, &key).await;
}

/// With nobody to take it a job waits, and can be cancelled: once, however often that is asked for.
async fn a_cancel_counts_once(cluster: &Cluster, api: &Member, scheduler: &Member, key: &str) {
    let id = submit(cluster, api, key, &small_upload()).await;
    until(cluster, scheduler, "a task to wait", |figures| {
        figures.sum("filejobs_queue_tasks") > 0.0 && figures.sum("filejobs_workers") == 0.0
    })
    .await;
    for _ in 0..2 {
        let url = format!("{}/api/jobs/{id}/cancel", api.url());
        let answer = http::answer(cluster.client.post(url).header("x-api-key", key)).await;
        answer.unwrap().assert_status(200);
    }
    let of_api = cluster.figures(api).await.unwrap();
    let cancelled = [("outcome", "cancelled"), ("failure_class", "")];
    assert_eq!(
        of_api.value("filejobs_jobs_finished_total", &cancelled),
        Some(1.0)
    );
    // It was never begun.
    let begun = [("outcome", "cancelled")];
    assert_eq!(
        of_api.value("filejobs_job_processing_seconds_count", &begun),
        None
    );
}

/// Puts a file that belongs to no job where uploads lie, older than such files are kept.
fn leave_an_orphan(cluster: &Cluster) {
    let folder = cluster.files().join("uploads");
    let name = "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b_orphan.csv";
    let file = std::fs::File::create(folder.join(name)).unwrap();
    let long_ago = SystemTime::from(Sources::system().now() - Duration::from_hours(2));
    file.set_modified(long_ago).unwrap();
}

#[tokio::test]
async fn what_goes_wrong_is_counted_by_the_process_that_notices() {
    let mut cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    for (name, value) in [
        ("FILEJOBS_LEASE", "10s"),
        ("FILEJOBS_WEBHOOK_ALLOW", "127.0.0.1/32"),
    ] {
        let setting = (name.to_owned(), value.to_owned());
        cluster.environment.push(setting);
    }
    let api = cluster.spawn(&["api"]).await.unwrap();
    let mut scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let mut worker = cluster.spawn(&["worker"]).await.unwrap();
    let key = cluster.admin_key().unwrap();

    // A file that cannot be read, and a receiver that nobody is.
    let unusable = Upload::new("empty.csv", "").field("webhook_url", "http://127.0.0.1:1/");
    let failed = submit(&cluster, &api, &key, &unusable).await;
    let job = cluster.finished(&api, &key, &failed).await.unwrap();
    assert_eq!(job["status"], "FAILED", "{job}");
    until(&cluster, &worker, "the failure to be counted", |figures| {
        let failed = [("kind", "whole"), ("result", "failed")];
        let code = [("code", "EMPTY_FILE")];
        figures.value("filejobs_attempts_total", &failed) == Some(1.0)
            && figures.value("filejobs_attempt_failures_total", &code) == Some(1.0)
    })
    .await;
    let given_up = "the webhook to be given up";
    until(&cluster, &scheduler, given_up, |figures| {
        let attempts = |result| {
            let result = [("result", result)];
            figures.value("filejobs_webhook_attempts_total", &result)
        };
        attempts("retried").is_some_and(|n| n >= 1.0) && attempts("abandoned") == Some(1.0)
    })
    .await;

    // A worker that dies with a task; then nobody takes it.
    let (_, upload) = sample_upload(2_000_000, 0.0);
    submit(&cluster, &api, &key, &upload).await;
    processes::hold_engine(worker.pid()).await.unwrap();
    worker.kill().unwrap();
    let lost = "the task to be lost and published for another attempt";
    until(&cluster, &scheduler, lost, |figures| {
        let lost = figures.value("filejobs_leases_lost_total", &[("follows", "attempt")]);
        let published = figures.value("filejobs_queue_tasks", &[("state", "published")]);
        lost.is_some_and(|n| n >= 1.0) && published == Some(1.0)
    })
    .await;

    // Redis forgets its ticket, and is away.
    cluster.redis.flush().unwrap();
    let again = "its ticket to be published again";
    until(&cluster, &scheduler, again, |figures| {
        figures.sum("filejobs_tickets_republished_total") > 0.0
    })
    .await;
    cluster.redis.kill().unwrap();
    until(&cluster, &scheduler, "Redis to be missed", |figures| {
        let redis = [("backend", "redis")];
        let failed = figures.value("filejobs_scheduler_failures_total", &redis);
        failed.is_some_and(|n| n > 0.0)
    })
    .await;
    cluster.redis.restart().unwrap();

    // What has had its time, and what belongs to nobody.
    leave_an_orphan(&cluster);
    scheduler.terminate().await.unwrap();
    for (name, value) in [("FILEJOBS_KEEP", "1s"), ("FILEJOBS_KEEP_ORPHANS", "1h")] {
        let setting = (name.to_owned(), value.to_owned());
        cluster.environment.push(setting);
    }
    let scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    until(&cluster, &scheduler, "both to be removed", |figures| {
        figures.value("filejobs_jobs_expired_total", &[]) == Some(1.0)
            && figures.value("filejobs_orphan_blobs_removed_total", &[]) == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_scheduler_that_stands_by_says_so_and_leaves_the_service_to_the_leader() {
    let cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let mut leader = cluster.spawn(&["scheduler"]).await.unwrap();
    until(&cluster, &leader, "the first to lead", |figures| {
        figures.value("filejobs_scheduler_leads", &[]) == Some(1.0)
    })
    .await;
    let other = cluster.spawn(&["scheduler"]).await.unwrap();
    let figures = cluster.figures(&other).await.unwrap();
    assert_eq!(figures.value("filejobs_scheduler_leads", &[]), Some(0.0));
    assert!(figures.names().all(|name| name != "filejobs_queue_tasks"));
    leader.terminate().await.unwrap();
    until(&cluster, &other, "the other to lead", |figures| {
        figures.value("filejobs_scheduler_leads", &[]) == Some(1.0)
            && figures.names().any(|name| name == "filejobs_queue_tasks")
    })
    .await;
}

#[tokio::test]
async fn nothing_that_callers_make_up_becomes_a_series() {
    let service = service()
        .arg("--ops-listen=127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let figures = async || {
        let url = format!("{}/metrics", service.ops());
        let answer = http::answer(service.client.get(url)).await.unwrap();
        answer.assert_status(200);
        assert_eq!(
            answer.header("content-type"),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        Figures::read(&answer.text()).unwrap()
    };
    let ask = async |number: usize| {
        for method in ["GET", "POST", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for path in [
                format!("/api/jobs/{number}"),
                format!("/nowhere/{number}?a={number}"),
                format!("/api/jobs?status={number}"),
                format!("/assets/%22%5c{number}"),
            ] {
                let url = format!("{}{path}", service.url());
                let request = service.client.request(method.clone(), url);
                let request = request.header("x-request-id", number.to_string());
                http::answer(request).await.unwrap();
            }
        }
    };
    // What the database does not tell in two seconds is left out, which is no series more or less.
    let whole = async || {
        wait::until("all figures to be told", DEADLINE, async || {
            let told = figures().await;
            let is_whole = told.names().any(|name| name == "filejobs_queue_tasks");
            Ok(is_whole.then_some(told))
        })
        .await
        .unwrap()
    };
    ask(0).await;
    let before = whole().await;
    for number in 1..40 {
        ask(number).await;
    }
    let after = whole().await;
    assert_eq!(after.series(), before.series());
    let calls = "filejobs_http_request_duration_seconds_count";
    assert!(after.sum(calls) >= before.sum(calls) + 39.0 * 12.0);
    let made_up = [("method", "other"), ("route", "other"), ("status", "4xx")];
    assert!(after.value(calls, &made_up).is_some_and(|n| n >= 40.0));
    // All parts of the service are in the one process.
    for name in [
        "filejobs_scheduler_leads",
        "filejobs_worker_slots",
        "filejobs_queue_tasks",
    ] {
        assert!(after.names().any(|found| found == name), "{name}");
    }
}

#[tokio::test]
async fn every_metric_has_its_kind_and_help_from_the_table() {
    let service = service()
        .arg("--ops-listen=127.0.0.1:0")
        .start()
        .await
        .unwrap();
    service.run(&small_upload()).await.unwrap();
    let url = format!("{}/metrics", service.ops());
    let page = http::answer(service.client.get(url)).await.unwrap().text();
    let figures = Figures::read(&page).unwrap();
    let ours = figures.names().filter(|name| name.starts_with("filejobs_"));
    for name in ours {
        let metric = filejobs_metrics::table::ALL.iter().find(|m| m.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert!(
            page.contains(&format!("# HELP {name} {}\n", metric.help)),
            "{name}"
        );
        assert!(
            page.contains(&format!("# TYPE {name} {}\n", metric.kind.as_str())),
            "{name}"
        );
    }
}
