//! Tickets as entries of a stream: `{v, task, attempt, traceparent}`.
//!
//! `traceparent` is there when somebody traces; readers of this version pass over it, as over any field that they do
//! not know.

use filejobs_core::task::Ticket;
use redis::{Cmd, Value};

/// The version of the fields. Raised only when a reader of today would misunderstand tomorrow's entries.
const VERSION: u32 = 1;

/// Where an entry stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    millis: u64,
    sequence: u64,
}

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (millis, sequence) = text.split_once('-')?;
        Some(Self {
            millis: millis.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }

    pub(super) fn of(value: &Value) -> Option<Self> {
        Self::parse(&text(value)?)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// What an entry is to this version.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// A ticket.
    Ticket(Ticket),
    /// A ticket of a later version: for a worker that knows it.
    Newer(u32),
    /// Nothing that any version has written.
    Garbage,
}

/// The command that adds a ticket.
pub(super) fn add(stream: &str, ticket: &Ticket) -> Cmd {
    let mut add = redis::cmd("XADD");
    add.arg(stream).arg("*");
    add.arg("v").arg(VERSION);
    add.arg("task").arg(ticket.task.to_string());
    add.arg("attempt").arg(ticket.attempt);
    add
}

/// Entries in an answer to `XREADGROUP`: `[[stream, [entry…]]]`, nothing when the wait was in vain.
pub(super) fn of_read(answer: &Value) -> Vec<(Id, Content)> {
    let streams = items(answer).iter();
    streams
        .filter_map(|stream| items(stream).get(1))
        .flat_map(entries)
        .collect()
}

/// Where to go on, and the entries, in an answer to `XAUTOCLAIM`: `[cursor, [entry…], …]`.
pub(super) fn of_claim(answer: &Value) -> (Option<Id>, Vec<(Id, Content)>) {
    let parts = items(answer);
    let cursor = parts.first().and_then(Id::of);
    (cursor, parts.get(1).map(entries).unwrap_or_default())
}

/// Each entry is `[id, [field, value, …]]`; one that was removed meanwhile has nothing in place of the fields.
fn entries(list: &Value) -> Vec<(Id, Content)> {
    let entries = items(list).iter();
    entries
        .filter_map(|entry| {
            let [id, fields, ..] = items(entry) else {
                return None;
            };
            Some((Id::of(id)?, content(items(fields))))
        })
        .collect()
}

fn content(fields: &[Value]) -> Content {
    let field = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        let found = pairs.find(|pair| is(&pair[0], name))?;
        text(&found[1])
    };
    match field("v").and_then(|v| v.parse().ok()) {
        None | Some(0) => return Content::Garbage,
        Some(VERSION) => {}
        Some(newer) => return Content::Newer(newer),
    }
    let task = field("task").and_then(|task| task.parse().ok());
    let attempt = field("attempt").and_then(|attempt| attempt.parse().ok());
    match (task, attempt) {
        (Some(task), Some(attempt)) => Content::Ticket(Ticket { task, attempt }),
        _ => Content::Garbage,
    }
}

/// The items of a list; none of anything else.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// A string or number as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether a value is this text.
pub(super) fn is(value: &Value, wanted: &str) -> bool {
    matches!(value, Value::BulkString(bytes) if bytes == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn read(fields: &[&[u8]]) -> Vec<(Id, Content)> {
        let fields = Value::Array(fields.iter().map(|field| bulk(field)).collect());
        let entry = Value::Array(vec![bulk(b"17-2"), fields]);
        let stream = Value::Array(vec![bulk(b"tasks"), Value::Array(vec![entry])]);
        of_read(&Value::Array(vec![stream]))
    }

    #[test]
    fn entries_are_told_apart_by_version_and_fields() {
        const TASK: &[u8] = b"0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b";
        let ticket = Ticket {
            task: std::str::from_utf8(TASK).unwrap().parse().unwrap(),
            attempt: 3,
        };
        let table: [(&[&[u8]], Content); 9] = [
            (
                &[b"v", b"1", b"task", TASK, b"attempt", b"3"],
                Content::Ticket(ticket),
            ),
            (
                &[
                    b"traceparent",
                    b"00-",
                    b"attempt",
                    b"3",
                    b"task",
                    TASK,
                    b"v",
                    b"1",
                ],
                Content::Ticket(ticket),
            ),
            (&[b"v", b"2", b"anything", b"\xff"], Content::Newer(2)),
            (
                &[b"v", b"0", b"task", TASK, b"attempt", b"3"],
                Content::Garbage,
            ),
            (
                &[b"v", b"1", b"task", b"x", b"attempt", b"3"],
                Content::Garbage,
            ),
            (
                &[b"v", b"1", b"task", TASK, b"attempt", b"-3"],
                Content::Garbage,
            ),
            (&[b"v", b"1", b"task", TASK], Content::Garbage),
            (&[b"\xff", b"\xfe"], Content::Garbage),
            (&[], Content::Garbage),
        ];
        for (fields, expected) in table {
            let id = Id::parse("17-2").unwrap();
            assert_eq!(read(fields), [(id, expected)], "{fields:?}");
        }
    }

    #[test]
    fn ids_are_ordered_as_numbers() {
        let ids = ["9-10", "10-9", "10-10"].map(|id| Id::parse(id).unwrap());
        assert!(ids.is_sorted());
        assert_eq!(ids[1].to_string(), "10-9");
        for bad in ["", "1", "a-b", "1-"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
