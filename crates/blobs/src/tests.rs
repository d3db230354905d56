use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use filejobs_core::{ErrorClass, Sources};
use tempfile::TempDir;

use super::*;

const OLD: Duration = Duration::ZERO;

async fn blobs() -> (TempDir, Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&folder.path().join("data")).await.unwrap();
    (folder, blobs)
}

fn job() -> JobId {
    Sources::system().job_id()
}

/// Bytes that differ from place to place, so that a mix-up shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

async fn upload(blobs: &Blobs, key: &str, bytes: &[u8], piece: usize) -> (u64, String) {
    let mut staged = blobs.stage().await.unwrap();
    for chunk in bytes.chunks(piece) {
        staged.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let complete = staged.complete().await.unwrap();
    let told = (complete.size, complete.sha256.clone());
    blobs.publish(complete, key).await.unwrap();
    told
}

async fn read(blobs: &Blobs, key: &str, range: Range<u64>) -> Vec<u8> {
    let stream = blobs.stream(key, range).await.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    chunks.concat()
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Waits for work that a drop left to another thread.
async fn until(mut condition: impl FnMut() -> bool) {
    let ends = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < ends, "not within 20 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_upload_comes_back_byte_for_byte_whatever_its_pieces() {
    let (_folder, blobs) = blobs().await;
    let sizes = [0, 1, 4095, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17];
    for (n, size) in sizes.into_iter().enumerate() {
        for piece in [1_000, 8_192, 700_001] {
            let bytes = pattern(size);
            let key = format!("uploads/{n}-{piece}.csv");
            let told = upload(&blobs, &key, &bytes, piece).await;
            assert_eq!(told, (size as u64, sha256(&bytes)));
            assert_eq!(blobs.size(&key).await.unwrap(), size as u64);
            assert_eq!(blobs.sha256(&key).await.unwrap(), sha256(&bytes));
            assert!(read(&blobs, &key, 0..u64::MAX).await == bytes);
        }
    }
}

#[tokio::test]
async fn ranges_are_exact_and_end_with_the_blob() {
    let (_folder, blobs) = blobs().await;
    let bytes = pattern(2 * CHUNK + 100);
    upload(&blobs, "uploads/a", &bytes, 10_000).await;
    let len = bytes.len();
    let cases = [
        (0, 1),
        (5, 5),
        (CHUNK - 1, CHUNK + 1),
        (1, len),
        (len - 3, len + 1_000),
        (len, len + 1),
        (len + 10, len + 20),
        (20, 10),
    ];
    for (start, end) in cases {
        let expected = bytes.get(start..end.min(len)).unwrap_or_default();
        let got = read(&blobs, "uploads/a", start as u64..end as u64).await;
        assert!(got == expected, "{start}..{end}");
    }
}

#[tokio::test]
async fn an_upload_is_seen_only_once_it_is_published() {
    let (folder, blobs) = blobs().await;
    let mut staged = blobs.stage().await.unwrap();
    staged.write(Bytes::from_static(b"a,b\n")).await.unwrap();
    let complete = staged.complete().await.unwrap();
    assert!(blobs.uploads(OLD).await.unwrap().is_empty());
    let (job, name) = (job(), FileName::new("../ä b.csv", 255));
    let key = upload_key(job, &name);
    blobs.publish(complete, &key).await.unwrap();
    assert_eq!(blobs.uploads(OLD).await.unwrap(), [(job, key.clone())]);
    assert!(
        folder
            .path()
            .join(format!("data/uploads/{job}___b.csv"))
            .is_file()
    );
    assert_eq!(files_in(&folder.path().join("data/staging")), 0);
    assert!(
        blobs
            .uploads(Duration::from_hours(1))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn every_job_with_a_result_or_a_plan_is_listed_once() {
    let (folder, blobs) = blobs().await;
    assert_eq!(blobs.jobs_with_results().await.unwrap(), []);
    let (both, planned) = (job(), job());
    for key in [
        result_key(both, 0, 0, "a"),
        result_key(both, 1, 0, "a"),
        plan_key(both, 0, "p"),
        plan_key(planned, 0, "p"),
        upload_key(job(), &FileName::new("t.csv", 255)),
    ] {
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        blobs.put_file(&key, &file).await.unwrap();
    }
    let mut listed = blobs.jobs_with_results().await.unwrap();
    let mut wanted = [both, planned];
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let (folder, blobs) = blobs().await;
    let staging = folder.path().join("data/staging");
    let part = || async {
        let mut staged = blobs.stage().await.unwrap();
        staged.write(Bytes::from(pattern(3 * CHUNK))).await.unwrap();
        staged
    };
    part().await.discard().await;
    assert_eq!(files_in(&staging), 0);
    let complete = part().await.complete().await.unwrap();
    blobs.discard(complete).await;
    assert_eq!(files_in(&staging), 0);
    drop(part().await);
    drop(part().await.complete().await.unwrap());
    until(|| files_in(&staging) == 0).await;
}

#[tokio::test]
async fn parts_that_a_crash_left_are_swept_once_they_are_idle() {
    let (folder, blobs) = blobs().await;
    let staging = folder.path().join("data/staging");
    std::fs::write(staging.join("left"), "behind").unwrap();
    assert_eq!(
        blobs.sweep_staged(Duration::from_hours(1)).await.unwrap(),
        0
    );
    assert_eq!(blobs.sweep_staged(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(files_in(&staging), 0);
}

#[tokio::test]
async fn a_part_that_was_swept_cannot_be_published() {
    let (_folder, blobs) = blobs().await;
    let complete = blobs.stage().await.unwrap().complete().await.unwrap();
    blobs.sweep_staged(Duration::ZERO).await.unwrap();
    let published = blobs.publish(complete, "uploads/x").await;
    assert!(matches!(published, Err(Error::Storage { .. })));
    assert!(matches!(
        blobs.open("uploads/x").await,
        Err(Error::NotFound)
    ));
}

#[tokio::test]
async fn a_missing_blob_is_told_from_a_broken_storage() {
    let (_folder, blobs) = blobs().await;
    assert!(matches!(
        blobs.open("uploads/x").await,
        Err(Error::NotFound)
    ));
    assert!(matches!(
        blobs.size("uploads/x").await,
        Err(Error::NotFound)
    ));
    assert!(matches!(
        blobs.sha256("uploads/x").await,
        Err(Error::NotFound)
    ));
    let stream = blobs.stream("uploads/x", 0..10).await;
    assert!(matches!(stream, Err(Error::NotFound)));
    blobs.delete("uploads/x").await.unwrap();
    let outside = blobs.open("uploads/../../secret").await;
    assert!(matches!(outside, Err(Error::Storage { .. })));
}

#[tokio::test]
async fn a_deleted_blob_is_gone() {
    let (_folder, blobs) = blobs().await;
    upload(&blobs, "uploads/a", b"1", 1).await;
    blobs.delete("uploads/a").await.unwrap();
    assert!(matches!(
        blobs.open("uploads/a").await,
        Err(Error::NotFound)
    ));
}

#[tokio::test]
async fn results_are_moved_in_and_replace_what_was_there() {
    let (folder, blobs) = blobs().await;
    let key = result_key(job(), 1, 7, "valid-00001.parquet");
    for text in ["first", "second"] {
        let scratch = folder.path().join("part");
        std::fs::write(&scratch, text).unwrap();
        blobs.put_file(&key, &scratch).await.unwrap();
        assert!(!scratch.exists());
        assert_eq!(read(&blobs, &key, 0..100).await, text.as_bytes());
    }
}

#[test]
fn results_from_another_file_system_are_copied_in() {
    let folder = tempfile::tempdir().unwrap();
    let data = Folder::create(&folder.path().join("data")).unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, pattern(100_000)).unwrap();
    data.copy_in(&from, &to).unwrap();
    assert!(std::fs::read(&to).unwrap() == pattern(100_000));
    assert!(!from.exists());
    assert_eq!(files_in(&folder.path().join("data/staging")), 0);
    let missing = folder.path().join("missing");
    assert!(data.copy_in(&missing, &to).is_err());
    assert_eq!(files_in(&folder.path().join("data/staging")), 0);
}

#[tokio::test]
async fn results_are_deleted_by_job_but_for_one_generation() {
    let (folder, blobs) = blobs().await;
    let (mine, other) = (job(), job());
    let put = |key: String| {
        let scratch = folder.path().join("file");
        std::fs::write(&scratch, "x").unwrap();
        let blobs = blobs.clone();
        async move { blobs.put_file(&key, &scratch).await.unwrap() }
    };
    for generation in [1, 2] {
        put(result_key(mine, generation, 0, "a")).await;
        put(plan_key(mine, generation, "b")).await;
    }
    put(result_key(other, 1, 0, "a")).await;
    let there = |key: String| {
        let blobs = blobs.clone();
        async move { blobs.open(&key).await.is_ok() }
    };
    blobs.delete_results(mine, Some(2)).await.unwrap();
    assert!(!there(result_key(mine, 1, 0, "a")).await);
    assert!(!there(plan_key(mine, 1, "b")).await);
    assert!(there(result_key(mine, 2, 0, "a")).await);
    assert!(there(plan_key(mine, 2, "b")).await);
    blobs.delete_results(mine, None).await.unwrap();
    blobs.delete_results(mine, None).await.unwrap();
    blobs.delete_results(mine, Some(9)).await.unwrap();
    assert_eq!(files_in(&folder.path().join("data/plans")), 0);
    assert!(there(result_key(other, 1, 0, "a")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_at_once_do_not_mix() {
    let (folder, blobs) = blobs().await;
    let next = Arc::new(AtomicUsize::new(0));
    let uploads = (0..50).map(|_| {
        let (blobs, next) = (blobs.clone(), next.clone());
        tokio::spawn(async move {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let bytes = pattern(600_000 + n * 1_001);
            let key = format!("uploads/{n}");
            let told = upload(&blobs, &key, &bytes, 16_384).await;
            assert_eq!(told.1, sha256(&bytes));
            assert!(read(&blobs, &key, 0..u64::MAX).await == bytes);
        })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await.unwrap();
    }
    assert_eq!(files_in(&folder.path().join("data/staging")), 0);
    assert_eq!(files_in(&folder.path().join("data/uploads")), 50);
}

#[tokio::test]
async fn ping_answers_while_the_folder_is_there() {
    let (folder, blobs) = blobs().await;
    blobs.ping().await.unwrap();
    assert_eq!(files_in(&folder.path().join("data/staging")), 0);
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let error = blobs.ping().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
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
