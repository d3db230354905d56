//! Tells how text is encoded and turns it into UTF-8.
//!
//! In order: what the sender says, a byte order mark, UTF-16 by its NULs, UTF-8 by a check of the whole
//! file, else what the bytes look like most. A UTF-8 file with a few broken bytes stays UTF-8: the rows
//! with those bytes fail, not the file.

use std::io::Read;
use std::path::Path;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};
use filejobs_core::{Failure, FailureCode};

use crate::reader::ReadError;
use crate::source::{Source, Spool};

/// Read at a time.
const CHUNK: usize = 256 * 1024;

/// Bytes whose NULs tell UTF-16 from other text.
const UTF_16_HEAD: usize = 4096;

/// Text with bytes above 127 that a guess is based on.
const GUESS_BYTES: usize = 8 * 1024 * 1024;

/// Stands in the transcoded text where the source could not be decoded. No UTF-8 has this byte, so the
/// row gets its `encoding-error`.
const UNDECODABLE: &[u8] = b"\xff";

/// How a file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Detected {
    /// The encoding.
    pub(crate) encoding: &'static Encoding,
    /// Length of the byte order mark.
    pub(crate) bom_bytes: u64,
    /// Whether the sender named it.
    pub(crate) wanted: bool,
}

/// The encoding of `source`; reads all of it unless a byte order mark or `wanted` decides.
pub(crate) fn detect(source: &Source, wanted: Option<&str>) -> Result<Detected, ReadError> {
    let named = wanted.map(named).transpose()?;
    let head = source.head(0, UTF_16_HEAD)?;
    if let Some((encoding, bytes)) = Encoding::for_bom(&head) {
        return Ok(Detected {
            encoding,
            bom_bytes: bytes as u64,
            wanted: false,
        });
    }
    let encoding = match named.or_else(|| utf_16(&head)) {
        Some(encoding) => encoding,
        None if is_utf_8(source)? => UTF_8,
        None => guess(source)?,
    };
    Ok(Detected {
        encoding,
        bom_bytes: 0,
        wanted: named.is_some(),
    })
}

/// The encoding that a plan found, for the pieces of its file.
pub(crate) fn known(label: &str, bom: bool, source: &Source) -> Result<Detected, ReadError> {
    let encoding = named(label)?;
    let found = if bom {
        Encoding::for_bom(&source.head(0, 3)?)
    } else {
        None
    };
    Ok(Detected {
        encoding,
        bom_bytes: found.map_or(0, |(_, bytes)| bytes as u64),
        wanted: false,
    })
}

/// The encoding with the WHATWG label `label`.
fn named(label: &str) -> Result<&'static Encoding, Failure> {
    Encoding::for_label(label.as_bytes())
        .filter(|encoding| *encoding != REPLACEMENT)
        .ok_or_else(|| {
            let shown: String = label.chars().take(40).collect();
            Failure::new(
                FailureCode::WrongOptions,
                format!("The encoding `{}` is not known; take a WHATWG label such as `utf-8` or `windows-1252`.", shown.escape_debug()),
            )
        })
}

/// Latin text in UTF-16 has a NUL in every other byte, and hardly one in the bytes between.
fn utf_16(head: &[u8]) -> Option<&'static Encoding> {
    let units = head.len() / 2;
    let nuls = |parity: usize| {
        head.iter()
            .skip(parity)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let (even, odd) = (nuls(0), nuls(1));
    let (more, fewer) = (even.max(odd), even.min(odd));
    if units == 0 || more * 5 < units.max(5) || fewer * 20 > more {
        return None;
    }
    Some(if odd > even { UTF_16LE } else { UTF_16BE })
}

/// Whether the whole file is UTF-8, but for broken bytes that its multi-byte characters outnumber.
fn is_utf_8(source: &Source) -> Result<bool, ReadError> {
    let mut valid = true;
    each_chunk(source, |text| {
        valid = simdutf8::basic::from_utf8(text).is_ok();
        valid
    })?;
    if valid {
        return Ok(true);
    }
    let (mut wide, mut broken) = (0_u64, 0_u64);
    each_chunk(source, |text| {
        for part in text.utf8_chunks() {
            wide += part.valid().bytes().filter(|b| *b >= 0xc0).count() as u64;
            broken += part.invalid().len() as u64;
        }
        true
    })?;
    Ok(wide > broken)
}

/// Hands `source` to `take` in chunks that end between characters, until `take` says false.
fn each_chunk(source: &Source, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ReadError> {
    let mut range = source.range(0, source.bytes());
    let mut chunk = vec![0; CHUNK];
    let mut kept = 0;
    loop {
        let n = fill(&mut range, &mut chunk[kept..])?;
        let filled = kept + n;
        if n == 0 {
            if kept > 0 {
                take(&chunk[..kept]);
            }
            return Ok(());
        }
        let whole = filled - unfinished(&chunk[..filled]);
        if !take(&chunk[..whole]) {
            return Ok(());
        }
        chunk.copy_within(whole..filled, 0);
        kept = filled - whole;
    }
}

/// How many bytes at the end of `text` begin a character that more bytes may complete.
fn unfinished(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let byte = text[text.len() - back];
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// What text that is not UTF-8 looks like most.
fn guess(source: &Source) -> Result<&'static Encoding, ReadError> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut range = source.range(0, source.bytes());
    let mut chunk = vec![0; CHUNK];
    let mut fed = 0;
    while fed < GUESS_BYTES {
        let n = fill(&mut range, &mut chunk)?;
        if n == 0 {
            break;
        }
        if !chunk[..n].is_ascii() {
            detector.feed(&chunk[..n], false);
            fed += n;
        }
    }
    detector.feed(&[], true);
    Ok(detector.guess(None, Utf8Detection::Deny))
}

/// Writes `source` as UTF-8 into a nameless file in `scratch`.
pub(crate) fn transcode(
    source: &Source,
    detected: &Detected,
    scratch: &Path,
) -> Result<Source, ReadError> {
    let mut decoder = detected.encoding.new_decoder_without_bom_handling();
    let mut range = source.range(detected.bom_bytes, source.bytes());
    let mut spool = Spool::new(scratch)?;
    let mut chunk = vec![0; CHUNK];
    let mut text = vec![0; CHUNK * 3 + 64];
    let (mut wide, mut broken) = (0_u64, 0_u64);
    loop {
        let n = fill(&mut range, &mut chunk)?;
        let last = n == 0;
        let mut from = 0;
        loop {
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(&chunk[from..n], &mut text, last);
            from += read;
            wide += text[..written].iter().filter(|b| **b >= 0xc0).count() as u64;
            spool.write(&text[..written])?;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    broken += 1;
                    spool.write(UNDECODABLE)?;
                }
            }
        }
        if last {
            break;
        }
    }
    if detected.wanted && broken > wide {
        return Err(Failure::new(
            FailureCode::WrongEncoding,
            format!(
                "The text cannot be decoded as {}; name the encoding it is written in, or leave the option out.",
                detected.encoding.name()
            ),
        )
        .into());
    }
    spool.finish()
}

/// Fills `buffer` as far as `range` reaches.
fn fill(range: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ReadError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match range.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ReadError::Read(e)),
        }
    }
    Ok(filled)
}
