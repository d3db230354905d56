//! The sidecar of a part of valid rows: which row of the file each row of the part was.
//!
//! `FJR1`, the first row's number, then runs: valid rows, rows skipped after them, over and over. All
//! numbers are LEB128 varints, so that a part of a million rows with every twentieth rejected takes 100 kB.

/// The first bytes of a sidecar.
const MAGIC: &[u8; 4] = b"FJR1";

/// Builds a sidecar.
#[derive(Debug, Clone)]
pub struct RowRunsWriter {
    bytes: Vec<u8>,
    /// Number of the row after the last one told of; `None` before the first.
    next: Option<u64>,
    valid: u64,
}

impl Default for RowRunsWriter {
    fn default() -> Self {
        Self {
            bytes: MAGIC.to_vec(),
            next: None,
            valid: 0,
        }
    }
}

impl RowRunsWriter {
    /// A sidecar without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `valid` rows from row number `first` on, which are the next rows of the part. Row numbers
    /// ascend; those between this run and the one before are skipped.
    pub fn push(&mut self, first: u64, valid: u64) {
        if valid == 0 {
            return;
        }
        match self.next {
            None => push_varint(&mut self.bytes, first),
            Some(next) if next == first => {}
            Some(next) => {
                push_varint(&mut self.bytes, self.valid);
                push_varint(&mut self.bytes, first.saturating_sub(next));
                self.valid = 0;
            }
        }
        self.valid += valid;
        self.next = Some(first + valid);
    }

    /// The finished sidecar.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.valid > 0 {
            push_varint(&mut self.bytes, self.valid);
        }
        self.bytes
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A sidecar that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row numbers of a part are damaged")]
pub struct Damaged;

/// Reads a sidecar.
#[derive(Debug, Clone, Copy)]
pub struct RowRuns<'a> {
    runs: &'a [u8],
}

impl<'a> RowRuns<'a> {
    /// Over the bytes of a `.rows` file.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let runs = bytes.strip_prefix(MAGIC.as_slice()).ok_or(Damaged)?;
        Ok(Self { runs })
    }

    /// The numbers of the part's rows from `offset` on: reads past the runs before it (some nanoseconds
    /// each), then counts. Ends after the last row, or where the sidecar is damaged.
    #[must_use]
    pub fn from(&self, offset: u64) -> RowNumbers<'a> {
        let mut numbers = RowNumbers {
            runs: self.runs,
            next: 0,
            left: 0,
        };
        let Some(first) = varint(&mut numbers.runs) else {
            return numbers;
        };
        numbers.next = first;
        numbers.left = varint(&mut numbers.runs).unwrap_or(0);
        let mut skip = offset;
        while skip >= numbers.left {
            skip -= numbers.left;
            numbers.next = numbers.next.saturating_add(numbers.left);
            numbers.left = 0;
            if !numbers.advance() {
                return numbers;
            }
        }
        numbers.next = numbers.next.saturating_add(skip);
        numbers.left -= skip;
        numbers
    }
}

/// Row numbers in ascending order: see [`RowRuns::from`].
#[derive(Debug, Clone)]
pub struct RowNumbers<'a> {
    runs: &'a [u8],
    next: u64,
    left: u64,
}

impl RowNumbers<'_> {
    /// Goes to the next run; false at the end.
    fn advance(&mut self) -> bool {
        let (Some(skipped), Some(valid)) = (varint(&mut self.runs), varint(&mut self.runs)) else {
            return false;
        };
        self.next = self.next.saturating_add(skipped);
        self.left = valid;
        valid > 0
    }
}

impl Iterator for RowNumbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.left == 0 && !self.advance() {
            return None;
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        self.left -= 1;
        Some(number)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_offset_leads_to_its_row(
            first in 1u64..1 << 40,
            runs in proptest::collection::vec((0u64..300, 0u64..300), 0..40),
            offset in 0u64..4_000,
        ) {
            let mut writer = RowRunsWriter::new();
            let mut rows = Vec::new();
            let mut at = first;
            for (valid, skipped) in runs {
                writer.push(at, valid);
                rows.extend(at..at + valid);
                at += valid + skipped;
            }
            let bytes = writer.finish();
            let read: Vec<u64> = RowRuns::new(&bytes).unwrap().from(offset).collect();
            let expected: Vec<u64> = rows.into_iter().skip(offset as usize).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn damaged_bytes_end_the_rows(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = [MAGIC.as_slice(), &tail].concat();
            let rows = RowRuns::new(&bytes).unwrap();
            prop_assert!(rows.from(5).take(100).count() <= 100);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(RowRuns::new(b"PAR1").err(), Some(Damaged));
    }

    #[test]
    fn runs_that_touch_are_one() {
        let mut writer = RowRunsWriter::new();
        writer.push(1, 10);
        writer.push(11, 5);
        writer.push(17, 1);
        assert_eq!(writer.finish(), b"FJR1\x01\x0f\x01\x01");
    }
}
