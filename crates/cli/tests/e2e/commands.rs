//! The client commands and their exit codes, against the running service.

use std::path::PathBuf;
use std::process::{Command, Output};

use filejobs_testkit::processes;
use filejobs_testkit::service::Service;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::{BINARY, SMALL, sample_upload, service, small_upload};

fn filejobs(service: &Service, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .env("FILEJOBS_URL", service.url())
        .output()
        .unwrap()
}

#[track_caller]
fn text(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

struct Files {
    _folder: tempfile::TempDir,
    clean: PathBuf,
    bad: PathBuf,
    empty: PathBuf,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    Files {
        clean: write("clean.csv", "id,name\n1,a\n2,b\n"),
        bad: write("bad.csv", &SMALL.replace("Bjarne", "")),
        empty: write("empty.csv", ""),
        _folder: folder,
    }
}

#[tokio::test]
async fn the_exit_code_of_a_wait_tells_how_the_job_ended() {
    let service = service().start().await.unwrap();
    let files = files();
    for (file, code) in [(&files.clean, 0), (&files.bad, 1), (&files.empty, 1)] {
        let file = file.to_str().unwrap();
        let shown = text(&filejobs(&service, &["submit", file, "--wait"]), code);
        assert!(shown.contains("status"), "{shown}");
        let id = text(&filejobs(&service, &["submit", file]), 0);
        assert_eq!(id.len(), 36, "{id}");
        text(&filejobs(&service, &["wait", &id]), code);
        text(&filejobs(&service, &["watch", &id]), code);
        let job = filejobs(&service, &["get", &id, "--json"]);
        let job: Value = serde_json::from_str(&text(&job, 0)).unwrap();
        assert_eq!(job["id"], id);
    }
}

#[tokio::test]
async fn a_wait_gives_up_when_told_to_and_sees_a_cancel() {
    let service = service()
        .arg("--max-concurrency")
        .arg(1)
        .start()
        .await
        .unwrap();
    // An engine that stands still keeps the only slot busy, so that no other job ends before it is cancelled.
    let (_, upload) = sample_upload(2_000_000, 0.0);
    service.submit(&upload).await.unwrap();
    processes::hold_engine(service.pid()).await.unwrap();
    let id = service.submit(&small_upload()).await.unwrap();
    text(&filejobs(&service, &["suspend", &id]), 0);
    text(&filejobs(&service, &["wait", &id, "--timeout", "200ms"]), 4);
    text(&filejobs(&service, &["resume", &id]), 0);
    text(&filejobs(&service, &["cancel", &id]), 0);
    text(&filejobs(&service, &["wait", &id]), 5);
    assert!(text(&filejobs(&service, &["retry", &id]), 0).starts_with(&id));
    text(&filejobs(&service, &["cancel", &id]), 0);
    text(&filejobs(&service, &["delete", &id]), 0);
    text(&filejobs(&service, &["get", &id]), 3);
}

#[tokio::test]
async fn rows_can_be_shown_and_fetched() {
    let service = service().start().await.unwrap();
    let files = files();
    let id = text(
        &filejobs(&service, &["submit", files.bad.to_str().unwrap()]),
        0,
    );
    text(&filejobs(&service, &["wait", &id]), 1);
    let list = text(&filejobs(&service, &["list", "--status", "completed"]), 0);
    assert!(list.contains(&id) && list.contains("bad.csv"), "{list}");
    let errors = text(&filejobs(&service, &["errors", &id]), 0);
    assert!(
        errors.contains("constraint-error") && errors.contains("1 finding"),
        "{errors}"
    );
    assert_eq!(
        text(&filejobs(&service, &["errors", &id, "--csv"]), 0)
            .lines()
            .count(),
        2
    );
    assert!(text(&filejobs(&service, &["errors", &id, "--rejected"]), 0).contains("_reasons"));
    let rows = text(&filejobs(&service, &["results", &id]), 0);
    assert!(
        rows.contains("Chen") && rows.contains("valid row"),
        "{rows}"
    );
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("rows.parquet");
    let arguments = [
        "results",
        &id,
        "--format",
        "parquet",
        "--out",
        out.to_str().unwrap(),
    ];
    text(&filejobs(&service, &arguments), 0);
    assert!(std::fs::read(&out).unwrap().starts_with(b"PAR1"));
}

#[tokio::test]
async fn refusals_and_silence_have_exit_codes_of_their_own() {
    let service = service().start().await.unwrap();
    text(&filejobs(&service, &["get", "nonsense"]), 3);
    text(&filejobs(&service, &["submit", "no-such-file.csv"]), 3);
    text(&filejobs(&service, &["submit"]), 2);
    text(&filejobs(&service, &["list", "--status", "finished"]), 2);
    text(&filejobs(&service, &["list", "--server", "ftp://x"]), 2);
    let nobody = ["list", "--server", "http://127.0.0.1:9", "--retries", "0"];
    let output = filejobs(&service, &nobody);
    text(&output, 3);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("out of reach"),
        "{output:?}"
    );
}

#[tokio::test]
async fn an_upload_under_one_key_makes_one_job() {
    let service = service().start().await.unwrap();
    let files = files();
    let arguments = [
        "submit",
        files.clean.to_str().unwrap(),
        "--idempotency-key",
        "k1",
    ];
    let first = text(&filejobs(&service, &arguments), 0);
    assert_eq!(text(&filejobs(&service, &arguments), 0), first);
    assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 1);
}

#[tokio::test]
async fn dev_with_a_file_shows_what_came_of_it() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/orders.csv");
    let service = service().arg(example).start().await.unwrap();
    let shown = filejobs_testkit::wait::until(
        "the summary",
        filejobs_testkit::wait::DEADLINE,
        async || {
            let log = service.log();
            Ok(log.contains("Serving until").then_some(log))
        },
    )
    .await
    .unwrap();
    for part in [
        "orders.csv",
        "rejected",
        "findings",
        "type-error",
        service.url(),
        "/api/docs",
        "/results",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
}

#[test]
fn completions_and_sample_need_no_service() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(BINARY)
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(text(&output, 0).contains("filejobs"));
    }
    let output = Command::new(BINARY)
        .args(["sample", "--rows", "3"])
        .output()
        .unwrap();
    assert_eq!(text(&output, 0).lines().count(), 4);
    let output = Command::new(BINARY)
        .args(["sample", "--bad", "200"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Passes connections on to `to`; the first answer is lost on its way, as on a line that breaks.
async fn losing_the_first_answer(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut lost = false;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&to).await.unwrap();
            if lost {
                tokio::spawn(async move {
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
                continue;
            }
            lost = true;
            let (mut from_client, _to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut answer = [0; 12];
            // The service has answered, so the job is there; then the connection is gone.
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                read = from_server.read_exact(&mut answer) => assert!(read.is_ok()),
            }
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_loads_a_file_once() {
    let service = service().start().await.unwrap();
    let files = files();
    let proxy =
        losing_the_first_answer(service.url().trim_start_matches("http://").to_owned()).await;
    let arguments = ["submit", "--server", &proxy, files.clean.to_str().unwrap()];
    let id = text(&filejobs(&service, &arguments), 0);
    let list = service.get("/api/jobs").await.unwrap().json();
    assert_eq!(
        (list["total"].as_u64(), list["jobs"][0]["id"].as_str()),
        (Some(1), Some(id.as_str())),
        "{list}"
    );
}

/// The exit code of a command whose output and complaints nobody reads.
fn unread(service: &Service, arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .env("FILEJOBS_URL", service.url())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .status();
    status.unwrap().code()
}

#[tokio::test]
async fn a_verdict_needs_no_reader() {
    let service = service().start().await.unwrap();
    let files = files();
    let bad = files.bad.to_str().unwrap();
    assert_eq!(unread(&service, &["submit", bad, "--wait"]), Some(1));
    assert_eq!(unread(&service, &["check", bad]), Some(1));
    assert_eq!(unread(&service, &["list"]), Some(0));
    assert_eq!(unread(&service, &["get", "nonsense"]), Some(3));
    assert_eq!(unread(&service, &["sample", "--rows", "100000"]), Some(0));
}

#[tokio::test]
async fn calls_to_this_machine_go_through_no_proxy() {
    let service = service().start().await.unwrap();
    let mut list = Command::new(BINARY);
    list.args(["list", "--retries", "0"]).env_clear();
    list.env("FILEJOBS_URL", service.url());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        list.env(name, "http://127.0.0.1:9");
    }
    text(&list.output().unwrap(), 0);
}
