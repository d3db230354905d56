//! Files that are not what they should be.

use filejobs_testkit::http::Upload;
use serde_json::json;

use crate::topology::Topology;

run_on! {[dev, processes] [
    names_and_contents_must_both_fit,
    a_broken_workbook_fails_its_job_and_harms_nobody,
    an_empty_file_fails_and_a_header_alone_does_not,
]}

async fn names_and_contents_must_both_fit(on: Topology) {
    let service = on.start().await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice();
    let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0".as_slice();
    let pdf = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".as_slice();
    let html = b"<!DOCTYPE html><html><body>x</body></html>".as_slice();
    let csv = b"id,name\n1,a\n".as_slice();
    let cases: [(&str, &[u8], &str); 10] = [
        ("table", csv, "no extension"),
        ("table.txt", csv, "another extension"),
        ("table.csv.exe", csv, "another extension at the end"),
        ("table.csv", png, "a picture"),
        ("table.csv", elf, "a program"),
        ("table.csv", pdf, "a document"),
        ("table.csv", html, "a web page"),
        ("table.xlsx", csv, "text called a workbook"),
        ("table.xls", csv, "text called an old workbook"),
        (
            "table.ods",
            b"PK\x03\x04".as_slice(),
            "a workbook that only the command line reads",
        ),
    ];
    for (name, content, what) in cases {
        let answer = service.upload(&Upload::new(name, content)).await.unwrap();
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        answer.assert_problem(400);
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap()
            .to_ascii_lowercase();
        assert!(
            detail.contains("csv") && detail.contains("xlsx"),
            "{what}: {detail}"
        );
    }
    assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 0);
}

async fn a_broken_workbook_fails_its_job_and_harms_nobody(on: Topology) {
    let service = on.start().await;
    let job = service
        .run(&Upload::new(
            "broken.xlsx",
            b"PK\x03\x04 and nothing more".as_slice(),
        ))
        .await
        .unwrap();
    assert_eq!(
        (&job["status"], &job["outcome"]),
        (&json!("FAILED"), &json!("failed")),
        "{job}"
    );
    assert!(
        job["error_message"]
            .as_str()
            .is_some_and(|text| text.len() > 20),
        "{job}"
    );
    service.healthy().await.unwrap();
    let workers = service.admin.get("/api/workers").await.unwrap().json();
    assert_eq!(workers["workers"].as_array().map(Vec::len), Some(1));
}

async fn an_empty_file_fails_and_a_header_alone_does_not(on: Topology) {
    let service = on.start().await;
    let empty = service.run(&Upload::new("a.csv", "")).await.unwrap();
    assert_eq!(
        (&empty["status"], &empty["failure_class"]),
        (&json!("FAILED"), &json!("validation"))
    );
    let header = service
        .run(&Upload::new("a.csv", "id,name\n"))
        .await
        .unwrap();
    assert_eq!(
        (&header["status"], &header["rows_processed"]),
        (&json!("COMPLETED"), &json!(0))
    );
}
