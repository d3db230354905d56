//! Weighs the shared strings of a workbook before the spreadsheet library loads all of them.

use std::sync::Arc;

use memchr::memmem;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::archive::{Archive, limit, unreadable};
use super::inflate::EntryReader;
use super::xml_guard::not_xml;
use crate::reader::ReadError;

/// What the shared strings may take in memory: with the rest of the engine they stay below 512 MiB.
const MEMORY_MAX: u64 = 352 * 1024 * 1024;
/// A string that is held: the handle in its list and what the allocator adds.
const BYTES_PER_STRING: u64 = 56;
/// Space reserved for each string that the list announces.
const BYTES_PER_CLAIM: u64 = 24;
/// Markup around a string, at least; the rest of the part is text that is held.
const MARKUP_PER_STRING: u64 = 16;
/// Where the root element has to end.
const HEAD_BYTES: usize = 128 * 1024;

/// Refuses shared strings that would not fit into memory, or that announce so many.
pub(super) fn weigh(archive: &Arc<Archive>, index: usize) -> Result<(), ReadError> {
    let mut reader = EntryReader::new(archive, index);
    let finders = [memmem::Finder::new(b"<si"), memmem::Finder::new(b":si")];
    let mut count = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut head = Vec::new();
    // Bytes of the chunk before that a match may begin in.
    let mut kept = 0;
    loop {
        let read = reader.read(&mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let chunk = &buffer[..kept + read];
        if head.len() < HEAD_BYTES {
            head.extend_from_slice(&chunk[kept..]);
        }
        for finder in &finders {
            count += finder.find_iter(chunk).count() as u64;
        }
        let handles = count * BYTES_PER_STRING;
        let text = reader.given().saturating_sub(count * MARKUP_PER_STRING);
        check(handles + text)?;
        let end = kept + read;
        kept = end.min(2);
        buffer.copy_within(end - kept..end, 0);
    }
    let announced = announced(&head)?;
    if announced.saturating_mul(BYTES_PER_CLAIM) > MEMORY_MAX {
        return Err(limit(format!(
            "The workbook announces {announced} shared strings, more than fit into memory, and has {count}"
        )));
    }
    Ok(())
}

fn check(bytes: u64) -> Result<(), ReadError> {
    if bytes <= MEMORY_MAX {
        return Ok(());
    }
    Err(limit(format!(
        "The workbook's shared strings take more than {} MiB of memory; hand the table in as CSV, or in parts",
        MEMORY_MAX / 1024 / 1024
    )))
}

/// What the root element says in `uniqueCount`, read as the library reads it.
fn announced(head: &[u8]) -> Result<u64, ReadError> {
    let mut reader = Reader::from_reader(head);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(root) | Event::Empty(root)) => {
                let claim = root
                    .attributes()
                    .with_checks(false)
                    .flatten()
                    .find(|a| a.key.as_ref() == "uniqueCount");
                // Anything but digits is not believed by the library, either.
                return Ok(claim.map_or(0, |a| digits(&a.value)));
            }
            Ok(Event::Eof) | Err(_) => return Err(not_xml()),
            Ok(_) => {}
        }
    }
}

/// The number that decimal digits tell, as great as it can be told.
fn digits(text: &str) -> u64 {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(u64::MAX)
}

/// The same for the shared strings of a binary workbook: a list of records, each with type and length.
pub(super) fn weigh_binary(archive: &Arc<Archive>, index: usize) -> Result<(), ReadError> {
    const STRING_ITEM: u16 = 0x13;
    let mut bytes = Bytes {
        reader: EntryReader::new(archive, index),
        buffer: vec![0; 64 * 1024],
        at: 0,
        end: 0,
    };
    let mut held = 0;
    while let Some(first) = bytes.next()? {
        let kind = bytes.number(first, 2)? as u16;
        let Some(first) = bytes.next()? else {
            break;
        };
        let length = bytes.number(first, 4)?;
        if kind == STRING_ITEM {
            // UTF-16 in the file, UTF-8 in memory.
            held += BYTES_PER_STRING + u64::from(length) * 3 / 2;
            check(held)?;
        }
        bytes.skip(length)?;
    }
    Ok(())
}

/// An entry read byte by byte.
struct Bytes {
    reader: EntryReader,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
}

impl Bytes {
    fn next(&mut self) -> Result<Option<u8>, ReadError> {
        if self.at == self.end && !self.refill()? {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(self.buffer[self.at - 1]))
    }

    fn refill(&mut self) -> Result<bool, ReadError> {
        self.end = self.reader.read(&mut self.buffer)?;
        self.at = 0;
        Ok(self.end > 0)
    }

    /// Seven bits a byte, the lowest first, while the eighth is set; at most `bytes` of them.
    fn number(&mut self, first: u8, bytes: u32) -> Result<u32, ReadError> {
        let mut number = u32::from(first & 0x7f);
        let mut last = first;
        for place in 1..bytes {
            if last & 0x80 == 0 {
                break;
            }
            last = self.next()?.ok_or_else(cut_off)?;
            number |= u32::from(last & 0x7f) << (7 * place);
        }
        Ok(number)
    }

    fn skip(&mut self, count: u32) -> Result<(), ReadError> {
        let mut left = count as usize;
        while left > 0 {
            if self.at == self.end && !self.refill()? {
                return Err(cut_off());
            }
            let step = left.min(self.end - self.at);
            self.at += step;
            left -= step;
        }
        Ok(())
    }
}

fn cut_off() -> ReadError {
    unreadable("The workbook is damaged: its shared strings end too early")
}
