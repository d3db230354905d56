//! Dialect detection and the record reader: any bytes are cut into the same rows on every way.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| filejobs_engine::fuzzing::delimited_text(text));
