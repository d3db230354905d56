//! The upload's form: any bytes, in pieces of any size, are a form or a client's mistake, never a defect of ours. How
//! they are cut into pieces makes no difference.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use filejobs_api::read_form_for_fuzzing;
use filejobs_core::Limits;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

/// The boundary that the corpus has.
const BOUNDARY: &str = "b";

/// Small enough that inputs of a few kilobytes pass each of them.
static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    upload_bytes: 2_048,
    form_field_bytes: 512,
    ..Limits::default()
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without I/O can be built")
});

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let piece = usize::from(size).max(1);
    let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
    let cut = RUNTIME.block_on(read_form_for_fuzzing(BOUNDARY, pieces, &LIMITS));
    let whole = vec![Bytes::copy_from_slice(bytes)];
    let whole = RUNTIME.block_on(read_form_for_fuzzing(BOUNDARY, whole, &LIMITS));
    assert_eq!(cut, whole);
});
