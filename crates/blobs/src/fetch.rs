//! Bringing a blob to where the engine can read it at any place.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

use crate::error::{Error, here};
use crate::folder::Folder;
use crate::staged::hex;

/// Bytes asked for in one request, and requests under way at a time: what one transfer holds in memory.
const RANGE: u64 = 2 << 20;
const RANGES_AT_ONCE: usize = 4;

const STEP: &str = "reading a blob";

/// A blob as a file.
#[derive(Debug)]
pub struct Fetched {
    /// Can be read at any place. Where only a part was wanted, the rest may be zeros.
    pub file: File,
    /// The blob's size in bytes.
    pub size: u64,
    /// SHA-256 of the blob in hexadecimal, taken from its bytes on their way. Absent where they lie here already or
    /// not all of them were brought: then they are checked by whoever reads them.
    pub sha256: Option<String>,
}

/// Opens a file of a local folder. One that is not there is told apart from a folder that is not.
pub(crate) fn open(folder: &Folder, path: &Path) -> io::Result<Option<Fetched>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return folder.stands().map(|()| None);
        }
        other => other?,
    };
    let size = file.metadata()?.len();
    Ok(Some(Fetched {
        file,
        size,
        sha256: None,
    }))
}

/// Brings an object, or a part of it, into a nameless file of `folder`. In several requests at a time that all see
/// the same version of it.
pub(crate) async fn download(
    objects: &Arc<dyn ObjectStore>,
    key: &Key,
    wanted: Option<Range<u64>>,
    folder: &Path,
) -> Result<Fetched, Error> {
    let meta = head(&**objects, key).await?;
    let is_whole = wanted.is_none();
    let Range { start, end } = wanted.unwrap_or(0..meta.size);
    let end = end.min(meta.size);
    let folder = folder.to_owned();
    let make = move || {
        let file = tempfile::tempfile_in(folder)?;
        file.set_len(meta.size)?;
        Ok(Sink {
            file,
            at: start,
            hash: Sha256::new(),
        })
    };
    let mut sink = here("making a file for a blob", make).await?;
    let ranges = stream::iter((start..end).step_by(RANGE as usize));
    let mut chunks = ranges
        .map(|at| {
            let (objects, meta) = (objects.clone(), meta.clone());
            async move { get(&*objects, &meta, at..end.min(at + RANGE)).await }
        })
        .buffered(RANGES_AT_ONCE)
        .boxed();
    while let Some(chunk) = chunks.try_next().await? {
        sink = here("writing a blob to a file", move || sink.write(&chunk)).await?;
    }
    Ok(Fetched {
        file: sink.file,
        size: meta.size,
        sha256: is_whole.then(|| hex(&sink.hash.finalize())),
    })
}

struct Sink {
    file: File,
    at: u64,
    hash: Sha256,
}

impl Sink {
    fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all_at(bytes, self.at)?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(self)
    }
}

/// Size and version of an object.
pub(crate) async fn head(objects: &dyn ObjectStore, key: &Key) -> Result<ObjectMeta, Error> {
    let head = objects.head(key).await;
    match head.map_err(|e| Error::object("looking at a blob", e)) {
        // An answer without a body does not say whether the object is missing or its whole bucket.
        Err(Error::NotFound) => match objects.get(key).await {
            Ok(found) => Ok(found.meta),
            Err(error) => Err(Error::object("looking at a blob", error)),
        },
        other => other,
    }
}

/// Some bytes of the version of an object that `meta` describes.
pub(crate) async fn get(
    objects: &dyn ObjectStore,
    meta: &ObjectMeta,
    range: Range<u64>,
) -> Result<Bytes, Error> {
    let wanted = range.end - range.start;
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        if_match: meta.e_tag.clone(),
        ..GetOptions::default()
    };
    let found = objects.get_opts(&meta.location, options).await;
    let found = found.map_err(|e| Error::object(STEP, e))?;
    let bytes = found.bytes().await.map_err(|e| Error::object(STEP, e))?;
    if bytes.len() as u64 == wanted {
        Ok(bytes)
    } else {
        Err(Error::storage(STEP, "it ended early"))
    }
}

/// The bytes of `range` in chunks, which end with an error when fewer came: a proxy may frame a body anew that was cut
/// off, and what is missing shows by its length only.
pub(crate) fn whole(
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, Error>> {
    stream::try_unfold((chunks, range), |(mut chunks, left)| async move {
        let chunk = chunks.try_next().await;
        match chunk.map_err(|e| Error::object(STEP, e))? {
            Some(chunk) => {
                let left = left.start + chunk.len() as u64..left.end;
                Ok(Some((chunk, (chunks, left))))
            }
            None if left.is_empty() => Ok(None),
            None => Err(Error::storage(STEP, "it ended early")),
        }
    })
    .boxed()
}
