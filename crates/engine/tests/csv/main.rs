//! Delimited text through the whole engine: whole, cut into pieces, on one thread and several.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod hostile;
mod same_result;
mod support;
