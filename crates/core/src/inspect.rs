//! Looks at a file while it comes: whether its first bytes are what it is said to be, and whether it grows too large.

use bytes::Bytes;

use crate::file::{Content, FileType, SNIFF_BYTES};

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has more bytes than it may.
    #[error("the file is too large")]
    TooLarge,
    /// It is something else than it is said to be.
    #[error("the file's content is {0}")]
    Content(Content),
}

/// Holds a file's first bytes back until they have told what it is, and counts all of them.
#[derive(Debug)]
pub struct Inspector {
    kind: FileType,
    head: Vec<u8>,
    sniffed: bool,
    left: u64,
}

impl Inspector {
    /// Of a file that is said to be of a kind and may have `most` bytes.
    #[must_use]
    pub fn new(kind: FileType, most: u64) -> Self {
        Self {
            kind,
            head: Vec::new(),
            sniffed: false,
            left: most,
        }
    }

    /// What it is said to be.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Counts a chunk and gives back what can be stored.
    pub fn take(&mut self, chunk: Bytes) -> Result<Bytes, Unfit> {
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or(Unfit::TooLarge)?;
        if self.sniffed {
            return Ok(chunk);
        }
        if self.head.is_empty() && chunk.len() >= SNIFF_BYTES {
            self.sniff(&chunk)?;
            return Ok(chunk);
        }
        self.head.extend_from_slice(&chunk);
        if self.head.len() < SNIFF_BYTES {
            return Ok(Bytes::new());
        }
        self.end()
    }

    /// The file has ended: gives back what was held.
    pub fn end(&mut self) -> Result<Bytes, Unfit> {
        let head = std::mem::take(&mut self.head);
        if !self.sniffed {
            self.sniff(&head)?;
        }
        Ok(Bytes::from(head))
    }

    fn sniff(&mut self, head: &[u8]) -> Result<(), Unfit> {
        self.sniffed = true;
        let content = Content::sniff(&head[..head.len().min(SNIFF_BYTES)]);
        if self.kind.fits(content) {
            Ok(())
        } else {
            Err(Unfit::Content(content))
        }
    }
}
