//! The kinds of storage, as the cases see them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use filejobs_testkit::s3::{KEY_ID, S3Server, SECRET};
use tempfile::TempDir;

use crate::{Blobs, Credentials, S3Config, Summing};

/// A storage of one test's own.
pub(super) struct Place {
    pub(super) blobs: Blobs,
    /// Where each blob lies as a file under its key.
    pub(super) root: PathBuf,
    /// Where unfinished uploads lie.
    unfinished: PathBuf,
    /// For files of the test.
    pub(super) folder: TempDir,
}

impl Place {
    pub(super) async fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        Self {
            blobs: Blobs::local(&root).await.unwrap(),
            unfinished: root.join("staging"),
            root,
            folder,
        }
    }

    /// A bucket that others could use as well: everything of ours is below a prefix.
    pub(super) fn s3() -> Self {
        let server = S3Server::shared();
        let bucket = server.bucket().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&server.endpoint(), &bucket);
        config.prefix = "our/part".to_owned();
        config.spool = folder.path().to_owned();
        let whole = server.folder(&bucket);
        Self {
            blobs: Blobs::s3(&config).unwrap(),
            root: whole.join("our/part"),
            unfinished: whole.join(".sgwtmp/multipart"),
            folder,
        }
    }

    /// The file that a blob is.
    pub(super) fn file(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// How many uploads are neither published nor gone.
    pub(super) fn unfinished(&self) -> usize {
        // versitygw has a folder for each key with one for each upload in it.
        let entries = std::fs::read_dir(&self.unfinished).into_iter().flatten();
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() { count(&path) } else { 1 }
            })
            .sum()
    }
}

pub(super) fn config(endpoint: &str, bucket: &str) -> S3Config {
    let mut config = S3Config::new(bucket);
    config.endpoint = Some(endpoint.to_owned());
    config.allow_http = true;
    config.credentials = Some(Credentials {
        key_id: KEY_ID.to_owned(),
        secret: SECRET.to_owned(),
        token: None,
    });
    config
}

pub(super) fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Bytes that differ from place to place, so that a mix-up shows.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; len];
    for (number, stretch) in bytes.chunks_mut(251).enumerate() {
        for (at, byte) in stretch.iter_mut().enumerate() {
            *byte = (at * 31 + number * 7) as u8;
        }
    }
    bytes
}

pub(super) async fn upload(blobs: &Blobs, key: &str, bytes: &[u8], piece: usize) -> (u64, String) {
    let mut staged = blobs.stage(key).await.unwrap();
    for chunk in bytes.chunks(piece) {
        staged.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let complete = staged.complete().await.unwrap();
    let mut summing = Summing::from(0);
    summing.update(bytes);
    assert_eq!(complete.sums, summing.finish());
    let told = (complete.size, complete.sha256.clone());
    blobs.publish(complete).await.unwrap();
    told
}

/// Waits for work that a drop left to somebody else.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    let ends = tokio::time::Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(tokio::time::Instant::now() < ends, "not within a minute");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
