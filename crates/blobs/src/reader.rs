//! Reading a blob here and there, from a blocking thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::{ObjectMeta, ObjectStore};
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch;

/// Bytes fetched at least in one request: reading a table's columns asks for many small pieces side by side.
const WINDOW: u64 = 1 << 20;

/// Bytes fetched when the end is asked for: a table's description lies there.
const TAIL: u64 = 64 << 10;

/// A blob that can be read at any place. Clones share what they have fetched.
#[derive(Debug, Clone)]
pub struct Reader {
    source: Source,
    size: u64,
}

#[derive(Debug, Clone)]
enum Source {
    File(Arc<File>),
    Object(Arc<Object>),
}

#[derive(Debug)]
struct Object {
    objects: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    runtime: Handle,
    window: Mutex<Window>,
}

/// What was fetched last.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn file(file: File, size: u64) -> Self {
        Self {
            source: Source::File(Arc::new(file)),
            size,
        }
    }

    pub(crate) fn object(objects: Arc<dyn ObjectStore>, meta: ObjectMeta) -> Self {
        Self {
            size: meta.size,
            source: Source::Object(Arc::new(Object {
                objects,
                meta,
                runtime: Handle::current(),
                window: Mutex::default(),
            })),
        }
    }

    /// The blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to `bytes` bytes from `at` on; fewer only at the end of the blob. Blocks: only on a thread that may.
    pub fn read_at(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let end = self.size.min(at.saturating_add(bytes as u64));
        if at >= end {
            return Ok(Bytes::new());
        }
        match &self.source {
            Source::File(file) => {
                let mut buffer = vec![0; (end - at) as usize];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }
            Source::Object(object) => object.read(at, end).map_err(io::Error::other),
        }
    }
}

impl Object {
    fn read(&self, at: u64, end: u64) -> Result<Bytes, Error> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = window.get(at, end) {
            return Ok(bytes);
        }
        let size = self.meta.size;
        let start = if end == size {
            at.min(size.saturating_sub(TAIL))
        } else {
            at
        };
        let stop = end.max(size.min(at.saturating_add(WINDOW)));
        let fetched = fetch::get(&*self.objects, &self.meta, start..stop);
        let bytes = self.runtime.block_on(fetched)?;
        *window = Window { start, bytes };
        Ok(window.get(at, end).unwrap_or_default())
    }
}

impl Window {
    fn get(&self, at: u64, end: u64) -> Option<Bytes> {
        let from = at.checked_sub(self.start)? as usize;
        let to = end.checked_sub(self.start)? as usize;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}
