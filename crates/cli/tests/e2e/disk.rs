//! What happens when the disk is full.

use filejobs_testkit::http::Upload;

use crate::{sample, service, small_upload};

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
    service.healthy().await.unwrap();
    let job = service.run(&small_upload()).await.unwrap();
    assert_eq!(
        (job["status"].as_str(), job["rows_processed"].as_u64()),
        (Some("COMPLETED"), Some(3))
    );
}
