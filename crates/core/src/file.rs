//! What a file is called and what it seems to hold, before anything parses it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of table that the engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// Delimited text.
    Csv,
    /// Office Open XML workbook.
    Xlsx,
    /// Excel 97–2003 workbook.
    Xls,
    /// Binary Office workbook; `filejobs check` only.
    Xlsb,
    /// OpenDocument spreadsheet; `filejobs check` only.
    Ods,
}

impl FileType {
    /// The type that the extension names, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "xlsx" => Some(Self::Xlsx),
            "xls" => Some(Self::Xls),
            "xlsb" => Some(Self::Xlsb),
            "ods" => Some(Self::Ods),
            _ => None,
        }
    }

    /// The extension without its dot.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Xls => "xls",
            Self::Xlsb => "xlsb",
            Self::Ods => "ods",
        }
    }

    /// Whether the service takes it; `filejobs check` takes all.
    #[must_use]
    pub fn is_served(self) -> bool {
        matches!(self, Self::Csv | Self::Xlsx | Self::Xls)
    }

    /// Whether content that looks like `content` can be a file of this type.
    #[must_use]
    pub fn fits(self, content: Content) -> bool {
        match self {
            Self::Csv => matches!(content, Content::Text | Content::Empty),
            Self::Xlsx | Self::Xlsb => {
                matches!(content, Content::Zip | Content::Ole | Content::Empty)
            }
            Self::Xls => matches!(content, Content::Ole | Content::Empty),
            Self::Ods => matches!(
                content,
                Content::OpenDocument | Content::Zip | Content::Empty
            ),
        }
    }
}

/// What the first bytes of a file look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// No bytes at all.
    Empty,
    /// Text in some encoding.
    Text,
    /// A zip archive: XLSX, XLSB and much else.
    Zip,
    /// A zip archive that calls itself an OpenDocument file.
    OpenDocument,
    /// An OLE compound file: XLS, and XLSX under a password.
    Ole,
    /// A web page.
    Html,
    /// A vector image.
    Svg,
    /// Some other known binary format, by name.
    Known(&'static str),
    /// Bytes that are no text and no format we know.
    Binary,
}

/// Bytes that [`Content::sniff`] wants to see; fewer are fine for shorter files.
pub const SNIFF_BYTES: usize = 4096;

impl Content {
    /// Looks at the first [`SNIFF_BYTES`] of a file.
    #[must_use]
    pub fn sniff(head: &[u8]) -> Self {
        const MAGIC: &[(&[u8], &str)] = &[
            (b"\x89PNG\r\n\x1a\n", "PNG image"),
            (b"\xff\xd8\xff", "JPEG image"),
            (b"GIF87a", "GIF image"),
            (b"GIF89a", "GIF image"),
            (b"%PDF-", "PDF document"),
            (b"\x7fELF", "ELF program"),
            (b"MZ\x90\x00", "Windows program"),
            (b"\x1f\x8b", "gzip archive"),
            (b"BZh", "bzip2 archive"),
            (b"\xfd7zXZ\x00", "xz archive"),
            (b"7z\xbc\xaf\x27\x1c", "7z archive"),
            (b"Rar!\x1a\x07", "RAR archive"),
            (b"\x28\xb5\x2f\xfd", "zstd archive"),
            (b"PAR1", "Parquet file"),
            (b"SQLite format 3\x00", "SQLite database"),
            (b"{\\rtf", "RTF document"),
        ];
        if head.is_empty() {
            return Self::Empty;
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            let marked = b"mimetypeapplication/vnd.oasis.opendocument";
            return if head.get(30..30 + marked.len()) == Some(marked) {
                Self::OpenDocument
            } else {
                Self::Zip
            };
        }
        if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
            return Self::Ole;
        }
        if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Known(name);
        }
        if let Some(markup) = Self::markup(head) {
            return markup;
        }
        if Self::is_text(head) {
            Self::Text
        } else {
            Self::Binary
        }
    }

    /// HTML and SVG are text that no one means as a table.
    fn markup(head: &[u8]) -> Option<Self> {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let text: String = head
            .iter()
            .take(1024)
            .map(|b| char::from(b.to_ascii_lowercase()))
            .collect();
        let mut text = text.trim_start();
        if let Some(rest) = text.strip_prefix("<?xml") {
            text = rest.split_once("?>")?.1.trim_start();
        }
        while let Some(rest) = text.strip_prefix("<!--") {
            text = rest.split_once("-->")?.1.trim_start();
        }
        if text.starts_with("<svg") || text.starts_with("<!doctype svg") {
            return Some(Self::Svg);
        }
        ["<!doctype html", "<html", "<head", "<body"]
            .iter()
            .any(|tag| text.starts_with(tag))
            .then_some(Self::Html)
    }

    /// UTF-16 has a NUL in every other byte of Latin text; other text has hardly any control characters.
    fn is_text(head: &[u8]) -> bool {
        if head.starts_with(b"\xff\xfe")
            || head.starts_with(b"\xfe\xff")
            || head.starts_with(b"\xef\xbb\xbf")
        {
            return true;
        }
        let nuls_at = |parity: usize| {
            head.iter()
                .skip(parity)
                .step_by(2)
                .filter(|b| **b == 0)
                .count()
        };
        let (even, odd) = (nuls_at(0), nuls_at(1));
        let half = head.len() / 2;
        if half > 0 && (even.min(odd) * 20 <= half) && (even.max(odd) * 2 >= half) {
            return true;
        }
        let odd_controls = head
            .iter()
            .filter(|b| {
                b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1a)
            })
            .count();
        // A few stray NULs in a table are findings, not another format.
        odd_controls * 10 <= head.len()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::Text => "text",
            Self::Zip => "a zip archive",
            Self::OpenDocument => "an OpenDocument file",
            Self::Ole => "an OLE compound file (Excel 97-2003, or a workbook under a password)",
            Self::Html => "a web page (HTML)",
            Self::Svg => "a vector image (SVG)",
            Self::Known(name) => return write!(f, "a {name}"),
            Self::Binary => "binary data of an unknown kind",
        })
    }
}

/// A file's name as its sender gave it, without folders, cut to a length, with nothing that could
/// deceive a reader or a shell: see [`FileName::new`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileName(String);

impl FileName {
    /// Takes the last path component (either slash), writes control, bidirectional and other invisible
    /// characters as `\u{…}`, and cuts the middle so that the extension survives.
    #[must_use]
    pub fn new(raw: &str, max_chars: usize) -> Self {
        let last = raw.rsplit(['/', '\\']).next().unwrap_or_default().trim();
        let mut shown = String::with_capacity(last.len());
        for c in last.chars() {
            if is_invisible(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        let count = shown.chars().count();
        if count > max_chars {
            let extension: String = match shown.rsplit_once('.') {
                Some((_, e)) if e.chars().count() < 10 => format!(".{e}"),
                _ => String::new(),
            };
            let keep = max_chars.saturating_sub(extension.chars().count());
            shown = shown.chars().take(keep).chain(extension.chars()).collect();
        }
        if shown.is_empty() || shown == "." || shown == ".." {
            "unnamed".clone_into(&mut shown);
        }
        Self(shown)
    }

    /// The name as it may be shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it may stand in a path or an object key: ASCII letters, digits, `.`, `_` and `-`,
    /// at most 100 of them, never hidden, never empty.
    #[must_use]
    pub fn sanitized(&self) -> String {
        const MAX: usize = 100;
        let safe: String = self
            .0
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let safe = safe.trim_start_matches(['.', '-']);
        let start = safe.len().saturating_sub(MAX);
        let cut = safe[start..].trim_start_matches(['.', '-']);
        if cut.is_empty() {
            "file".to_owned()
        } else {
            cut.to_owned()
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character would be unseen or steer what is seen: control, bidirectional, zero-width.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_by_its_first_bytes() {
        let cases: &[(&[u8], Content)] = &[
            (b"", Content::Empty),
            (b"id,name\n1,a\n", Content::Text),
            (b"\xff\xfei\0d\0", Content::Text),
            (b"i\0d\0,\0n\0", Content::Text),
            (b"caf\xe9;th\xe9\n", Content::Text),
            (b"a,b\n1,\x00\n2,3\n4,5\n", Content::Text),
            (b"PK\x03\x04rest", Content::Zip),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content::Ole),
            (b"\x89PNG\r\n\x1a\n", Content::Known("PNG image")),
            (b"\x7fELF\x02", Content::Known("ELF program")),
            (b"%PDF-1.7", Content::Known("PDF document")),
            (b"  <!DOCTYPE html><p>", Content::Html),
            (b"<?xml version='1.0'?><!-- x --><svg>", Content::Svg),
            (b"<?xml version='1.0'?><rows>", Content::Text),
            (b"{\"a\": 1}", Content::Text),
            (b"\x01\x02\x03\x04\x05\x06", Content::Binary),
        ];
        for (bytes, content) in cases {
            assert_eq!(Content::sniff(bytes), *content, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_name_is_stored_safely_and_shown_escaped() {
        let name = |raw: &str| FileName::new(raw, 255);
        assert_eq!(name("../../etc/passwd.csv").as_str(), "passwd.csv");
        assert_eq!(name("C:\\data\\a.csv").as_str(), "a.csv");
        assert_eq!(name("a\0b.csv").as_str(), "a\\u{0}b.csv");
        assert_eq!(
            name("x\u{202e}vsc.exe.csv").as_str(),
            "x\\u{202e}vsc.exe.csv"
        );
        assert_eq!(name("..").as_str(), "unnamed");
        assert_eq!(name("-rf .csv").sanitized(), "rf_.csv");
        assert_eq!(name(".csv").sanitized(), "csv");
        assert_eq!(name("日本.csv").sanitized(), "__.csv");
        let long = name(&format!("{}.csv", "n".repeat(4096)));
        assert_eq!(long.as_str().chars().count(), 255);
        assert_eq!(FileType::from_name(long.as_str()), Some(FileType::Csv));
        assert_eq!(FileType::from_name(&long.sanitized()), Some(FileType::Csv));
        assert!(long.sanitized().len() <= 100);
    }
}
