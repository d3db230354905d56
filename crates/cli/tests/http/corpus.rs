//! `filejobs check` and the service come to the same verdict about every file of the corpus.

use std::path::Path;
use std::process::{Command, Output};

use filejobs_core::FileType;
use filejobs_testkit::corpus::{self, Case, Expected};
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;

use crate::BINARY;
use crate::topology::{self, Stage};

/// Findings on a page: the most that a page holds.
const PAGE: usize = 500;

#[tokio::test]
async fn check_and_every_topology_agree_on_every_file() {
    let (dev, processes, s3) = tokio::join!(
        topology::dev().start(),
        topology::processes().start(),
        topology::s3().start()
    );
    let services = [dev, processes, s3];
    for case in corpus::cases() {
        let folder = tempfile::tempdir().unwrap();
        let file = case.write_into(folder.path()).unwrap();
        let flags = flags(&case, folder.path());
        let out = folder.path().join("out");
        let mut check = Command::new(BINARY);
        check
            .arg("check")
            .arg(&file)
            .args(&flags)
            .arg("--out")
            .arg(&out)
            .arg("--json");
        let checked = check.output().unwrap();
        let name = case.name;
        if case.expected == Expected::Refused {
            assert_eq!(checked.status.code(), Some(1), "{name}: {checked:?}");
            assert!(!out.exists(), "{name}");
        }
        for service in &services {
            let mut submit = service.client_command(&["submit"]);
            let submitted = submit.arg(&file).args(&flags).output().unwrap();
            agrees(service, &case, &checked, &out, &submitted).await;
        }
    }
    for service in &services {
        service.healthy().await.unwrap();
        wait::until("the engines to be gone", DEADLINE, async || {
            Ok(service.engines().is_empty().then_some(()))
        })
        .await
        .unwrap();
    }
}

/// A service comes to the same as `check` did.
async fn agrees(service: &Stage, case: &Case, checked: &Output, out: &Path, submitted: &Output) {
    let name = case.name;
    let is_served = FileType::from_name(name).is_some_and(FileType::is_served);
    if case.expected == Expected::Refused || !is_served {
        assert_eq!(submitted.status.code(), Some(3), "{name}: {submitted:?}");
        assert!(
            String::from_utf8_lossy(&submitted.stderr).contains("HTTP 400"),
            "{name}: {submitted:?}"
        );
        return;
    }
    assert!(submitted.status.success(), "{name}: {submitted:?}");
    let id = String::from_utf8_lossy(&submitted.stdout);
    let id = id.trim();
    let job = service.finished(id).await.unwrap();
    same_verdict(case, checked, out, &job);
    let report = service
        .get(&format!("/api/jobs/{id}/report"))
        .await
        .unwrap();
    report.assert_status(200);
    assert_eq!(report.json(), read(&out.join("report.json")), "{name}");
    same_findings(service, name, id, out).await;
}

/// Schema and options of a case as both commands take them.
fn flags(case: &Case, folder: &Path) -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(schema) = case.schema {
        let path = folder.join("schema.json");
        std::fs::write(&path, schema).unwrap();
        flags.push(format!("--schema={}", path.display()));
    }
    let options: Value = case
        .options
        .map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    for (name, value) in options.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("header", Value::Bool(true)) => {}
            ("header", Value::Bool(false)) => flags.push("--no-header".to_owned()),
            (name, Value::String(text)) => {
                flags.push(format!("--{}={text}", name.replace('_', "-")));
            }
            (name, value) => flags.push(format!("--{}={value}", name.replace('_', "-"))),
        }
    }
    flags
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What both found is what the corpus says.
fn same_verdict(case: &Case, checked: &Output, out: &Path, job: &Value) {
    let name = case.name;
    let report = read(&out.join("report.json"));
    for field in [
        "status",
        "outcome",
        "failure_class",
        "error_message",
        "rows_processed",
        "rows_failed",
        "errors_by_code",
    ] {
        assert_eq!(report[field], job[field], "{field} of {name}: {checked:?}");
    }
    match case.expected {
        Expected::Completed {
            processed,
            failed,
            findings,
        } => {
            assert_eq!(job["status"], "COMPLETED", "{name}: {job}");
            assert_eq!(
                (job["rows_processed"].as_u64(), job["rows_failed"].as_u64()),
                (Some(processed), Some(failed)),
                "{name}"
            );
            let total: u64 = findings.iter().map(|(_, n)| n).sum();
            assert_eq!(report["errors_total"], total, "{name}");
            assert_eq!(checked.status.code(), Some(i32::from(total > 0)), "{name}");
        }
        Expected::Failed(code) => {
            assert_eq!(job["status"], "FAILED", "{name}: {job}");
            assert_eq!(report["failure_code"], code.as_str(), "{name}");
            assert_eq!(checked.status.code(), Some(1), "{name}");
        }
        Expected::Refused => unreachable!("nothing came of it"),
    }
}

/// Every finding, its place and its reason.
async fn same_findings(service: &Stage, name: &str, id: &str, out: &Path) {
    let text = std::fs::read_to_string(out.join("findings.ndjson")).unwrap();
    let without_time = |mut finding: Value| {
        finding.as_object_mut().unwrap().remove("created_at");
        finding
    };
    let checked: Vec<Value> = text
        .lines()
        .map(|line| without_time(serde_json::from_str(line).unwrap()))
        .collect();
    for (page, expected) in checked.chunks(PAGE).enumerate() {
        let path = format!("/api/jobs/{id}/errors?page={}&page_size={PAGE}", page + 1);
        let list = service.get(&path).await.unwrap().json();
        assert_eq!(list["total"], checked.len(), "{name}");
        let found: Vec<Value> = list["errors"]
            .as_array()
            .unwrap()
            .iter()
            .cloned()
            .map(without_time)
            .collect();
        assert_eq!(found, expected, "{name}, page {}", page + 1);
    }
}
