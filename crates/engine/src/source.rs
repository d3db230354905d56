//! The bytes of the file as text that may be cut: where it begins, where it ends, how it is encoded.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};

use crate::encoding::{self, Detected};
use crate::reader::ReadError;

/// Read at a time when the whole file is looked at.
const CHUNK: usize = 256 * 1024;

/// A file that can be read at any place, by several readers at once.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: Arc<File>,
    bytes: u64,
}

impl Source {
    /// Takes the input; what cannot be read twice (a pipe) is first copied to a nameless file in `scratch`.
    pub(crate) fn new(input: File, scratch: &Path) -> Result<Self, ReadError> {
        let metadata = input.metadata().map_err(ReadError::Read)?;
        if metadata.is_file() {
            return Ok(Self {
                file: Arc::new(input),
                bytes: metadata.len(),
            });
        }
        let mut spool = Spool::new(scratch)?;
        let mut input = input;
        let mut chunk = vec![0; CHUNK];
        loop {
            match input.read(&mut chunk) {
                Ok(0) => return spool.finish(),
                Ok(n) => spool.write(&chunk[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ReadError::Read(e)),
            }
        }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from `start` on, up to `end`.
    pub(crate) fn range(&self, start: u64, end: u64) -> Range {
        Range {
            file: Arc::clone(&self.file),
            at: start,
            end: end.min(self.bytes),
        }
    }

    /// Up to `bytes` bytes from `start` on.
    pub(crate) fn head(&self, start: u64, bytes: usize) -> Result<Vec<u8>, ReadError> {
        let mut head = Vec::new();
        self.range(start, start.saturating_add(bytes as u64))
            .read_to_end(&mut head)
            .map_err(ReadError::Read)?;
        Ok(head)
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// One past the last byte that is no line end; `start` when there is none.
    fn end_of_content(&self, start: u64) -> Result<u64, ReadError> {
        let mut end = self.bytes;
        let mut chunk = vec![0; CHUNK];
        while end > start {
            let from = end.saturating_sub(CHUNK as u64).max(start);
            let part = &mut chunk[..(end - from) as usize];
            self.file
                .read_exact_at(part, from)
                .map_err(ReadError::Read)?;
            if let Some(last) = part.iter().rposition(|b| !matches!(b, b'\r' | b'\n')) {
                return Ok(from + last as u64 + 1);
            }
            end = from;
        }
        Ok(start)
    }
}

/// A part of a file, read at its own pace whatever others do with the file.
#[derive(Debug)]
pub(crate) struct Range {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (self.end - self.at.min(self.end)).min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A file as text: UTF-8, or as near to it as it comes.
#[derive(Debug)]
pub(crate) struct Text {
    /// Where the text lies: the source itself, or its transcoded copy.
    pub(crate) source: Source,
    /// First byte after a byte order mark.
    pub(crate) start: u64,
    /// One past the last byte that is no line end: empty lines at the very end do not count.
    pub(crate) end: u64,
    /// How the file was encoded.
    pub(crate) encoding: &'static Encoding,
    /// Whether a byte order mark was there.
    pub(crate) bom: bool,
    /// Whether `source` is a transcoded copy, whose offsets are not those of the upload.
    pub(crate) transcoded: bool,
}

impl Text {
    /// Finds out how `source` is encoded, `wanted` being what its sender says, and makes UTF-8 of it.
    pub(crate) fn open(
        source: Source,
        wanted: Option<&str>,
        scratch: &Path,
    ) -> Result<Self, ReadError> {
        let detected = encoding::detect(&source, wanted)?;
        Self::with(source, &detected, scratch)
    }

    /// The same without a look at the whole file, for an encoding that is known.
    pub(crate) fn with(
        source: Source,
        detected: &Detected,
        scratch: &Path,
    ) -> Result<Self, ReadError> {
        let transcoded = detected.encoding != UTF_8;
        let (source, start) = if transcoded {
            (encoding::transcode(&source, detected, scratch)?, 0)
        } else {
            (source, detected.bom_bytes)
        };
        Ok(Self {
            end: source.end_of_content(start)?,
            source,
            start,
            encoding: detected.encoding,
            bom: detected.bom_bytes > 0,
            transcoded,
        })
    }

    /// The text between two places of it.
    pub(crate) fn range(&self, start: u64, end: u64) -> Range {
        self.source.range(start, end)
    }
}

/// A nameless file that vanishes with the process.
#[derive(Debug)]
pub(crate) struct Spool {
    file: BufWriter<File>,
    bytes: u64,
}

impl Spool {
    pub(crate) fn new(scratch: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile_in(scratch).map_err(ReadError::Scratch)?),
            bytes: 0,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.file.write_all(bytes).map_err(ReadError::Scratch)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Source, ReadError> {
        let file = self
            .file
            .into_inner()
            .map_err(|e| ReadError::Scratch(e.into_error()))?;
        Ok(Source {
            file: Arc::new(file),
            bytes: self.bytes,
        })
    }
}
