//! What stands before the root element of an XML part, where a document type could hide entities.

use super::archive::unreadable;
use crate::reader::ReadError;

/// Declarations and comments before the root element that are plenty.
const PROLOG_MAX: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Collects the beginning of a part until its root element begins.
#[derive(Debug, Default)]
pub(super) struct Prolog {
    head: Vec<u8>,
}

/// What stands at the beginning of a piece of prolog.
enum Found<'a> {
    /// Something complete and harmless; the rest follows.
    Skip(&'a [u8]),
    /// More bytes are needed to tell.
    More,
    /// The root element.
    Root,
}

impl Prolog {
    /// Takes the next bytes; true once the root element has begun. Refuses a document type.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<bool, ReadError> {
        let room = PROLOG_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let mut rest = self.head.as_slice();
        if BYTE_ORDER_MARK.starts_with(rest) {
            return Ok(false);
        }
        rest = rest.strip_prefix(BYTE_ORDER_MARK).unwrap_or(rest);
        loop {
            rest = match next(rest)? {
                Found::Skip(rest) => rest,
                Found::Root => return Ok(true),
                Found::More if self.head.len() >= PROLOG_MAX => return Err(not_xml()),
                Found::More => return Ok(false),
            };
        }
    }
}

/// A part in which XML was expected.
pub(super) fn not_xml() -> ReadError {
    unreadable("The workbook is damaged: a part of it is not XML")
}

fn next(rest: &[u8]) -> Result<Found<'_>, ReadError> {
    let rest = rest.trim_ascii_start();
    let until = |end: &[u8]| match memchr::memmem::find(rest, end) {
        Some(at) => Found::Skip(&rest[at + end.len()..]),
        None => Found::More,
    };
    match rest {
        [] | [b'<'] | [b'<', b'!'] => Ok(Found::More),
        [b'<', b'?', ..] => Ok(until(b"?>")),
        [b'<', b'!', b'-', ..] => Ok(until(b"-->")),
        [b'<', b'!', ..] => Err(unreadable(
            "The workbook's XML has a document type, which no workbook needs and XML bombs are made of",
        )),
        [b'<', ..] => Ok(Found::Root),
        _ => Err(not_xml()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_type_is_refused_however_it_is_hidden() {
        let cases: &[(&str, bool)] = &[
            ("<?xml version=\"1.0\"?><root/>", true),
            ("\u{feff} <?x?><!-- <!DOCTYPE a> --><root/>", true),
            ("<!DOCTYPE lolz []><root/>", false),
            (
                "<?xml version=\"1.0\"?>\n<!-- a --><!doctype a><root/>",
                false,
            ),
            ("text", false),
        ];
        for (text, fine) in cases {
            // In one piece and byte by byte.
            assert_eq!(
                Prolog::default().push(text.as_bytes()).is_ok(),
                *fine,
                "{text}"
            );
            let mut prolog = Prolog::default();
            let mut bytes = text.as_bytes().chunks(1);
            let found =
                bytes.find_map(|b| prolog.push(b).map(|done| done.then_some(())).transpose());
            assert_eq!(matches!(found, Some(Ok(()))), *fine, "{text}");
        }
    }
}
