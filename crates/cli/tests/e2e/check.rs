//! `filejobs check`: the engine with no service, and the same verdicts as with one.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use filejobs_cli::sample::Sample;
use filejobs_testkit::processes;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;

use crate::{BINARY, SMALL};

fn check(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("check")
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn example(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_example_shows_every_kind_of_finding() {
    let output = check(&[
        &example("orders.csv"),
        "--schema",
        &example("orders.schema.json"),
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for code in [
        "type-error",
        "constraint-error",
        "primary-key",
        "missing-cell",
        "extra-cell",
        "blank-row",
    ] {
        assert!(text.contains(code), "{code}:\n{text}");
    }
}

#[test]
fn outputs_are_written_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out_text = out.to_str().unwrap();
    for _ in 0..2 {
        let orders = example("orders.csv");
        let schema = example("orders.schema.json");
        let output = check(&[&orders, "--schema", &schema, "--out", out_text, "--json"]);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let report: Value =
            serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        assert_eq!(printed["rows_processed"], report["rows_processed"]);
        let findings = lines(&out.join("findings.ndjson"));
        assert_eq!(
            findings.len() as u64,
            report["errors_total"].as_u64().unwrap()
        );
        for name in [
            "id",
            "row_number",
            "line",
            "error_type",
            "error_message",
            "created_at",
        ] {
            assert!(
                findings.iter().all(|finding| !finding[name].is_null()),
                "{name}"
            );
        }
        let rejected = std::fs::read_to_string(out.join("rejected.csv")).unwrap();
        assert!(
            rejected.lines().next().unwrap().contains(",_row,_reasons"),
            "{rejected}"
        );
        assert!(
            std::fs::read(out.join("valid-00001.parquet"))
                .unwrap()
                .starts_with(b"PAR1")
        );
        let mut names: Vec<_> = std::fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "findings.ndjson",
                "rejected.csv",
                "report.json",
                "valid-00001.parquet"
            ]
        );
    }
}

#[test]
fn the_exit_code_tells_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.csv", b"id,name\n1,a\n2,b\n");
    let bad = file("bad.csv", SMALL.replace('x', "").as_bytes());
    let empty = file("empty.csv", b"");
    let picture = file("picture.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let text = file("table.txt", b"id\n1\n");
    let schema = file("bad.schema.json", b"{\"fields\": 3}");
    let gone = folder.path().join("gone.csv").to_str().unwrap().to_owned();
    let cases: [(&[&str], i32); 9] = [
        (&[&good], 0),
        (&[&bad], 1),
        (&[&empty], 1),
        (&[&picture], 1),
        (&[&text], 1),
        (&[&good, "--schema", &schema], 2),
        (&[&good, "--max-error-ratio", "7"], 2),
        (&[&gone], 3),
        (&[folder.path().to_str().unwrap()], 3),
    ];
    for (arguments, code) in cases {
        let output = check(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn a_hostile_cell_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(
        &path,
        format!("id\n{}\u{1b}[2J\u{202e}x\n", "1\n".repeat(50)),
    )
    .unwrap();
    let output = check(&[path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}'),
        "{text}"
    );
    assert!(text.contains("\\u{1b}"), "{text}");
}

#[tokio::test]
async fn an_interrupted_check_leaves_no_child_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("tmp");
    std::fs::create_dir(&scratch).unwrap();
    let file = folder.path().join("big.csv");
    let sample = Sample {
        rows: 5_000_000,
        ..Sample::default()
    };
    sample.write(std::fs::File::create(&file).unwrap()).unwrap();
    let mut check = Command::new(BINARY)
        .arg("check")
        .arg(&file)
        .env_clear()
        .env("TMPDIR", &scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let engine = processes::hold_engine(check.id()).await.unwrap();
    processes::signal(check.id(), "INT").unwrap();
    let status = wait::until("the check to end", DEADLINE, async || Ok(check.try_wait()?))
        .await
        .unwrap();
    assert_eq!(status.code(), Some(5));
    assert!(!processes::is_alive(engine));
    assert_eq!(
        filejobs_testkit::disk::files_below(&scratch),
        Vec::<std::path::PathBuf>::new()
    );
}
