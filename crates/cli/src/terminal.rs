//! What people see: text that cannot deceive a terminal, tables, numbers, progress.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets};
use filejobs_core::file::is_invisible;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Writes `text` and a line end to standard output.
///
/// Its reader may go away (`filejobs list | head`): that is no error here and in the other functions that write, so
/// that a command comes to its verdict and its exit code all the same.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    taken(writeln!(io::stdout().lock(), "{text}"))?;
    Ok(())
}

/// Whether there was somebody to read what was written.
fn taken(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes `text` and a line end to standard error. Nobody may be there to read it, which `eprintln` takes for a defect.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a JSON value to standard output: indented for people, on one line for programs.
pub(crate) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    if io::stdout().is_terminal() {
        line(harmless_json(&serde_json::to_string_pretty(value)?))
    } else {
        line(serde_json::to_string(value)?)
    }
}

/// Writes a JSON value on one line of standard output.
pub(crate) fn json_line(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    if io::stdout().is_terminal() {
        line(harmless_json(&text))
    } else {
        line(text)
    }
}

/// JSON with its invisible characters escaped, as JSON has it; line ends are between its values only.
fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_invisible(c) {
            let mut units = [0; 2];
            for unit in &*c.encode_utf16(&mut units) {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Standard output for text that comes in pieces; on a terminal invisible characters but line ends and tabs are escaped.
#[derive(Debug)]
pub(crate) struct Output {
    escapes: bool,
    /// The first bytes of a character whose others have not come yet.
    begun: Vec<u8>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            escapes: io::stdout().is_terminal(),
            begun: Vec::new(),
        }
    }

    /// Writes a piece; `false` when nobody reads any more.
    pub(crate) fn print(&mut self, piece: &[u8]) -> io::Result<bool> {
        if self.escapes {
            let text = harmless(&mut self.begun, piece);
            taken(io::stdout().write_all(text.as_bytes()))
        } else {
            taken(io::stdout().write_all(piece))
        }
    }

    /// Writes what is left.
    pub(crate) fn end(self) -> io::Result<()> {
        let mut out = io::stdout();
        let rest = if self.begun.is_empty() {
            ""
        } else {
            "\u{fffd}"
        };
        taken(out.write_all(rest.as_bytes()).and_then(|()| out.flush()))?;
        Ok(())
    }
}

/// A piece of text with its invisible characters escaped, after what was `begun` before it, which becomes what it
/// begins itself.
fn harmless(begun: &mut Vec<u8>, piece: &[u8]) -> String {
    begun.extend_from_slice(piece);
    let bytes = std::mem::take(begun);
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        for c in chunk.valid().chars() {
            if !matches!(c, '\n' | '\t') && is_invisible(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        let rest = chunk.invalid();
        let unfinished = std::str::from_utf8(rest).is_err_and(|e| e.error_len().is_none());
        if chunks.peek().is_none() && unfinished {
            begun.extend_from_slice(rest);
        } else if !rest.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// `text` as it may be shown on a terminal: control and invisible characters escaped, cut to `max` characters.
///
/// File names and cells come from strangers; an escape sequence in one could rewrite what stands around it.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max * 4));
    for (i, c) in text.chars().enumerate() {
        if i + 1 == max && text.chars().nth(max).is_some() {
            shown.push('…');
            break;
        }
        if is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A number with a thin separator between its thousands: `1_234_567` as `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number without its fraction; nothing for what is no number or below zero.
#[expect(
    clippy::cast_sign_loss,
    reason = "`as` takes what is out of range to the nearest end, which is meant"
)]
pub(crate) fn whole(n: f64) -> u64 {
    n as u64
}

/// A number with its noun, in the plural where it must be: `1 row`, `2 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(n))
}

/// A size in the largest unit that leaves at least 1: `1.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A duration for people: `840 ms`, `3.2 s`, `4 min 10 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// A table without frames, its header underlined; as wide as the terminal allows, as wide as needed elsewhere.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let under_header = LineStyle::none().fill('─').junction('─');
    table.load_style(presets::NOTHING.header_separator(under_header));
    table.set_header(header.iter().map(Cell::new));
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(believable(table.width()));
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// The width of a terminal that reported `columns`. Some report none or 0, and one letter a line helps nobody.
fn believable(columns: Option<u16>) -> u16 {
    const USUAL: u16 = 80;
    const NARROWEST: u16 = 20;
    columns
        .filter(|columns| *columns >= NARROWEST)
        .unwrap_or(USUAL)
}

/// Writes a table to standard output.
pub(crate) fn print(table: &Table) -> io::Result<()> {
    line(table.trim_fmt())
}

/// A cell for a number.
pub(crate) fn number(n: u64) -> Cell {
    Cell::new(count(n)).set_alignment(CellAlignment::Right)
}

/// Names and values, one pair a line, the values in one column.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:<width$}  {value}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Progress on standard error: a bar on a terminal, now and then a line elsewhere, nothing when `quiet`.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_line: String,
}

impl Progress {
    /// A bar over bytes.
    pub(crate) fn bytes(total: u64, label: &str, quiet: bool) -> Self {
        Self::new(
            total,
            label,
            "{prefix} {wide_bar} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            quiet,
        )
    }

    /// A bar over percent, with a message behind it.
    pub(crate) fn percent(label: &str, quiet: bool) -> Self {
        Self::new(
            100,
            label,
            "{prefix} {wide_bar} {percent:>3} %  {msg}",
            quiet,
        )
    }

    fn new(total: u64, label: &str, template: &str, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label.to_owned());
            bar
        });
        Self {
            bar,
            quiet,
            last_line: String::new(),
        }
    }

    /// The bar itself, for callers that count within a stream.
    pub(crate) fn bar(&self) -> Option<ProgressBar> {
        self.bar.clone()
    }

    /// How far things are.
    pub(crate) fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Where things stand, with a sentence about it.
    pub(crate) fn set(&mut self, position: u64, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.set_position(position);
        }
    }

    /// Something worth a line where there is no bar; the same line is not repeated.
    pub(crate) fn tell(&mut self, text: String) {
        if self.bar.is_none() && !self.quiet && text != self.last_line {
            note(&text);
            self.last_line = text;
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_knows_no_width_has_the_usual_one() {
        let widths = [None, Some(0), Some(19), Some(20), Some(200)].map(believable);
        assert_eq!(widths, [80, 80, 80, 20, 200]);
    }

    #[test]
    fn strangers_text_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb", 80), "a\\u{1b}[2Jb");
        assert_eq!(shown("a\u{202e}b\nc", 80), "a\\u{202e}b\\nc");
        assert_eq!(shown("plain", 80), "plain");
    }

    #[test]
    fn json_for_a_terminal_means_the_same_and_cannot_steer_it() {
        let value = serde_json::json!({"a": "\u{9b}2J\u{202e}\u{e0041}é"});
        let text = harmless_json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(text, "{\n  \"a\": \"\\u009b2J\\u202e\\udb40\\udc41é\"\n}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn cells_for_a_terminal_cannot_steer_it() {
        let mut begun = Vec::new();
        let mut shown = |piece: &[u8]| harmless(&mut begun, piece);
        assert_eq!(shown(b"a\t\x1b[2J\n"), "a\t\\u{1b}[2J\n");
        // U+202E in two pieces.
        assert_eq!(shown(b"b\xe2\x80"), "b");
        assert_eq!(shown(b"\xaec"), "\\u{202e}c");
        assert_eq!(shown(b"\x9b2J\xff"), "\u{fffd}2J\u{fffd}");
    }

    #[test]
    fn only_a_reader_that_went_away_is_no_error() {
        let failed = |kind: ErrorKind| taken(Err(kind.into()));
        assert!(taken(Ok(())).unwrap());
        assert!(!failed(ErrorKind::BrokenPipe).unwrap());
        assert!(failed(ErrorKind::StorageFull).is_err());
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdef", 4), "abc…");
        assert_eq!(shown("ééééé", 3), "éé…");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(1_000, "row"), "1,000 rows");
        assert_eq!(duration(Duration::from_millis(840)), "840 ms");
        assert_eq!(duration(Duration::from_millis(3_200)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(250)), "4 min 10 s");
    }
}
