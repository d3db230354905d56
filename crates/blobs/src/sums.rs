//! Checksums block by block: taken of an upload as it comes, compared by whoever reads the file or a part of it.
//!
//! SHA-256 says what a file is, and takes a tenth of the time that checking its rows takes. XXH3 takes a hundredth, and
//! is as good as any against what happens to disks, memory and wires. A reader of some blocks need not read the rest.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// Bytes of a block, but for the last of a file.
const BLOCK: u64 = 1 << 20;

/// Blocks whose checksums are kept with a task, which is 16 GiB; larger files are compared by their SHA-256.
const BLOCKS_MAX: usize = 16 * 1024;

/// The name under which checksums stand with a task.
const FIELD: &str = "sums";

/// XXH3 of consecutive blocks of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The number of the first block.
    first: u64,
    sums: Vec<u64>,
}

impl Sums {
    /// Those of the blocks in which these bytes lie.
    #[must_use]
    pub fn around(&self, bytes: &Range<u64>) -> Self {
        let from = (bytes.start / BLOCK).clamp(self.first, self.end());
        let to = bytes.end.div_ceil(BLOCK).clamp(from, self.end());
        let sums = (from - self.first) as usize..(to - self.first) as usize;
        Self {
            first: from,
            sums: self.sums.get(sums).unwrap_or_default().to_vec(),
        }
    }

    fn end(&self) -> u64 {
        self.first + self.sums.len() as u64
    }

    /// The bytes of the blocks in a file of `size` bytes.
    #[must_use]
    pub fn bytes(&self, size: u64) -> Range<u64> {
        self.first * BLOCK..(self.end() * BLOCK).min(size)
    }

    /// As they stand with the task that reads the file; null for a file that is too large.
    #[must_use]
    pub fn to_task(&self) -> serde_json::Value {
        if self.sums.len() > BLOCKS_MAX {
            return serde_json::Value::Null;
        }
        serde_json::json!({ FIELD: self })
    }

    /// Those that stand with a task, when there are any.
    #[must_use]
    pub fn of_task(task: &serde_json::Value) -> Option<Self> {
        Self::deserialize(task.get(FIELD)?).ok()
    }
}

/// Takes checksums of bytes that come one after the other.
#[derive(Clone)]
pub struct Summing {
    sums: Sums,
    block: Box<Xxh3Default>,
    /// Bytes of the block so far.
    filled: u64,
}

impl fmt::Debug for Summing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summing")
            .field("sums", &self.sums)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl Summing {
    /// Begins at a byte where a block begins.
    #[must_use]
    pub fn from(start: u64) -> Self {
        Self {
            sums: Sums {
                first: start / BLOCK,
                sums: Vec::new(),
            },
            block: Box::default(),
            filled: 0,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.update(now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.sums.sums.push(self.block.digest());
        self.block.reset();
        self.filled = 0;
    }

    /// The checksums of all that came.
    #[must_use]
    pub fn finish(mut self) -> Sums {
        if self.filled > 0 {
            self.end_block();
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 3 * BLOCK + 5;

    fn file() -> Vec<u8> {
        (0..SIZE).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    fn sums(file: &[u8], bytes: Range<u64>) -> Sums {
        let mut summing = Summing::from(bytes.start);
        let end = bytes.end.min(file.len() as u64);
        let part = file.get(bytes.start as usize..end as usize);
        summing.update(part.unwrap_or_default());
        summing.finish()
    }

    #[test]
    fn checksums_do_not_depend_on_the_pieces_in_which_bytes_come() {
        let file = file();
        let whole = sums(&file, 0..SIZE);
        for piece in [1_000, 65_536, BLOCK as usize, 3_000_000] {
            let mut summing = Summing::from(0);
            for bytes in file.chunks(piece) {
                summing.update(bytes);
            }
            assert_eq!(summing.finish(), whole, "{piece}");
        }
        assert_eq!(whole.sums.len(), 4);
        assert_eq!(whole.sums[3], xxhash_rust::xxh3::xxh3_64(&file[3 << 20..]));
    }

    #[test]
    fn a_part_compares_the_blocks_that_it_lies_in_and_no_others() {
        let whole = sums(&file(), 0..SIZE);
        let table = [
            (0..1, 0..BLOCK),
            (0..BLOCK, 0..BLOCK),
            (BLOCK - 1..BLOCK + 1, 0..2 * BLOCK),
            (2 * BLOCK..SIZE, 2 * BLOCK..SIZE),
            (3 * BLOCK + 1..3 * BLOCK + 2, 3 * BLOCK..SIZE),
        ];
        for (part, blocks) in table {
            let around = whole.around(&part);
            assert_eq!(around.bytes(SIZE), blocks, "{part:?}");
            assert_eq!(sums(&file(), blocks.clone()), around);
            for place in [0, BLOCK - 1, BLOCK, 2 * BLOCK, SIZE - 1] {
                let mut damaged = file();
                damaged[place as usize] ^= 1;
                let same = sums(&damaged, blocks.clone()) == around;
                assert_eq!(same, !blocks.contains(&place), "{part:?} {place}");
            }
        }
        assert_eq!(whole.around(&(SIZE..SIZE)).bytes(SIZE), 3 * BLOCK..SIZE);
        assert_eq!(sums(&[], 0..0).around(&(0..0)).bytes(0), 0..0);
    }

    #[test]
    fn a_file_that_became_shorter_is_another() {
        let whole = sums(&file(), 0..SIZE);
        for size in [SIZE - 1, 3 * BLOCK, 5, 0] {
            let short = &file()[..size as usize];
            assert_ne!(sums(short, 0..SIZE), whole, "{size}");
        }
    }

    #[test]
    fn checksums_come_back_from_a_task() {
        let whole = sums(&file(), 0..SIZE);
        assert_eq!(Sums::of_task(&whole.to_task()), Some(whole.clone()));
        for without in [
            serde_json::Value::Null,
            serde_json::json!({}),
            serde_json::json!({ FIELD: "x" }),
        ] {
            assert_eq!(Sums::of_task(&without), None);
        }
        let huge = Sums {
            first: 0,
            sums: vec![u64::MAX; BLOCKS_MAX + 1],
        };
        assert_eq!(Sums::of_task(&huge.to_task()), None);
    }
}
