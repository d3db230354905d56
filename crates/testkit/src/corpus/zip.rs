//! Zip archives by hand: what writers of archives take care not to produce.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// An entry as it is going to stand in the archive, true or not.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The name in its own header; that of the directory when absent.
    pub(super) local_name: Option<String>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: Vec<u8>,
    /// What it says that it inflates to.
    pub(super) size: u64,
    /// Stands in the directory with a header elsewhere, and has no bytes of its own.
    pub(super) borrowed_header: Option<u32>,
}

impl Entry {
    /// A sound one, deflated.
    pub(super) fn new(name: &str, content: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        Self {
            name: name.to_owned(),
            local_name: None,
            flags: 0,
            method: 8,
            crc: crc.sum(),
            packed: deflate(content),
            size: content.len() as u64,
            borrowed_header: None,
        }
    }

    /// A sound one, as it is.
    pub(super) fn stored(name: &str, content: &[u8]) -> Self {
        Self {
            method: 0,
            packed: content.to_vec(),
            ..Self::new(name, content)
        }
    }

    /// `before`, then `piece` so many `times`, then `after`: gigabytes in kilobytes. From half a
    /// gigabyte on its checksum is wrong: nobody may get as far as that.
    pub(super) fn repeated(
        name: &str,
        before: &[u8],
        (piece, times): (&[u8], usize),
        after: &[u8],
    ) -> Self {
        let mut packed = flushed(before);
        let middle = flushed(piece);
        for _ in 0..times {
            packed.extend_from_slice(&middle);
        }
        packed.extend(flushed(after));
        // An empty last block.
        packed.extend([3, 0]);
        let size = (before.len() + piece.len() * times + after.len()) as u64;
        let mut crc = Crc::new();
        crc.update(before);
        if size < 512 * 1024 * 1024 {
            (0..times).for_each(|_| crc.update(piece));
        }
        crc.update(after);
        Self {
            packed,
            size,
            crc: crc.sum(),
            ..Self::new(name, b"")
        }
    }
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing into a vector cannot fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// Deflated blocks that stand for themselves and end with a whole byte, so that they can be repeated.
fn flushed(content: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(content.len() + 1024);
    let done = compress.compress_vec(content, &mut out, FlushCompress::Full);
    debug_assert!(done.is_ok() && compress.total_in() == content.len() as u64);
    out
}

/// The archive of `entries`, in their order, with a directory that says so many `announced` entries.
pub(super) fn archive(entries: &[Entry], announced: Option<u16>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let header = match entry.borrowed_header {
            Some(place) => place,
            None => out.len() as u32,
        };
        let local_name = entry.local_name.as_ref().unwrap_or(&entry.name);
        let fields = |name: &str| {
            let mut fields = vec![20, 0];
            fields.extend(entry.flags.to_le_bytes());
            fields.extend(entry.method.to_le_bytes());
            fields.extend([0, 0, 0x21, 0]);
            fields.extend(entry.crc.to_le_bytes());
            fields.extend((entry.packed.len() as u32).to_le_bytes());
            fields.extend((entry.size as u32).to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0, 0]);
            fields
        };
        if entry.borrowed_header.is_none() {
            out.extend(b"PK\x03\x04");
            out.extend(fields(local_name));
            out.extend(local_name.as_bytes());
            out.extend(&entry.packed);
        }
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(fields(&entry.name));
        directory.extend([0; 10]);
        directory.extend(header.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let start = out.len() as u32;
    let count = announced.unwrap_or(entries.len() as u16).to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
