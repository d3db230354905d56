//! How a file is read never changes what it comes to.

use proptest::prelude::*;

use crate::support::{Job, Outcome};

/// Runs `job` in every way and returns the one outcome.
#[track_caller]
pub(crate) fn every_way(job: &Job) -> Outcome {
    let whole = job.whole(1);
    assert_eq!(job.whole(3), whole, "on three threads");
    for split_bytes in [1, 7, 64] {
        let (pieces, count) = job.pieces(split_bytes);
        assert_same(
            &pieces,
            &whole,
            &format!("{count} pieces of {split_bytes} bytes"),
        );
    }
    whole
}

#[track_caller]
fn assert_same(pieces: &Outcome, whole: &Outcome, how: &str) {
    assert_eq!(pieces.report, whole.report, "{how}");
    assert_eq!(pieces.findings, whole.findings, "{how}");
    assert_eq!(pieces.rejected, whole.rejected, "{how}");
    assert_eq!(pieces.valid, whole.valid, "{how}");
}

const SCHEMA: &str = r#"{"fields": [
    {"name": "id", "type": "integer", "constraints": {"unique": true}},
    {"name": "name", "constraints": {"required": true}},
    {"name": "value", "type": "number"}
]}"#;

/// A table that is mostly well formed.
fn table() -> impl Strategy<Value = Vec<u8>> {
    let row = prop_oneof![
        6 => "[0-9]{1,3},[a-zé]{1,4},[0-9]{1,2}(\\.[0-9])?",
        2 => "[0-9]{1,2},\"[a-z,\n]{0,4}\",[0-9]",
        1 => "[0-9a-z,\"]{0,12}",
        1 => Just(String::new()),
    ];
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n")];
    let rows = prop::collection::vec((row, end), 0..30);
    rows.prop_map(|rows| {
        let body: String = rows
            .into_iter()
            .flat_map(|(row, end)| [row, end.to_owned()])
            .collect();
        format!("id,name,value\n{body}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whole_and_cut_files_come_to_the_same(bytes in table(), with_schema in any::<bool>(), batch_rows in 1_u32..8) {
        let mut job = Job::new(bytes);
        if with_schema {
            job = job.schema(SCHEMA);
        }
        job.limits.batch_rows = batch_rows;
        every_way(&job);
    }
}

#[test]
fn pieces_are_as_many_as_their_size_and_the_cap_on_tasks_say() {
    let mut job = Job::new("id\n".to_owned() + &"1234567\n".repeat(1000));
    job.limits.tasks_per_job = 10_000;
    assert_eq!(job.pieces(u64::MAX).1, 1);
    assert_eq!(job.pieces(8000).1, 1);
    assert_eq!(job.pieces(4000).1, 2);
    assert_eq!(job.pieces(1).1, 1000);
    job.limits.tasks_per_job = 7;
    assert_eq!(job.pieces(1).1, 7);
}

#[test]
fn text_that_must_be_transcoded_is_one_piece() {
    let utf_16: Vec<u8> = "id,name\n1,é\n2,ü\nx\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let job = Job::new(utf_16)
        .schema(r#"{"fields": [{"name": "id", "type": "integer"}, {"name": "name"}]}"#);
    let whole = job.whole(1);
    let (pieces, count) = job.pieces(1);
    assert_same(&pieces, &whole, "one piece");
    assert_eq!(count, 1);
    assert_eq!((whole.tally.rows_valid, whole.tally.rows_failed), (2, 1));
    assert!(
        whole
            .findings()
            .iter()
            .all(|finding| finding.byte_offset.is_none())
    );
}
