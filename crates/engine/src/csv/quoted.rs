//! One record at a time through csv-core: quotes, the end of the text, records over the cap.
//!
//! csv-core takes text behind a closing quote as more of the cell. Then two stray quotes in two rows would make one valid
//! row of both and all between them; such a record ([`Format::misquoted`]) never gets to it.

use csv_core::{ReadFieldResult, ReadRecordResult, Reader, ReaderBuilder};

use super::records::{line_end, line_ends};

/// csv-core with its buffers. (Never cloned: a clone of csv-core 0.1's reader has lost its tables.)
#[derive(Debug)]
pub(super) struct Quoted {
    format: Format,
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// What the next record is. Lengths count from its first byte.
pub(super) enum Record<'a> {
    /// More bytes are needed to tell.
    Incomplete,
    /// An empty line.
    Empty {
        /// Where the next record begins.
        next: usize,
    },
    /// Its text, unquoted, now stands at its beginning.
    Cells {
        /// Where each cell ends in the text; it begins where the one before ends.
        ends: &'a [usize],
        /// The record's length as it came, its line end not counted.
        length: usize,
        /// Where the next record begins.
        next: usize,
        /// Physical lines it takes.
        lines: u64,
    },
    /// A quote opens and does not close before the cap, or the end, or closes where its cell does not end.
    Unclosed {
        /// End of the line that opens it.
        end: usize,
        /// Where the next line begins.
        next: usize,
        /// Physical lines until there.
        lines: u64,
    },
    /// Over the cap.
    TooLong {
        /// How much of it was looked at: its line ends behind that.
        skip: usize,
    },
}

impl Quoted {
    pub(super) fn new(delimiter: u8, quote: u8) -> Self {
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quote(quote)
            .build();
        let mut quoted = Self {
            format: Format { delimiter, quote },
            reader,
            text: Vec::new(),
            ends: vec![0; 64],
        };
        quoted.restart();
        quoted
    }

    /// Back to the start of a record.
    fn restart(&mut self) {
        self.reader.reset();
        // csv-core drops a byte order mark before the first byte it reads: let that be past.
        let _ = self.reader.read_record(b"\n", &mut [0], &mut [0]);
    }

    /// Cuts the first record off `rest`, which is not empty; `ended` when no byte follows `rest`.
    pub(super) fn record(&mut self, rest: &mut [u8], cap: usize, ended: bool) -> Record<'_> {
        if matches!(rest[0], b'\n' | b'\r') {
            return match line_end(rest, 0, ended) {
                Some(next) => Record::Empty { next },
                None => Record::Incomplete,
            };
        }
        // One byte over the cap, which may be the line end.
        let seen = rest.len().min(cap.saturating_add(1));
        if let Some(cell) = self.format.misquoted(&rest[..seen]) {
            return unclosed(rest, cell, seen, seen > cap, ended);
        }
        let scan = self.scan(&rest[..seen]);
        if let Some(used) = scan.record {
            // csv-core's bytes include the first byte of the line end.
            let length = used - 1;
            let Some(next) = line_end(rest, length, ended) else {
                return Record::Incomplete;
            };
            return self.accept(rest, &scan, length, next);
        }
        let over = seen > cap;
        if !over && !ended {
            self.restart();
            return Record::Incomplete;
        }
        let mut scan = scan;
        let is_closed = self.close(&mut scan);
        self.restart();
        match (is_closed, over) {
            (false, _) => {
                let cell = self.open_cell(&rest[..seen]);
                unclosed(rest, cell, seen, over, ended)
            }
            (true, true) => Record::TooLong { skip: seen },
            (true, false) => self.accept(rest, &scan, seen, seen),
        }
    }

    /// Feeds csv-core until the record or `input` ends.
    fn scan(&mut self, input: &[u8]) -> Scan {
        if self.text.len() <= input.len() {
            self.text.resize(input.len() + 1, 0);
        }
        let mut scan = Scan {
            record: None,
            text: 0,
            ends: 0,
        };
        let mut used = 0;
        while used < input.len() {
            let (result, read, written, ended) = self.reader.read_record(
                &input[used..],
                &mut self.text[scan.text..],
                &mut self.ends[scan.ends..],
            );
            used += read;
            scan.text += written;
            scan.ends += ended;
            match result {
                ReadRecordResult::Record => {
                    scan.record = Some(used);
                    break;
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                // The text buffer is longer than the input, and the input is never empty.
                ReadRecordResult::InputEmpty
                | ReadRecordResult::OutputFull
                | ReadRecordResult::End => {
                    break;
                }
            }
        }
        scan
    }

    /// Ends the record with a line end. False when that is no end to it: a quote is open.
    fn close(&mut self, scan: &mut Scan) -> bool {
        if scan.ends == self.ends.len() {
            self.ends.push(0);
        }
        let (text, ends) = (&mut self.text[scan.text..], &mut self.ends[scan.ends..]);
        let (result, _, _, ended) = self.reader.read_record(b"\n", text, ends);
        scan.ends += ended;
        result == ReadRecordResult::Record
    }

    fn accept(&mut self, rest: &mut [u8], scan: &Scan, length: usize, next: usize) -> Record<'_> {
        let lines = line_ends(&rest[..length]) + 1;
        rest[..scan.text].copy_from_slice(&self.text[..scan.text]);
        Record::Cells {
            ends: &self.ends[..scan.ends],
            length,
            next,
            lines,
        }
    }

    /// Where the cell begins that is not over at the end of `text`.
    fn open_cell(&mut self, text: &[u8]) -> usize {
        let mut cell = 0;
        let mut used = 0;
        while used < text.len() {
            let (result, read, _) = self.reader.read_field(&text[used..], &mut self.text);
            used += read;
            if matches!(result, ReadFieldResult::Field { .. }) {
                cell = used;
            }
        }
        self.restart();
        cell
    }
}

/// The record up to the end of the line in which `cell` begins, the one whose quote opens in vain.
fn unclosed(rest: &[u8], cell: usize, seen: usize, over: bool, ended: bool) -> Record<'static> {
    match memchr::memchr2(b'\n', b'\r', &rest[cell..seen]) {
        Some(at) => {
            let end = cell + at;
            match line_end(rest, end, ended) {
                Some(next) => Record::Unclosed {
                    end,
                    next,
                    lines: line_ends(&rest[..end]) + 1,
                },
                None => Record::Incomplete,
            }
        }
        // One line alone is over the cap: that says more than its open quote.
        None if over => Record::TooLong { skip: seen },
        None if !ended => Record::Incomplete,
        None => Record::Unclosed {
            end: seen,
            next: seen,
            lines: line_ends(&rest[..seen]) + 1,
        },
    }
}

/// What tells cells apart.
#[derive(Debug, Clone, Copy)]
struct Format {
    delimiter: u8,
    quote: u8,
}

impl Format {
    /// Where the first cell of the first record begins whose closing quote does not close it (`"5" pipe`). Blanks behind
    /// a quote are no text. `None` as well when `text` ends before that can be told.
    fn misquoted(self, text: &[u8]) -> Option<usize> {
        let mut cell = 0;
        loop {
            let behind = if *text.get(cell)? == self.quote {
                let mut behind = self.closing(text, cell + 1)? + 1;
                while self.delimiter != b' ' && text.get(behind) == Some(&b' ') {
                    behind += 1;
                }
                let next = *text.get(behind)?;
                if !(next == self.delimiter || matches!(next, b'\n' | b'\r')) {
                    return Some(cell);
                }
                behind
            } else {
                cell + memchr::memchr3(self.delimiter, b'\n', b'\r', &text[cell..])?
            };
            if text[behind] != self.delimiter {
                return None;
            }
            cell = behind + 1;
        }
    }

    /// The quote that closes the one before `from`. A doubled one is text.
    fn closing(self, text: &[u8], mut from: usize) -> Option<usize> {
        loop {
            let at = from + memchr::memchr(self.quote, &text[from..])?;
            if text.get(at + 1) != Some(&self.quote) {
                return Some(at);
            }
            from = at + 2;
        }
    }
}

/// How far csv-core came.
struct Scan {
    /// Bytes of the record with the first byte of its line end, when it ended.
    record: Option<usize>,
    /// Bytes in [`Quoted::text`].
    text: usize,
    /// Cells in [`Quoted::ends`].
    ends: usize,
}
