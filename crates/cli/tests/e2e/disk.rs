//! What lies on the disk, and what happens when it is full.

use std::path::{Path, PathBuf};

use filejobs_testkit::http::Upload;

use crate::{sample, service, small_upload};

/// Every file below a folder; none when it is not there.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files
}

/// Whether any path below a folder holds `text`.
pub(crate) fn any_file_named(folder: &Path, text: &str) -> bool {
    files_below(folder)
        .iter()
        .any(|path| path.to_string_lossy().contains(text))
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().display();
    let service = service()
        .in_namespace(&format!("mount -t tmpfs -o size=8m tmpfs '{path}'"))
        .arg("--upload-dir")
        .arg(path)
        .start()
        .await
        .expect("a file system of its own can be mounted: user namespaces, or root, are needed");
    let (_, big) = sample(800_000, 0.0);
    let answer = service.upload(&Upload::new("big.csv", big)).await.unwrap();
    answer.assert_problem(507);
    assert_eq!(service.get("/api/jobs").await.unwrap().json()["total"], 0);
    assert_eq!(service.health().await, 200);
    let job = service.run(&small_upload()).await.unwrap();
    assert_eq!(
        (job["status"].as_str(), job["rows_processed"].as_u64()),
        (Some("COMPLETED"), Some(3))
    );
}
