//! Uploads that go wrong on their way.

use filejobs_testkit::http::Upload;
use filejobs_testkit::raw::{Raw, UPLOAD_END, chunk};
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::json;

use crate::sample;
use crate::topology::Topology;

run_on! {[dev, processes, s3] [
    an_upload_cut_off_by_its_client_leaves_no_job_and_no_part,
    a_body_is_refused_as_soon_as_it_passes_the_limit,
    hostile_file_names_are_stored_safely_and_shown_escaped,
    forms_that_cannot_be_used_are_refused,
]}
// What lies where makes no difference to these.
run_on! {[dev, processes] [
    an_announced_length_over_the_limit_is_refused_unread,
    a_client_that_is_still_sending_can_read_why,
]}

async fn an_upload_cut_off_by_its_client_leaves_no_job_and_no_part(on: Topology) {
    let service = on.alone().start().await;
    for chunked in [false, true] {
        let (head, part) = service.upload_head((!chunked).then_some(10_000_000), b"cut.csv");
        let (_, content) = sample(50_000, 0.0);
        let mut raw = Raw::connect(service.url()).await.unwrap();
        raw.send(&head).await.unwrap();
        for bytes in [&part, &content] {
            let sent = if chunked { chunk(bytes) } else { bytes.clone() };
            raw.send(&sent).await.unwrap();
        }
        drop(raw);
        wait::until("the part to be swept", DEADLINE, async || {
            Ok(service.stored().is_empty().then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 0);
    }
    service.healthy().await.unwrap();
}

async fn an_announced_length_over_the_limit_is_refused_unread(on: Topology) {
    let service = on.with("MAX_UPLOAD_MB", "1").start().await;
    let (head, part) = service.upload_head(Some(64 << 20), b"big.csv");
    let mut raw = Raw::connect(service.url()).await.unwrap();
    raw.send(&head).await.unwrap();
    raw.send(&part).await.unwrap();
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(
        answer.text.contains("application/problem+json"),
        "{}",
        answer.text
    );
}

async fn a_body_is_refused_as_soon_as_it_passes_the_limit(on: Topology) {
    let service = on.with("MAX_UPLOAD_MB", "1").start().await;
    let (head, part) = service.upload_head(None, b"big.csv");
    let mut raw = Raw::connect(service.url()).await.unwrap();
    raw.send(&head).await.unwrap();
    raw.send(&chunk(&part)).await.unwrap();
    let piece = chunk(&b"1,2,3\n".repeat(10_000));
    let mut sent = 0;
    // Never ends the body: only a service that does not wait for its end answers.
    while !raw.is_answered().await && sent < 200 << 20 {
        if raw.send(&piece).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(sent < 200 << 20);
    assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 0);
}

async fn a_client_that_is_still_sending_can_read_why(on: Topology) {
    let service = on.with("MAX_UPLOAD_MB", "1").start().await;
    let answer = service
        .upload(&Upload::new("big.csv", b"1,2,3\n".repeat(3_000_000)))
        .await
        .unwrap();
    answer.assert_problem(413);
}

async fn hostile_file_names_are_stored_safely_and_shown_escaped(on: Topology) {
    let service = on.start().await;
    let long = format!("{}.csv", "n".repeat(4096));
    let cases: [(&[u8], &str); 6] = [
        (b"../../../etc/passwd.csv", "passwd.csv"),
        (b"..\\..\\boot.csv", "boot.csv"),
        ("gnp.\u{202e}x.csv".as_bytes(), "gnp.\\u{202e}x.csv"),
        (b"-rf .csv", "-rf .csv"),
        ("日本 データ.csv".as_bytes(), "日本 データ.csv"),
        (long.as_bytes(), ""),
    ];
    for (name, shown) in cases {
        let content = b"id\n1\n";
        let (_, part) = service.upload_head(None, name);
        let length = part.len() + content.len() + UPLOAD_END.len();
        let (head, _) = service.upload_head(Some(length as u64), name);
        let mut raw = Raw::connect(service.url()).await.unwrap();
        raw.send(&[&head[..], &part, content, UPLOAD_END].concat())
            .await
            .unwrap();
        let answer = raw.answer().await.unwrap();
        assert_eq!(
            answer.status,
            202,
            "{}: {}",
            name.escape_ascii(),
            answer.text
        );
        let list = service.get("/api/jobs?page_size=1").await.unwrap().json();
        let filename = list["jobs"][0]["filename"].as_str().unwrap().to_owned();
        if shown.is_empty() {
            assert!(
                filename.chars().count() <= 255 && filename.strip_suffix(".csv").is_some(),
                "{filename}"
            );
        } else {
            assert_eq!(filename, shown);
        }
    }
    for path in service.stored().into_iter().chain(service.scratch()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        assert!(
            name.chars().all(plain) && name.len() <= 160,
            "{}",
            path.display()
        );
    }
}

async fn forms_that_cannot_be_used_are_refused(on: Topology) {
    let service = on.alone().start().await;
    let file = || Upload::new("a.csv", "id\n1\n");
    let cases = [
        ("priority", file().field("priority", 11)),
        ("priority", file().field("priority", "high")),
        ("schema", file().field("schema", "{")),
        (
            "schema",
            file().field(
                "schema",
                json!({"fields": [{"name": "id", "type": "float"}]}),
            ),
        ),
        (
            "options",
            file().field("options", json!({"delimeter": ";"})),
        ),
        (
            "options",
            file().field("options", json!({"max_error_ratio": 2})),
        ),
        (
            "webhook_url",
            file().field("webhook_url", "ftp://example.com/"),
        ),
        ("namespace", file().field("namespace", "Not A Label")),
    ];
    for (field, upload) in cases {
        let answer = service.upload(&upload).await.unwrap();
        answer.assert_problem(400);
        assert!(answer.text().contains(field), "{field}: {}", answer.text());
    }
    let url = format!("{}/api/files/upload", service.url());
    let bodies = [
        ("application/json", "{}"),
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; boundary=x", "--x--\r\n"),
        ("multipart/form-data; boundary=x", "not a form at all"),
    ];
    for (content_type, body) in bodies {
        let request = service
            .client
            .post(&url)
            .header("content-type", content_type)
            .body(body);
        let answer = filejobs_testkit::http::answer(request).await.unwrap();
        assert!(
            [400, 415].contains(&answer.status),
            "{content_type}: {}",
            answer.text()
        );
        answer.assert_problem(answer.status);
    }
    assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 0);
    assert_eq!(service.stored(), Vec::<std::path::PathBuf>::new());
}
