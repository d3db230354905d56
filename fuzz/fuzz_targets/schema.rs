//! The schema parser: whatever a sender calls a schema is taken or refused, and what is taken reads back the same.
#![no_main]

use filejobs_core::{Limits, TableSchema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    let Ok(schema) = TableSchema::from_json(text, &limits) else {
        return;
    };
    let written = serde_json::to_string(&schema).expect("a schema can always be written");
    let again = TableSchema::from_json(&written, &limits);
    assert_eq!(again.as_ref(), Ok(&schema), "{written}");
});
