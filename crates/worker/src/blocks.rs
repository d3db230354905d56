//! What a task is checked by, and the look at a file that finds it out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use filejobs_blobs::{Summing, Sums};
use filejobs_engine::task::Piece;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at a time: they stay in the processor's cache until they are hashed.
const CHUNK: usize = 256 * 1024;

/// A piece as it stands with its task: what the engine has to know, and what it is checked by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedPiece {
    #[serde(flatten)]
    pub(crate) piece: Piece,
    /// Of the blocks that the piece lies in, when its places are those of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sums: Option<Sums>,
    /// SHA-256 of the list of repeated keys, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repeats_sha256: Option<String>,
}

impl PlannedPiece {
    /// `sums` are those of the whole file.
    pub(crate) fn new(piece: Piece, sums: Option<&Sums>, repeats_sha256: Option<String>) -> Self {
        Self {
            sums: sums.map(|sums| sums.around(&(piece.start..piece.end))),
            piece,
            repeats_sha256,
        }
    }
}

/// What a file turned out to be, as far as that was looked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: Option<String>,
    pub(crate) sums: Option<Sums>,
}

/// What to find out about a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    /// The bytes: from where a block begins.
    pub(crate) bytes: Range<u64>,
    /// Whether their SHA-256 is wanted.
    pub(crate) sha256: bool,
    /// Whether the checksums of their blocks are wanted.
    pub(crate) sums: bool,
}

impl Look {
    /// Reads the bytes. `None` when nobody wants to know any more.
    pub(crate) fn run(&self, file: &File, unwanted: &AtomicBool) -> io::Result<Option<Seen>> {
        let mut hash = self.sha256.then(Sha256::new);
        let mut sums = self.sums.then(|| Summing::from(self.bytes.start));
        let mut buffer = vec![0; CHUNK];
        let mut at = self.bytes.start;
        while at < self.bytes.end {
            if unwanted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let wanted = buffer.len().min((self.bytes.end - at) as usize);
            let read = match file.read_at(&mut buffer[..wanted], at) {
                // Shorter than it was: another file.
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &buffer[..read];
            if let Some(hash) = &mut hash {
                hash.update(bytes);
            }
            if let Some(sums) = &mut sums {
                sums.update(bytes);
            }
            at += read as u64;
        }
        Ok(Some(Seen {
            sha256: hash.map(|hash| filejobs_blobs::hex(&hash.finalize())),
            sums: sums.map(Summing::finish),
        }))
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let look = Look {
        bytes: 0..file.metadata()?.len(),
        sha256: true,
        sums: false,
    };
    let seen = look.run(&file, &AtomicBool::new(false))?;
    Ok(seen.and_then(|seen| seen.sha256).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(file: &File, bytes: Range<u64>) -> Seen {
        let look = Look {
            bytes,
            sha256: true,
            sums: true,
        };
        let seen = look.run(file, &AtomicBool::new(false)).unwrap();
        seen.expect("it was wanted")
    }

    #[test]
    fn a_look_sees_what_was_taken_when_the_file_came() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let mut summing = Summing::from(0);
        summing.update(&bytes);
        let seen = look(&file, 0..bytes.len() as u64);
        assert_eq!(seen.sums, Some(summing.finish()));
        let sha256 = filejobs_blobs::hex(&Sha256::digest(&bytes));
        assert_eq!(seen.sha256, Some(sha256));
        let longer = look(&file, 0..bytes.len() as u64 + 1);
        assert_eq!(longer, seen);
    }

    #[test]
    fn a_look_that_nobody_wants_ends() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        let look = Look {
            bytes: 0..1 << 30,
            sha256: true,
            sums: false,
        };
        assert_eq!(look.run(&file, &AtomicBool::new(true)).unwrap(), None);
    }

    #[test]
    fn a_planned_piece_is_understood_by_those_who_know_pieces_only() {
        let piece = Piece {
            index: 1,
            start: 5,
            end: 10,
            first_row: 2,
            first_line: 3,
            repeats: None,
        };
        let mut summing = Summing::from(0);
        summing.update(&[7; 20]);
        let whole = summing.finish();
        let planned = PlannedPiece::new(piece.clone(), Some(&whole), Some("00".to_owned()));
        let stored = serde_json::to_value(&planned).unwrap();
        let read: PlannedPiece = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(read, planned);
        assert_eq!(serde_json::from_value::<Piece>(stored).unwrap(), piece);
        let old = serde_json::to_value(&piece).unwrap();
        let read: PlannedPiece = serde_json::from_value(old).unwrap();
        assert_eq!((read.piece, read.sums), (piece, None));
    }
}
