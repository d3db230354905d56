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

/// What separates cells and lines stands in any table, and has a NUL beside it in UTF-16.
///
/// Text of one byte a character has a separator beside its separators or letters, wherever a stray NUL is.
fn utf_16(head: &[u8]) -> Option<&'static Encoding> {
    let is_separator = |b: u8| matches!(b, b'\n' | b'\r' | b'\t' | b',' | b';' | b'|');
    let looks_like = |low: usize| {
        let (mut nuls, mut whole, mut broken) = (0, 0, 0);
        for unit in head.chunks_exact(2) {
            let (low, high) = (unit[low], unit[1 - low]);
            nuls += usize::from(high == 0);
            whole += usize::from(high == 0 && is_separator(low));
            broken += usize::from(high != 0 && is_separator(low) || is_separator(high));
        }
        let units = head.len() / 2;
        match whole {
            0 => units > 1 && nuls * 4 >= units * 3,
            _ => nuls * 5 >= units && whole > broken,
        }
    };
    if looks_like(0) {
        return Some(UTF_16LE);
    }
    looks_like(1).then_some(UTF_16BE)
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

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

    use super::*;
    use crate::source::Text;

    fn source(bytes: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Source::new(file, &std::env::temp_dir()).unwrap()
    }

    /// The encoding that is found, and the text from after the byte order mark to the last line's end.
    fn open(bytes: &[u8], wanted: Option<&str>) -> (&'static Encoding, bool, Vec<u8>) {
        let text = Text::open(source(bytes), wanted, &std::env::temp_dir()).unwrap();
        let mut content = Vec::new();
        let mut range = text.range(text.start, text.end);
        range.read_to_end(&mut content).unwrap();
        assert_eq!(text.transcoded, text.encoding != UTF_8);
        (text.encoding, text.bom, content)
    }

    fn utf_16_of(text: &str, big: bool) -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|u| {
                if big {
                    u.to_be_bytes()
                } else {
                    u.to_le_bytes()
                }
            })
            .collect()
    }

    #[test]
    fn text_in_every_encoding_arrives_as_utf_8() {
        let text = "id,name\n1,Zoë\n2,日本\n";
        let content = text.trim_end().as_bytes();
        let (little, big) = (utf_16_of(text, false), utf_16_of(text, true));
        let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        let cases: &[(&str, Vec<u8>, &Encoding, bool)] = &[
            ("utf-8", text.into(), UTF_8, false),
            (
                "utf-8 with a mark",
                marked(b"\xef\xbb\xbf", text.as_bytes()),
                UTF_8,
                true,
            ),
            ("utf-16le", little.clone(), UTF_16LE, false),
            ("utf-16be", big.clone(), UTF_16BE, false),
            (
                "utf-16le with a mark",
                marked(b"\xff\xfe", &little),
                UTF_16LE,
                true,
            ),
            (
                "utf-16be with a mark",
                marked(b"\xfe\xff", &big),
                UTF_16BE,
                true,
            ),
        ];
        for (name, bytes, encoding, bom) in cases {
            let (found, has_bom, read) = open(bytes, None);
            assert_eq!((found, has_bom), (*encoding, *bom), "{name}");
            assert_eq!(read, content, "{name}");
        }
    }

    #[test]
    fn stray_nuls_do_not_make_utf_16() {
        for bytes in [&b"a\0b"[..], b"a,b\n1,\0\n", b"a,b\n\0,1\n", b"\0"] {
            assert_eq!(open(bytes, None).0, UTF_8, "{}", bytes.escape_ascii());
        }
        let chinese = utf_16_of("名,市\n李,北京\n", true);
        assert_eq!(open(&chinese, None).0, UTF_16BE);
    }

    #[test]
    fn text_that_is_no_utf_8_is_guessed_or_as_its_sender_says() {
        let latin = b"name;city\nJos\xe9;M\xfcnchen\nZo\xeb;K\xf6ln\n";
        let (encoding, _, text) = open(latin, None);
        assert_eq!(encoding, WINDOWS_1252);
        assert_eq!(text, "name;city\nJosé;München\nZoë;Köln".as_bytes());
        let (encoding, _, text) = open(b"\x93\xfa\x96{,a\n", Some("shift_jis"));
        assert_eq!((encoding, text), (SHIFT_JIS, "日本,a".as_bytes().to_vec()));
    }

    #[test]
    fn a_broken_byte_does_not_change_the_encoding_while_whole_characters_outnumber_it() {
        let (encoding, _, text) = open("é,è\n\u{e9}".as_bytes(), None);
        assert_eq!((encoding, text.len()), (UTF_8, 8));
        assert_eq!(open(b"\xc3\xa9,\xc3\xa8,\xff\n", None).0, UTF_8);
        assert_ne!(open(b"\xc3\xa9,a,\xff\n", None).0, UTF_8);
        assert_ne!(open(b"a,\xff\n", None).0, UTF_8);
        assert_eq!(open(b"a,\xff\n", Some("utf-8")).0, UTF_8);
    }

    #[test]
    fn what_cannot_be_decoded_is_a_broken_byte_of_its_row() {
        let mut bytes = utf_16_of("é,è\nü", false);
        bytes.extend(0xd800_u16.to_le_bytes());
        bytes.extend(utf_16_of("\nb", false));
        assert_eq!(
            open(&bytes, Some("utf-16le")).2,
            b"\xc3\xa9,\xc3\xa8\n\xc3\xbc\xff\nb"
        );
    }

    #[test]
    fn an_encoding_that_does_not_fit_or_is_unknown_fails_the_file() {
        let fail = |bytes: &[u8], wanted| {
            let opened = Text::open(source(bytes), Some(wanted), &std::env::temp_dir());
            match opened {
                Err(ReadError::Failure(failure)) => failure.code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            fail(b"\x81\xff\x81\xff\n", "shift_jis"),
            FailureCode::WrongEncoding
        );
        assert_eq!(fail(b"a", "utf-9"), FailureCode::WrongOptions);
        assert_eq!(fail(b"a", "iso-2022-kr"), FailureCode::WrongOptions);
    }

    #[test]
    fn characters_may_lie_across_reads() {
        for shift in 0..4 {
            let mut bytes = vec![b'a'; CHUNK - shift];
            bytes.extend("日\n".repeat(CHUNK / 2).bytes());
            assert_eq!(open(&bytes, None).0, UTF_8, "{shift}");
            // The one broken byte at the very end must be seen, too.
            bytes.push(0xe6);
            assert_eq!(open(&bytes, None).0, UTF_8, "{shift}");
        }
        let mut bytes = vec![b'a'; CHUNK];
        bytes.push(0xe6);
        assert_ne!(open(&bytes, None).0, UTF_8);
    }

    #[test]
    fn a_pipe_is_read_like_a_file() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all("a\nü\n".as_bytes()).unwrap();
        drop(writer);
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
        let source = Source::new(file, &std::env::temp_dir()).unwrap();
        assert_eq!(
            (source.bytes(), source.head(2, 9).unwrap()),
            (5, "ü\n".into())
        );
    }
}
