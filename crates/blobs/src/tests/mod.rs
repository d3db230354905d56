//! What blobs are, on both kinds of storage; what is special about each stands in files of its own.

mod folder;
mod place;
mod s3;

use filejobs_core::{FileName, Sources};

use super::*;
use place::{Place, count, pattern, until, upload};

const OLD: Duration = Duration::ZERO;

/// One part of an upload to a storage and a bit.
const MORE_THAN_A_PART: usize = s3::PART as usize + 5 * CHUNK + 17;

fn job() -> JobId {
    Sources::system().job_id()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

async fn read(blobs: &Blobs, key: &str, range: Range<u64>) -> Vec<u8> {
    let stream = blobs.stream(key, range).await.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    chunks.concat()
}

/// Makes a test of each case for each kind of storage.
macro_rules! on_both_kinds {
    ($($case:ident)*) => {
        mod on_a_folder {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(Place::folder().await).await;
            })*
        }
        mod on_s3 {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(Place::s3()).await;
            })*
        }
    };
}

on_both_kinds! {
    an_upload_comes_back_byte_for_byte_whatever_its_pieces
    ranges_are_exact_and_end_with_the_blob
    an_upload_is_seen_only_once_it_is_published
    an_upload_replaces_what_was_there
    every_job_with_a_result_or_a_plan_is_listed_once
    an_upload_that_is_given_up_leaves_nothing
    an_upload_that_was_swept_cannot_be_published
    a_missing_blob_is_told_from_a_broken_storage
    a_deleted_blob_is_gone
    results_replace_what_was_there
    results_of_any_size_are_stored_whole
    results_that_were_stored_in_part_are_stored_by_the_next_try
    results_are_deleted_by_job_up_to_a_generation
    many_uploads_at_once_do_not_mix
    a_blob_is_brought_to_where_it_can_be_read_at_any_place
    what_was_damaged_in_the_storage_shows
    a_reader_gives_what_it_is_asked_for
    ping_answers_while_the_storage_is_there
}

async fn an_upload_comes_back_byte_for_byte_whatever_its_pieces(place: Place) {
    let blobs = &place.blobs;
    let small = [0, 1, 4095, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17];
    let part = s3::PART as usize;
    let large = [part - 1, part, part + 1, 2 * part, MORE_THAN_A_PART];
    let small = small.map(|size| [(size, 1_000), (size, 8_192), (size, 700_001)]);
    let cases = small.concat();
    for (size, piece) in cases.into_iter().chain(large.map(|size| (size, 700_001))) {
        let bytes = pattern(size);
        let key = format!("uploads/{size}-{piece}.csv");
        let told = upload(blobs, &key, &bytes, piece).await;
        assert_eq!(told, (size as u64, sha256(&bytes)));
        assert_eq!(blobs.size(&key).await.unwrap(), size as u64);
        assert_eq!(blobs.sha256(&key).await.unwrap(), sha256(&bytes));
        assert!(read(blobs, &key, 0..u64::MAX).await == bytes, "{size}");
    }
    assert_eq!(place.unfinished(), 0);
}

async fn ranges_are_exact_and_end_with_the_blob(place: Place) {
    let bytes = pattern(2 * CHUNK + 100);
    upload(&place.blobs, "uploads/a", &bytes, 10_000).await;
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
        let got = read(&place.blobs, "uploads/a", start as u64..end as u64).await;
        assert!(got == expected, "{start}..{end}");
    }
}

async fn an_upload_is_seen_only_once_it_is_published(place: Place) {
    for size in [4, MORE_THAN_A_PART] {
        let (job, name) = (job(), FileName::new("../ä b.csv", 255));
        let key = upload_key(job, &name);
        let mut staged = place.blobs.stage(&key).await.unwrap();
        staged.write(Bytes::from(pattern(size))).await.unwrap();
        let complete = staged.complete().await.unwrap();
        assert!(place.blobs.uploads(OLD).await.unwrap().is_empty());
        assert!(!place.file(&key).exists());
        place.blobs.publish(complete).await.unwrap();
        let listed = place.blobs.uploads(OLD).await.unwrap();
        assert_eq!(listed, [(job, key.clone())]);
        assert!(place.root.join(format!("uploads/{job}___b.csv")).is_file());
        assert_eq!(place.unfinished(), 0);
        let old = place.blobs.uploads(Duration::from_hours(1)).await.unwrap();
        assert!(old.is_empty());
        place.blobs.delete(&key).await.unwrap();
    }
}

async fn an_upload_replaces_what_was_there(place: Place) {
    for size in [10, MORE_THAN_A_PART, 20] {
        let bytes = pattern(size);
        upload(&place.blobs, "uploads/a", &bytes, 100_000).await;
        assert!(read(&place.blobs, "uploads/a", 0..u64::MAX).await == bytes);
    }
}

async fn put(place: &Place, key: &str, bytes: &[u8]) {
    let file = place.folder.path().join("result");
    std::fs::write(&file, bytes).unwrap();
    place.blobs.put_file(key, &file).await.unwrap();
}

async fn every_job_with_a_result_or_a_plan_is_listed_once(place: Place) {
    assert_eq!(place.blobs.jobs_with_results().await.unwrap(), []);
    let (both, planned) = (job(), job());
    for key in [
        result_key(both, 0, 0, "a"),
        result_key(both, 1, 0, "a"),
        plan_key(both, 0, "p"),
        plan_key(planned, 0, "p"),
        upload_key(job(), &FileName::new("t.csv", 255)),
    ] {
        put(&place, &key, b"x").await;
    }
    let mut listed = place.blobs.jobs_with_results().await.unwrap();
    let mut wanted = [both, planned];
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
    for job in wanted {
        let older = async |age| place.blobs.results_are_older(job, age).await.unwrap();
        assert!(older(OLD).await);
        assert!(!older(Duration::from_hours(1)).await);
    }
}

async fn an_upload_that_is_given_up_leaves_nothing(place: Place) {
    let part = || async {
        let mut staged = place.blobs.stage("uploads/a").await.unwrap();
        for chunk in pattern(MORE_THAN_A_PART).chunks(1_000_000) {
            staged.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        staged
    };
    part().await.discard().await;
    assert_eq!(place.unfinished(), 0);
    let complete = part().await.complete().await.unwrap();
    assert_eq!(place.unfinished(), 1);
    place.blobs.discard(complete).await;
    assert_eq!(place.unfinished(), 0);
    drop(part().await);
    drop(part().await.complete().await.unwrap());
    until(|| place.unfinished() == 0).await;
    assert!(!place.file("uploads/a").exists());
}

async fn an_upload_that_was_swept_cannot_be_published(place: Place) {
    let key = upload_key(job(), &FileName::new("t.csv", 255));
    let mut staged = place.blobs.stage(&key).await.unwrap();
    staged
        .write(pattern(MORE_THAN_A_PART).into())
        .await
        .unwrap();
    let complete = staged.complete().await.unwrap();
    assert_eq!(
        place
            .blobs
            .sweep_staged(Duration::from_hours(1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(place.unfinished(), 1);
    assert_eq!(place.blobs.sweep_staged(OLD).await.unwrap(), 1);
    assert_eq!(place.unfinished(), 0);
    let published = place.blobs.publish(complete).await;
    assert!(matches!(published, Err(Error::Storage { .. })));
    let size = place.blobs.size(&key).await;
    assert!(matches!(size, Err(Error::NotFound)));
}

async fn a_missing_blob_is_told_from_a_broken_storage(place: Place) {
    let blobs = &place.blobs;
    let key = "uploads/x";
    let missing = [
        blobs.size(key).await.map(drop),
        blobs.sha256(key).await.map(drop),
        blobs.stream(key, 0..10).await.map(drop),
        blobs.reader(key).await.map(drop),
        blobs.fetch(key, None, place.folder.path()).await.map(drop),
    ];
    for (number, answer) in missing.into_iter().enumerate() {
        assert!(
            matches!(answer, Err(Error::NotFound)),
            "{number}: {answer:?}"
        );
    }
    blobs.delete(key).await.unwrap();
    let outside = blobs.reader("uploads/../../secret").await;
    assert!(matches!(outside, Err(Error::Storage { .. })));
}

async fn a_deleted_blob_is_gone(place: Place) {
    upload(&place.blobs, "uploads/a", b"1", 1).await;
    place.blobs.delete("uploads/a").await.unwrap();
    let size = place.blobs.size("uploads/a").await;
    assert!(matches!(size, Err(Error::NotFound)));
}

async fn results_replace_what_was_there(place: Place) {
    let key = result_key(job(), 1, 7, "valid-00001.parquet");
    for text in ["first", "second"] {
        put(&place, &key, text.as_bytes()).await;
        assert_eq!(read(&place.blobs, &key, 0..100).await, text.as_bytes());
    }
}

async fn results_of_any_size_are_stored_whole(place: Place) {
    let sizes = [0, 1, s3::PART as usize, MORE_THAN_A_PART];
    let job = job();
    let mut files = Vec::new();
    for (n, size) in sizes.into_iter().enumerate() {
        let file = place.folder.path().join(format!("{n}"));
        std::fs::write(&file, pattern(size)).unwrap();
        files.push((result_key(job, 0, n as u32, "a"), file));
    }
    place.blobs.put_files(&files).await.unwrap();
    for ((key, _), size) in files.iter().zip(sizes) {
        assert!(
            read(&place.blobs, key, 0..u64::MAX).await == pattern(size),
            "{size}"
        );
    }
    assert_eq!(place.unfinished(), 0);
}

async fn results_that_were_stored_in_part_are_stored_by_the_next_try(place: Place) {
    let job = job();
    let mut files = Vec::new();
    for name in ["a", "b"] {
        let file = place.folder.path().join(name);
        files.push((result_key(job, 0, 0, name), file));
    }
    std::fs::write(&files[0].1, "first").unwrap();
    let half = place.blobs.put_files(&files).await;
    assert!(half.is_err(), "the second is not there");
    std::fs::write(&files[1].1, "second").unwrap();
    place.blobs.put_files(&files).await.unwrap();
    assert_eq!(read(&place.blobs, &files[0].0, 0..9).await, b"first");
    assert_eq!(read(&place.blobs, &files[1].0, 0..9).await, b"second");
}

async fn results_are_deleted_by_job_up_to_a_generation(place: Place) {
    let (mine, other) = (job(), job());
    for generation in [1, 2, 10] {
        put(&place, &result_key(mine, generation, 0, "a"), b"x").await;
        put(&place, &plan_key(mine, generation, "b"), b"x").await;
    }
    put(&place, &result_key(other, 1, 0, "a"), b"x").await;
    let there = async |key: String| place.blobs.size(&key).await.is_ok();
    place.blobs.delete_results(mine, Some(2)).await.unwrap();
    assert!(!there(result_key(mine, 1, 0, "a")).await);
    assert!(!there(plan_key(mine, 1, "b")).await);
    for kept in [2, 10] {
        assert!(there(result_key(mine, kept, 0, "a")).await);
        assert!(there(plan_key(mine, kept, "b")).await);
    }
    place.blobs.delete_results(mine, None).await.unwrap();
    place.blobs.delete_results(mine, None).await.unwrap();
    place.blobs.delete_results(mine, Some(9)).await.unwrap();
    assert_eq!(place.blobs.jobs_with_results().await.unwrap(), [other]);
    assert!(there(result_key(other, 1, 0, "a")).await);
}

async fn many_uploads_at_once_do_not_mix(place: Place) {
    let uploads = (0..20).map(|n| {
        let blobs = place.blobs.clone();
        tokio::spawn(async move {
            let size = if n % 5 == 0 {
                MORE_THAN_A_PART
            } else {
                600_000
            };
            let bytes = pattern(size + n * 1_001);
            let key = format!("uploads/{n}");
            let told = upload(&blobs, &key, &bytes, 65_536).await;
            assert_eq!(told.1, sha256(&bytes));
            assert!(read(&blobs, &key, 0..u64::MAX).await == bytes);
        })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await.unwrap();
    }
    assert_eq!(place.unfinished(), 0);
    assert_eq!(count(&place.root.join("uploads")), 20);
}

/// All of a file, wherever its position is.
fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

async fn a_blob_is_brought_to_where_it_can_be_read_at_any_place(place: Place) {
    let scratch = place.folder.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    for size in [0, 1, MORE_THAN_A_PART] {
        let (key, bytes) = (format!("uploads/{size}"), pattern(size));
        upload(&place.blobs, &key, &bytes, 1 << 20).await;

        let whole = place.blobs.fetch(&key, None, &scratch).await.unwrap();
        assert_eq!(whole.size, size as u64);
        assert!(whole.sha256.is_none_or(|taken| taken == sha256(&bytes)));
        assert!(content(&whole.file) == bytes);

        let range = size / 3..size / 2;
        let wanted = range.start as u64..range.end as u64;
        let part = place
            .blobs
            .fetch(&key, Some(wanted), &scratch)
            .await
            .unwrap();
        assert_eq!((part.size, part.sha256), (size as u64, None));
        assert!(content(&part.file)[range.clone()] == bytes[range]);
    }
    assert_eq!(count(&scratch), 0);
}

async fn what_was_damaged_in_the_storage_shows(place: Place) {
    let bytes = pattern(100_000);
    upload(&place.blobs, "uploads/a", &bytes, 50_000).await;
    let file = place.file("uploads/a");
    let mut flipped = bytes.clone();
    flipped[70_000] ^= 1;
    let damaged = [flipped, bytes[..99_999].to_vec()];
    for (number, damaged) in damaged.into_iter().enumerate() {
        std::fs::write(&file, damaged).unwrap();
        let fetched = place
            .blobs
            .fetch("uploads/a", None, place.folder.path())
            .await;
        let Fetched {
            size,
            sha256: taken,
            ..
        } = match fetched {
            // The storage itself may notice that it has less than it once took.
            Err(Error::Storage { .. }) => continue,
            other => other.unwrap(),
        };
        let taken = match taken {
            Some(taken) => taken,
            None => place.blobs.sha256("uploads/a").await.unwrap(),
        };
        assert_ne!((size, taken), (100_000, sha256(&bytes)), "{number}");
    }
}

async fn a_reader_gives_what_it_is_asked_for(place: Place) {
    let bytes = pattern(3_000_000);
    upload(&place.blobs, "uploads/a", &bytes, 1 << 20).await;
    let reader = place.blobs.reader("uploads/a").await.unwrap();
    let look = move || {
        assert_eq!(reader.size(), 3_000_000);
        let cases = [
            (2_999_992, 8),
            (2_999_000, 992),
            (0, 4),
            (1_000_000, 10),
            (999_990, 30),
            (5, 2_500_000),
            (2_999_999, 100),
            (3_000_000, 1),
            (9_000_000, 1),
        ];
        for (at, wanted) in cases {
            let expected = bytes.get(at..bytes.len().min(at + wanted));
            let got = reader.read_at(at as u64, wanted).unwrap();
            assert!(got == expected.unwrap_or_default(), "{at} {wanted}");
        }
    };
    tokio::task::spawn_blocking(look).await.unwrap();
}

async fn ping_answers_while_the_storage_is_there(place: Place) {
    place.blobs.ping().await.unwrap();
    assert_eq!(place.unfinished(), 0);
    let mut root = place.root.clone();
    while root
        .file_name()
        .is_some_and(|name| name == "part" || name == "our")
    {
        root.pop();
    }
    std::fs::remove_dir_all(root).unwrap();
    let error = place.blobs.ping().await.unwrap_err();
    assert_eq!(error.class(), filejobs_core::ErrorClass::Transient);
}
