//! Watches the XML of a workbook go by: no document type, where entities could hide, and nothing so long
//! that the XML reader would hold too much of it at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::archive::{Archive, limit, unreadable};
use super::inflate::EntryReader;
use crate::reader::ReadError;

/// Bytes that the XML reader may take for one event.
const EVENT_MAX: u64 = 32 * 1024 * 1024;

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

/// Watches the text that goes by: no document type, no endless run without a tag.
#[derive(Debug)]
pub(super) struct Text {
    prolog: Option<Prolog>,
    is_xml: bool,
    run: u64,
    run_max: u64,
}

impl Text {
    pub(super) fn new(is_xml: bool, run_max: u64) -> Self {
        Self {
            prolog: is_xml.then(Prolog::default),
            is_xml,
            run: 0,
            run_max,
        }
    }

    pub(super) fn check(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        if !self.is_xml {
            return Ok(());
        }
        if let Some(prolog) = &mut self.prolog
            && prolog.push(chunk)?
        {
            self.prolog = None;
        }
        let (before, after) = match memchr::memchr(b'<', chunk) {
            Some(first) => (
                first,
                chunk.len() - memchr::memrchr(b'<', chunk).unwrap_or(first),
            ),
            None => (chunk.len(), 0),
        };
        if self.run + before as u64 > self.run_max {
            return Err(limit(format!(
                "The workbook has a text of more than {} bytes, the most that is taken for one cell",
                self.run_max
            )));
        }
        // `after` is 0 only when the chunk has no tag: the run goes on.
        self.run = if after == 0 {
            self.run + before as u64
        } else {
            after as u64
        };
        Ok(())
    }
}

/// An entry as an XML reader wants it, under this guard. Why a read failed is kept beside: the XML reader
/// would hand back an error of its own.
#[derive(Debug)]
pub(super) struct XmlPart {
    reader: EntryReader,
    text: Text,
    trouble: Rc<RefCell<Option<ReadError>>>,
    unanswered: Rc<Cell<u64>>,
}

/// The reader's side of an [`XmlPart`].
#[derive(Debug, Clone)]
pub(super) struct Witness {
    trouble: Rc<RefCell<Option<ReadError>>>,
    unanswered: Rc<Cell<u64>>,
}

impl Witness {
    /// An event was read: what it took to get there is forgotten.
    pub(super) fn event(&self) {
        self.unanswered.set(0);
    }

    /// Why reading failed, or that the part is not XML.
    pub(super) fn trouble(&self) -> ReadError {
        self.trouble.take().unwrap_or_else(not_xml)
    }
}

impl XmlPart {
    pub(super) fn new(archive: &Arc<Archive>, index: usize, text_max: u64) -> (Self, Witness) {
        let witness = Witness {
            trouble: Rc::default(),
            unanswered: Rc::default(),
        };
        let part = Self {
            reader: EntryReader::new(archive, index),
            text: Text::new(true, text_max),
            trouble: Rc::clone(&witness.trouble),
            unanswered: Rc::clone(&witness.unanswered),
        };
        (part, witness)
    }

    fn read_checked(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        let count = self.reader.read(out)?;
        self.text.check(&out[..count])?;
        let unanswered = self.unanswered.get() + count as u64;
        self.unanswered.set(unanswered);
        if unanswered > EVENT_MAX {
            return Err(limit(format!(
                "The workbook's XML has a tag or a comment of more than {EVENT_MAX} bytes"
            )));
        }
        Ok(count)
    }
}

impl io::Read for XmlPart {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_checked(out).map_err(|error| {
            self.trouble.replace(Some(error));
            io::Error::other("the part was refused")
        })
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
