//! Files that tests hand in, with what is wrong in them known beforehand.

use filejobs_cli::sample::Sample;
use filejobs_testkit::http::Upload;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

/// A made-up file whose bad rows have one finding each.
pub(crate) fn sample(rows: u64, bad: f64) -> (Sample, Vec<u8>) {
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
pub(crate) fn sample_upload(rows: u64, bad: f64) -> (Sample, Upload) {
    let (sample, bytes) = sample(rows, bad);
    (
        sample,
        Upload::new("sample.csv", bytes).field("schema", Sample::schema()),
    )
}

/// Three rows, the second of them bad.
pub(crate) const SMALL: &str = "id,name,value\n1,Amara,1.5\nx,Bjarne,2.5\n3,Chen,3.5\n";

/// The small file with the schema that makes its second row bad.
pub(crate) fn small_upload() -> Upload {
    Upload::new("small.csv", SMALL).field("schema", Sample::schema())
}
