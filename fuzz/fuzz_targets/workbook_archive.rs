//! The check of a workbook's zip archive: whatever the bytes, no more comes out of it than the limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| filejobs_engine::fuzzing::workbook_archive(bytes));
