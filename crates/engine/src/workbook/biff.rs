//! The records that the stream of an `.xls` workbook consists of, and the texts in them.

use encoding_rs::Encoding;

use super::archive::{limit, unreadable};
use super::compound::Stream;
use crate::reader::ReadError;

/// Read at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// What the shared strings may take in memory.
const STRINGS_MAX: usize = 352 * 1024 * 1024;
/// The record that carries on the one before.
const CONTINUE: u16 = 0x3c;

pub(super) fn damaged() -> ReadError {
    unreadable(
        "The workbook is cut off or damaged: a record of it is not built as its format asks for",
    )
}

/// The records of a stream, one after the other.
pub(super) struct Records {
    stream: Stream,
    /// Where the next record begins.
    at: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The content of the current record.
    pub(super) data: Vec<u8>,
}

impl Records {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            at: 0,
            buffer: Vec::new(),
            buffer_at: 0,
            data: Vec::new(),
        }
    }

    /// Where the next record begins.
    pub(super) fn place(&self) -> u64 {
        self.at
    }

    pub(super) fn seek(&mut self, to: u64) {
        self.at = to;
    }

    /// Loads the next record and tells its kind; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<u16>, ReadError> {
        let Some((kind, length)) = self.header()? else {
            return Ok(None);
        };
        self.at += 4;
        let mut data = std::mem::take(&mut self.data);
        data.resize(length, 0);
        self.copy(&mut data)?;
        self.at += length as u64;
        self.data = data;
        Ok(Some(kind))
    }

    /// Loads the next record if it carries on the current one.
    pub(super) fn next_part(&mut self) -> Result<bool, ReadError> {
        match self.header()? {
            Some((CONTINUE, _)) => Ok(self.next()?.is_some()),
            _ => Ok(false),
        }
    }

    /// The text at `at` of the current record: its length, then its characters, which other records may
    /// carry on.
    pub(super) fn text(&mut self, texts: Texts, at: usize) -> Result<String, ReadError> {
        let mut parts = Parts { records: self, at };
        let count = usize::from(parts.short()?);
        let mut text = String::new();
        match texts {
            Texts::Unicode => {
                let wide = count > 0 && parts.byte()? & 1 != 0;
                parts.characters(count, wide, &mut text)?;
            }
            Texts::Bytes(page) => {
                let mut bytes = Vec::with_capacity(count);
                while bytes.len() < count {
                    bytes.push(parts.byte()?);
                }
                text = page.decode(&bytes)?;
            }
        }
        Ok(text)
    }

    fn header(&mut self) -> Result<Option<(u16, usize)>, ReadError> {
        if self.at + 4 > self.stream.size() {
            return Ok(None);
        }
        let mut header = [0; 4];
        self.copy(&mut header)?;
        let [a, b, c, d] = header;
        let length = usize::from(u16::from_le_bytes([c, d]));
        Ok(Some((u16::from_le_bytes([a, b]), length)))
    }

    /// Copies from `at` on, through the buffer.
    fn copy(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < out.len() {
            let at = self.at + done as u64;
            let buffered = at
                .checked_sub(self.buffer_at)
                .and_then(|offset| self.buffer.get(usize::try_from(offset).ok()?..))
                .filter(|rest| !rest.is_empty());
            if let Some(rest) = buffered {
                let count = rest.len().min(out.len() - done);
                out[done..done + count].copy_from_slice(&rest[..count]);
                done += count;
            } else {
                self.buffer.resize(BUFFER_BYTES, 0);
                let count = self.stream.read(&mut self.buffer, at)?;
                self.buffer.truncate(count);
                self.buffer_at = at;
                if count == 0 {
                    return Err(damaged());
                }
            }
        }
        Ok(())
    }
}

/// Fields of a record, in order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(damaged)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, ReadError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn short(&mut self) -> Result<u16, ReadError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn long(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from(self.short()?) | u32::from(self.short()?) << 16)
    }

    pub(super) fn float(&mut self) -> Result<f64, ReadError> {
        let low = u64::from(self.long()?);
        Ok(f64::from_bits(low | u64::from(self.long()?) << 32))
    }
}

/// How texts are written: Excel 97 and later, or before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Texts {
    /// UTF-16, one byte a character where that is enough.
    Unicode,
    /// Bytes in the workbook's code page.
    Bytes(CodePage),
}

impl Texts {
    /// Reads `count` characters, with the byte of flags before them that Unicode texts have.
    pub(super) fn read(self, count: usize, fields: &mut Fields<'_>) -> Result<String, ReadError> {
        let mut text = String::new();
        match self {
            Self::Unicode => {
                let wide = fields.byte()? & 1 != 0;
                let bytes = if wide { count * 2 } else { count };
                decode(wide, fields.take(bytes)?, &mut text);
            }
            Self::Bytes(page) => text = page.decode(fields.take(count)?)?,
        }
        Ok(text)
    }
}

fn decode(wide: bool, bytes: &[u8], text: &mut String) {
    if wide {
        text.push_str(&encoding_rs::UTF_16LE.decode_without_bom_handling(bytes).0);
    } else {
        text.extend(bytes.iter().map(|b| char::from(*b)));
    }
}

/// How the bytes of old texts are meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct CodePage {
    number: u16,
    encoding: Option<&'static Encoding>,
}

impl CodePage {
    /// What a workbook means that does not say: Windows' Western one.
    pub(super) const WESTERN: u16 = 1252;

    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            encoding: encoding(number),
        }
    }

    /// The text of these bytes. All code pages agree about ASCII; other bytes of one that is not known are
    /// refused, since another text would be a wrong one.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<String, ReadError> {
        match self.encoding {
            Some(encoding) => Ok(encoding.decode_without_bom_handling(bytes).0.into_owned()),
            None if bytes.is_ascii() => Ok(String::from_utf8_lossy(bytes).into_owned()),
            None => Err(unreadable(format!(
                "The workbook's texts are in code page {}, which is not read; save it as XLSX and hand that in",
                self.number
            ))),
        }
    }
}

/// The encoding of a code page's number.
fn encoding(number: u16) -> Option<&'static Encoding> {
    Some(match number {
        866 => encoding_rs::IBM866,
        874 => encoding_rs::WINDOWS_874,
        932 => encoding_rs::SHIFT_JIS,
        936 => encoding_rs::GBK,
        949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        1250 => encoding_rs::WINDOWS_1250,
        1251 => encoding_rs::WINDOWS_1251,
        1252 | 0x8001 => encoding_rs::WINDOWS_1252,
        1253 => encoding_rs::WINDOWS_1253,
        1254 => encoding_rs::WINDOWS_1254,
        1255 => encoding_rs::WINDOWS_1255,
        1256 => encoding_rs::WINDOWS_1256,
        1257 => encoding_rs::WINDOWS_1257,
        1258 => encoding_rs::WINDOWS_1258,
        10_000 | 0x8000 => encoding_rs::MACINTOSH,
        10_007 | 10_017 => encoding_rs::X_MAC_CYRILLIC,
        20_866 => encoding_rs::KOI8_R,
        21_866 => encoding_rs::KOI8_U,
        54_936 => encoding_rs::GB18030,
        65_001 => encoding_rs::UTF_8,
        _ => return None,
    })
}

/// The texts that cells refer to by number, back to back.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }

    /// Reads the shared strings from the record that `records` has loaded and those that carry it on.
    pub(super) fn read(records: &mut Records) -> Result<Self, ReadError> {
        let mut strings = Self::default();
        // Two counts, which are not believed.
        let mut parts = Parts { records, at: 8 };
        while parts.more()? {
            strings.push(&mut parts)?;
            if strings.text.len() + strings.ends.len() * size_of::<usize>() > STRINGS_MAX {
                return Err(limit(format!(
                    "The workbook's shared strings take more than {} MiB of memory; hand the table in as CSV, or in parts",
                    STRINGS_MAX / 1024 / 1024
                )));
            }
        }
        Ok(strings)
    }

    fn push(&mut self, parts: &mut Parts<'_>) -> Result<(), ReadError> {
        let count = usize::from(parts.short()?);
        let flags = parts.byte()?;
        let runs = if flags & 8 != 0 {
            usize::from(parts.short()?)
        } else {
            0
        };
        let extra = if flags & 4 != 0 {
            usize::from(parts.short()?) | usize::from(parts.short()?) << 16
        } else {
            0
        };
        parts.characters(count, flags & 1 != 0, &mut self.text)?;
        parts.skip(runs * 4 + extra)?;
        self.ends.push(self.text.len());
        Ok(())
    }
}

/// A record and those that carry it on, as one.
struct Parts<'a> {
    records: &'a mut Records,
    at: usize,
}

impl Parts<'_> {
    fn rest(&self) -> &[u8] {
        self.records.data.get(self.at..).unwrap_or_default()
    }

    /// Whether a byte follows.
    fn more(&mut self) -> Result<bool, ReadError> {
        while self.rest().is_empty() {
            if !self.records.next_part()? {
                return Ok(false);
            }
            self.at = 0;
        }
        Ok(true)
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        if !self.more()? {
            return Err(damaged());
        }
        self.at += 1;
        Ok(self.records.data[self.at - 1])
    }

    fn short(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from(self.byte()?) | u16::from(self.byte()?) << 8)
    }

    /// Reads UTF-16 of which the upper bytes may be left out.
    fn characters(&mut self, count: usize, wide: bool, text: &mut String) -> Result<(), ReadError> {
        let bytes = if wide { count * 2 } else { count };
        if let Some(whole) = self.rest().get(..bytes) {
            decode(wide, whole, text);
            self.at += bytes;
            return Ok(());
        }
        // A character of two units may be split between two parts.
        let units = char::decode_utf16(self.units(count, wide)?);
        text.extend(units.map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER)));
        Ok(())
    }

    /// The units of a text that several parts hold; one that carries on says anew whether it has upper bytes.
    fn units(&mut self, count: usize, mut wide: bool) -> Result<Vec<u16>, ReadError> {
        let mut units = Vec::new();
        while units.len() < count {
            if self.rest().is_empty() {
                if !self.records.next_part()? {
                    return Err(damaged());
                }
                self.at = 0;
                wide = self.byte()? & 1 != 0;
            }
            let width = if wide { 2 } else { 1 };
            let here = (count - units.len()).min(self.rest().len() / width);
            if here == 0 && !self.rest().is_empty() {
                return Err(damaged());
            }
            let part = &self.rest()[..here * width];
            if wide {
                let pairs = part.chunks_exact(2);
                units.extend(pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
            } else {
                units.extend(part.iter().map(|byte| u16::from(*byte)));
            }
            self.at += here * width;
        }
        Ok(units)
    }

    fn skip(&mut self, mut count: usize) -> Result<(), ReadError> {
        while count > 0 {
            if !self.more()? {
                return Err(damaged());
            }
            let step = count.min(self.rest().len());
            self.at += step;
            count -= step;
        }
        Ok(())
    }
}
