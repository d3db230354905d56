//! A part of the results as the library that reads Parquet wants it, wherever it lies.

use std::io::{self, BufReader, Read};

use bytes::Bytes;
use filejobs_blobs::{Blobs, Reader};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use crate::download::BodyError;

/// A stored part, read here and there on a blocking thread.
#[derive(Debug)]
pub(super) struct PartFile(Reader);

impl PartFile {
    /// Opens a part. Only on a blocking thread.
    pub(super) fn open(runtime: &Handle, blobs: &Blobs, key: &str) -> Result<Self, BodyError> {
        Ok(Self(runtime.block_on(blobs.reader(key))?))
    }
}

impl Length for PartFile {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for PartFile {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(From {
            reader: self.0.clone(),
            at: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.read_at(start, length)?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}

/// Reads on from a place.
#[derive(Debug)]
pub(super) struct From {
    reader: Reader,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read_at(self.at, buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}
