//! Tells how text is delimited, by its beginning.
//!
//! Each candidate reads the sample with the reader that will read the file; the one under which most
//! records are as wide as the first wins. The same bytes always give the same answer.

use filejobs_core::options::is_separator;
use filejobs_core::report::Dialect;
use filejobs_core::{Limits, Options};

use crate::batch::{RawBatch, RowKind};
use crate::csv::records::{Format, Records, Span};
use crate::source::Text;

/// Text that the answer is based on.
pub(crate) const SAMPLE_BYTES: usize = 64 * 1024;

/// Records of the sample that are compared.
const SAMPLE_ROWS: usize = 200;

/// What may stand between cells, the likelier first: a tie goes to the earlier.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How the text is delimited, and where its records begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Detected {
    /// Between cells.
    pub(crate) delimiter: u8,
    /// Around cells.
    pub(crate) quote: u8,
    /// What ends the first line.
    pub(crate) line_terminator: &'static str,
    /// Bytes of a `sep=` line before the records.
    pub(crate) preamble: usize,
}

impl Detected {
    /// As the report shows it.
    pub(crate) fn dialect(&self, text: &Text) -> Dialect {
        Dialect {
            delimiter: char::from(self.delimiter),
            quote_char: char::from(self.quote),
            line_terminator: self.line_terminator.to_owned(),
            encoding: text.encoding.name().to_owned(),
            bom: text.bom,
        }
    }
}

/// The dialect of the text that begins with `sample`, which is at most [`SAMPLE_BYTES`] long; `whole` when
/// nothing follows it.
pub(crate) fn detect(sample: &[u8], whole: bool, options: &Options, limits: &Limits) -> Detected {
    let preamble = Preamble::of(sample, options);
    let skipped = preamble.map_or(0, |p| p.bytes);
    let sample = Sample::of(&sample[skipped..], whole, limits);
    let ascii = |c: char| u8::try_from(c).ok();
    let known = options
        .delimiter
        .and_then(ascii)
        .or(preamble.map(|p| p.delimiter));
    let quote = options.quote.and_then(ascii).unwrap_or_else(|| {
        let delimiter = known.or_else(|| sample.delimiter(b'\'')).unwrap_or(b',');
        if sample.is_wrapped_in(b'\'', delimiter) {
            b'\''
        } else {
            b'"'
        }
    });
    Detected {
        delimiter: known
            .or_else(|| sample.delimiter(quote))
            .unwrap_or(DELIMITERS[0]),
        quote,
        line_terminator: sample.line_terminator(),
        preamble: skipped,
    }
}

/// A `sep=;` line, by which spreadsheet programs tell each other the delimiter.
#[derive(Debug, Clone, Copy)]
struct Preamble {
    delimiter: u8,
    /// Its length with its line end.
    bytes: usize,
}

impl Preamble {
    /// Takes what the `delimiter` option takes, but no quote: a line end behind `sep=` would be one otherwise.
    fn of(sample: &[u8], options: &Options) -> Option<Self> {
        let key = sample.get(..4)?;
        let delimiter = *sample.get(4)?;
        let character = char::from(delimiter);
        let quotes = matches!(character, '"' | '\'') || options.quote == Some(character);
        if !key.eq_ignore_ascii_case(b"sep=") || !is_separator(character) || quotes {
            return None;
        }
        let bytes = match sample.get(5..).unwrap_or_default() {
            [] => 5,
            [b'\r', b'\n', ..] => 7,
            [b'\r' | b'\n', ..] => 6,
            _ => return None,
        };
        Some(Self { delimiter, bytes })
    }
}

/// The beginning of the records.
struct Sample<'a> {
    text: &'a [u8],
    limits: Limits,
}

impl<'a> Sample<'a> {
    /// Leaves out empty lines before the records, and a last record that may not be all there.
    fn of(text: &'a [u8], whole: bool, limits: &Limits) -> Self {
        let start = text.iter().position(|b| !matches!(b, b'\r' | b'\n'));
        let text = &text[start.unwrap_or(text.len())..];
        let end = if whole {
            text.len()
        } else {
            memchr::memrchr2(b'\n', b'\r', text).unwrap_or(text.len())
        };
        Self {
            text: &text[..end],
            limits: Limits {
                // A cap says nothing about delimiters.
                columns: u32::MAX,
                ..limits.clone()
            },
        }
    }

    /// The delimiter that cuts most records as wide as the first, if any cuts at all.
    fn delimiter(&self, quote: u8) -> Option<u8> {
        let mut best: Option<(u8, Widths)> = None;
        for delimiter in DELIMITERS.into_iter().filter(|d| *d != quote) {
            let widths = self.widths(delimiter, quote);
            let better = best.as_ref().is_none_or(|(_, b)| widths.beats(b));
            if widths.cut_anything && better {
                best = Some((delimiter, widths));
            }
        }
        best.map(|(delimiter, _)| delimiter)
    }

    fn widths(&self, delimiter: u8, quote: u8) -> Widths {
        let span = Span {
            offset: 0,
            bytes: self.text.len() as u64,
            line: 1,
            row: 1,
        };
        let format = Format::new(delimiter, quote, &self.limits);
        let mut records = Records::new(self.text, format, span);
        let mut batch = RawBatch::default();
        let mut widths = Widths::default();
        // Memory cannot fail to be read, and no cap on columns is set.
        while widths.rows <= SAMPLE_ROWS
            && records.next_rows(&mut batch, SAMPLE_ROWS).unwrap_or(false)
        {
            for (i, row) in batch.rows.iter().enumerate() {
                // A record whose quotes do not fit has one cell, which speaks against the delimiter.
                if row.kind != RowKind::Blank {
                    widths.add(batch.row_cells(i).len());
                }
            }
        }
        widths
    }

    /// Whether cells stand between `quote`s: there are no double quotes, and most lines have cells that
    /// begin and cells that end with it.
    fn is_wrapped_in(&self, quote: u8, delimiter: u8) -> bool {
        if self.text.contains(&b'"') {
            return false;
        }
        let (opening, closing) = ([delimiter, quote], [quote, delimiter]);
        let (mut lines, mut wrapped) = (0, 0);
        for line in self.text.split(|b| matches!(b, b'\r' | b'\n')) {
            if line.is_empty() {
                continue;
            }
            let opens = line[0] == quote || memchr::memmem::find(line, &opening).is_some();
            let closes =
                line[line.len() - 1] == quote || memchr::memmem::find(line, &closing).is_some();
            lines += 1;
            wrapped += usize::from(line.len() > 1 && opens && closes);
        }
        wrapped * 2 > lines
    }

    fn line_terminator(&self) -> &'static str {
        match memchr::memchr2(b'\n', b'\r', self.text) {
            Some(at) if self.text[at] == b'\n' => "\n",
            Some(at) if self.text.get(at + 1) == Some(&b'\n') => "\r\n",
            Some(_) => "\r",
            None => "\n",
        }
    }
}

/// How wide the records are under one delimiter.
#[derive(Debug, Default)]
struct Widths {
    /// Cells of the first record.
    first: usize,
    /// Records after it.
    rows: usize,
    /// Those as wide as the first.
    same: usize,
    /// Whether the first has several cells, and any record after it, if there is one.
    cut_anything: bool,
}

impl Widths {
    fn add(&mut self, cells: usize) {
        if self.first == 0 {
            self.first = cells;
            self.cut_anything = cells > 1;
            return;
        }
        if self.rows == 0 {
            self.cut_anything = false;
        }
        self.rows += 1;
        self.same += usize::from(cells == self.first);
        self.cut_anything |= self.first > 1 && cells > 1;
    }

    /// A larger share of records as wide as the first; of equal shares, the wider first record.
    fn beats(&self, other: &Self) -> bool {
        let share = |mine: &Self, theirs: &Self| mine.same * theirs.rows.max(1);
        let (mine, theirs) = (share(self, other), share(other, self));
        mine > theirs || (mine == theirs && self.first > other.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delimiter, quote, line terminator, length of the `sep=` line.
    type Found = (char, char, &'static str, usize);

    fn found(sample: &[u8], options: &Options) -> Found {
        let detected = detect(sample, true, options, &Limits::default());
        (
            char::from(detected.delimiter),
            char::from(detected.quote),
            detected.line_terminator,
            detected.preamble,
        )
    }

    #[test]
    fn the_delimiter_that_cuts_records_alike_is_found() {
        let cases: &[(&[u8], char)] = &[
            (b"", ','),
            (b"id\n1\n2\n", ','),
            (b"id,name\n1,a\n", ','),
            (b"id;name\n1;a\n", ';'),
            (b"id\tname\n1\ta\n", '\t'),
            (b"id|name\n1|a\n", '|'),
            (b"id,name", ','),
            // Decimal commas, and text with commas.
            (b"id;price\n1;2,5\n2;3,25\n", ';'),
            (b"id;a,b;c\n1;2,5;3\n2;3;4\n", ';'),
            (b"id|text\n1|a, b, c\n2|d; e\n3|f, g\n", '|'),
            (b"\"id;x\",name\n\"1;1\",a\n", ','),
            // A label alone does not make a delimiter of what stands in it.
            (b"amount (net;gross)\n1\n2\n", ','),
            (b"name,notes (a;b)\nx,y;z\n", ','),
            // Ragged rows still share their delimiter.
            (b"a,b,c\n1,2\n1,2,3,4\n", ','),
            (b"a;b;c\n1;2\n1;2;3;4\n", ';'),
            (b"\n\r\n\nid;name\n1;a\n", ';'),
            (b"a;b\n\"1;2\n3;4\n5;6\n", ';'),
            (b"\"x\";\"y\"\n1;2,5\n2;3,5\n", ';'),
        ];
        for (sample, delimiter) in cases {
            let (found, ..) = found(sample, &Options::default());
            assert_eq!(found, *delimiter, "{}", sample.escape_ascii());
        }
    }

    #[test]
    fn quotes_line_ends_and_sep_lines_are_found() {
        let cases: &[(&[u8], Found)] = &[
            (b"'id','name'\n'1','a,b'\n", (',', '\'', "\n", 0)),
            (b"'id';'name'\n'1';'a;b'\n", (';', '\'', "\n", 0)),
            (b"'id','name'\n'1',\"a\"\n", (',', '"', "\n", 0)),
            (b"id,name\n1,'tis\n2,rock 'n' roll\n", (',', '"', "\n", 0)),
            (b"id,name\r\n1,a\n", (',', '"', "\r\n", 0)),
            (b"id,name\r1,a\r", (',', '"', "\r", 0)),
            (b"sep=;\r\nid,x;name\r\n", (';', '"', "\r\n", 7)),
            (b"SEP=|\nid\n", ('|', '"', "\n", 6)),
            (b"sep=,", (',', '"', "\n", 5)),
            (b"sep=,x\n1,2\n", (',', '"', "\n", 0)),
            (b"sep=\r\nid\r\n1\r\n", (',', '"', "\r\n", 0)),
            (b"sep=\n\nid\n1\n", (',', '"', "\n", 0)),
            (b"sep=\"\nid\n1\n", (',', '"', "\n", 0)),
            (b"sep=a\nid\n1\n", (',', '"', "\n", 0)),
        ];
        for (sample, expected) in cases {
            let found = found(sample, &Options::default());
            assert_eq!(found, *expected, "{}", sample.escape_ascii());
        }
    }

    #[test]
    fn what_the_sender_says_counts() {
        let options = Options {
            delimiter: Some(':'),
            quote: Some('~'),
            ..Options::default()
        };
        let sample = b"sep=;\nid;name\n1;a\n";
        assert_eq!(found(sample, &options), (':', '~', "\n", 6));
    }

    #[test]
    fn a_record_that_the_sample_cuts_off_does_not_count() {
        let mut sample = b"a;b\n1;2\n3,".to_vec();
        sample.extend([b','; 99]);
        let detected = detect(&sample, false, &Options::default(), &Limits::default());
        assert_eq!(detected.delimiter, b';');
    }
}
