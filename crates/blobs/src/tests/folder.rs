//! What is special about a folder.

use std::io;

use filejobs_core::ErrorClass;

use super::super::*;
use super::job;
use super::place::{count, pattern, upload};

#[test]
fn results_from_another_file_system_are_copied_in() {
    let folder = tempfile::tempdir().unwrap();
    let data = Folder::create(&folder.path().join("data")).unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, pattern(100_000)).unwrap();
    data.copy_in(&from, &to).unwrap();
    assert!(std::fs::read(&to).unwrap() == pattern(100_000));
    assert!(!from.exists());
    assert_eq!(count(&folder.path().join("data/staging")), 0);
    let missing = folder.path().join("missing");
    assert!(data.copy_in(&missing, &to).is_err());
    assert_eq!(count(&folder.path().join("data/staging")), 0);
}

#[tokio::test]
async fn a_folder_was_made_once_it_has_an_area() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(!Blobs::was_made(&data).await.unwrap(), "it is not there");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("readme"), "of a mount point").unwrap();
    assert!(!Blobs::was_made(&data).await.unwrap(), "it is not ours");
    // As a backup brings it back: without what was in progress.
    std::fs::create_dir(data.join("uploads")).unwrap();
    assert!(Blobs::was_made(&data).await.unwrap());
}

#[tokio::test]
async fn results_are_moved_in() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&folder.path().join("data")).await.unwrap();
    let scratch = folder.path().join("part");
    std::fs::write(&scratch, "x").unwrap();
    blobs.put_file("results/a", &scratch).await.unwrap();
    assert!(!scratch.exists());
}

#[tokio::test]
async fn parts_that_a_crash_left_are_swept_once_they_are_idle() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&folder.path().join("data")).await.unwrap();
    let staging = folder.path().join("data/staging");
    std::fs::write(staging.join("left"), "behind").unwrap();
    let swept = blobs.sweep_staged(Duration::from_hours(1)).await.unwrap();
    assert_eq!(swept, 0);
    assert_eq!(blobs.sweep_staged(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(count(&staging), 0);
}

#[test]
fn a_full_disk_and_a_used_up_quota_are_told_as_full() {
    // ENOSPC and EDQUOT.
    for number in [28, 122] {
        let os = || io::Error::from_raw_os_error(number);
        assert!(matches!(Error::io("x", os()), Error::Full(_)), "{number}");
        let object = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(os()),
        };
        assert!(matches!(Error::object("x", object), Error::Full(_)));
    }
    let denied = Error::io("x", io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(matches!(denied, Error::Storage { .. }));
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_taken_for_a_blob_that_is() {
    let home = tempfile::tempdir().unwrap();
    let (root, away) = (home.path().join("files"), home.path().join("away"));
    let blobs = Blobs::local(&root).await.unwrap();
    upload(&blobs, "uploads/a", b"1", 1).await;
    // As a volume looks that was unmounted.
    std::fs::rename(&root, &away).unwrap();
    std::fs::create_dir(&root).unwrap();
    for answer in [
        blobs.fetch("uploads/a", None, home.path()).await.map(drop),
        blobs.reader("uploads/a").await.map(drop),
        blobs.size("uploads/a").await.map(drop),
        blobs.stream("uploads/a", 0..1).await.map(drop),
        blobs.delete("uploads/a").await,
        blobs.delete_results(job(), None).await,
        blobs.delete_results(job(), Some(2)).await,
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    }
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    blobs.fetch("uploads/a", None, home.path()).await.unwrap();
}
