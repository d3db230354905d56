//! The built program from outside: the service over real HTTP, the commands over their exit codes.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod browser;
mod cancel;
mod check;
mod commands;
mod compose;
mod contract;
mod corpus;
mod crash;
mod disk;
mod events;
mod hostile;
mod keys;
mod lifecycle;
mod metrics;
mod processes;
mod uploads;
mod webhooks;

use filejobs_cli::sample::Sample;
use filejobs_testkit::http::Upload;
use filejobs_testkit::service::{Builder, Service};

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

/// A service about to be started.
fn service() -> Builder {
    Service::builder(BINARY)
}

/// A made-up file whose bad rows have one finding each.
fn sample(rows: u64, bad: f64) -> (Sample, Vec<u8>) {
    let sample = Sample {
        rows,
        bad,
        ..Sample::default()
    };
    let mut bytes = Vec::new();
    sample.write(&mut bytes).unwrap();
    (sample, bytes)
}

/// An upload of a made-up file together with the schema that its good rows keep.
fn sample_upload(rows: u64, bad: f64) -> (Sample, Upload) {
    let (sample, bytes) = sample(rows, bad);
    (
        sample,
        Upload::new("sample.csv", bytes).field("schema", Sample::schema()),
    )
}

/// Three rows, the second of them bad.
const SMALL: &str = "id,name,value\n1,Amara,1.5\nx,Bjarne,2.5\n3,Chen,3.5\n";

/// The small file with the schema that makes its second row bad.
fn small_upload() -> Upload {
    Upload::new("small.csv", SMALL).field("schema", Sample::schema())
}
