//! The reader of .xls workbooks: any bytes are a workbook or a damaged one, and rows come in order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| filejobs_engine::fuzzing::old_workbook(bytes));
