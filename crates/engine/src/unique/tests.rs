use proptest::prelude::*;

use super::*;
use crate::validate::Places;
use crate::validate::tests::{batch, layout, schema};
use filejobs_core::Limits;

fn validator(json: &str) -> Validator {
    let schema = schema(json);
    let layout = layout(&schema, &[]);
    Validator::new(&schema, &layout, Places::Text, &Limits::default()).unwrap()
}

const KEYED: &str = r#"{
    "fields": [
        {"name": "a", "type": "integer", "constraints": {"unique": true}},
        {"name": "b", "constraints": {"unique": true}},
        {"name": "c", "type": "number"}
    ],
    "primaryKey": ["c", "a"]
}"#;

/// Repeats as (row, key, first row), found while streaming.
fn streamed(validator: &Validator, batches: &[RawBatch]) -> Vec<Repeat> {
    all(RepeatSource::streaming(validator), batches)
}

fn all(mut source: RepeatSource, batches: &[RawBatch]) -> Vec<Repeat> {
    let mut repeats = Repeats::default();
    let mut all = Vec::new();
    for raw in batches {
        source.next(raw, &mut repeats).unwrap();
        all.extend_from_slice(&repeats.0);
    }
    all
}

/// The same, found by a pass over all rows, in pieces that begin at `first_rows`.
fn passed(validator: &Validator, batches: &[RawBatch], first_rows: &[u64]) -> Vec<Vec<Repeat>> {
    let folder = tempfile::tempdir().unwrap();
    let mut pass = KeyPass::new(validator, folder.path()).unwrap();
    for raw in batches {
        pass.push(raw).unwrap();
    }
    let names = pass.finish(folder.path(), first_rows).unwrap();
    assert_eq!(names.len(), first_rows.len());
    names
        .iter()
        .map(|name| {
            let source = RepeatSource::listed(&folder.path().join(name)).unwrap();
            all(source, batches)
        })
        .collect()
}

fn in_batches(rows: &[Vec<String>], size: usize) -> Vec<RawBatch> {
    let mut first_row = 1;
    let mut batches = Vec::new();
    for chunk in rows.chunks(size) {
        let rows: Vec<&[String]> = chunk.iter().map(Vec::as_slice).collect();
        let mut raw = batch(&rows);
        raw.first_row = first_row;
        first_row += chunk.len() as u64;
        batches.push(raw);
    }
    batches
}

proptest! {
    // Each case makes files.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn memory_and_scratch_files_find_the_same(
        rows in proptest::collection::vec(
            ("[0-3]?|007|x", "[a-c]?|\u{fc}", "-?0|1|1.0|NaN|"), 1..80),
        size in 1usize..30,
        cut in 1u64..80,
    ) {
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(a, b, c)| vec![a, b, c]).collect();
        let batches = in_batches(&rows, size);
        let validator = validator(KEYED);
        let expected = streamed(&validator, &batches);
        prop_assert_eq!(&passed(&validator, &batches, &[1])[0], &expected);
        let second = cut.min(rows.len() as u64) + 1;
        let pieces = passed(&validator, &batches, &[1, second]);
        prop_assert!(pieces[0].iter().all(|repeat| repeat.row < second));
        prop_assert!(pieces[1].iter().all(|repeat| repeat.row >= second));
        prop_assert_eq!(pieces.concat(), expected);
    }
}

#[test]
fn values_are_compared_and_not_their_text() {
    let rows: [&[&str]; 8] = [
        &["7", "x", "1"],
        &["007", "X", "1.0"],
        &["8", "x", "-0"],
        &["", "", "0"],
        &["", "", "0"],
        &["abc", "y", "2"],
        &["abc", " x", "2"],
        &["9", "z"],
    ];
    let repeat = |row, key, first_row| Repeat {
        row,
        key,
        first_row,
    };
    let expected = [
        // `007` is 7, and 1.0 with it is the primary key of row 1.
        repeat(2, 0, 1),
        repeat(2, 2, 1),
        // The string `x`; ` x` is another one. Nulls and cells that are no integers equal nothing.
        repeat(3, 1, 1),
    ];
    assert_eq!(streamed(&validator(KEYED), &[batch(&rows)]), expected);
}

#[test]
fn blank_rows_and_broken_text_have_no_keys() {
    let validator = validator(r#"{"fields": [{"name": "a"}], "primaryKey": "a"}"#);
    let rows: [&[&[u8]]; 6] = [&[b"\xff"], &[b"\xff"], &[], &[], &[b"a"], &[b"a"]];
    let repeats = streamed(&validator, &[batch(&rows)]);
    assert_eq!(
        repeats,
        [Repeat {
            row: 6,
            key: 0,
            first_row: 5
        }]
    );
}

#[test]
fn many_keys_go_through_scratch_files() {
    let validator = validator(
        r#"{"fields": [{"name": "a", "type": "integer", "constraints": {"unique": true}}]}"#,
    );
    // More than the buffers hold; each row of the second half repeats one of the first, and all of the
    // last quarter are one value.
    let n = 600_000;
    let rows: Vec<Vec<String>> = (0..n)
        .map(|i| match i {
            _ if i < n / 2 => i.to_string(),
            _ if i < n * 3 / 4 => (i - n / 2).to_string(),
            _ => "5".to_owned(),
        })
        .map(|cell| vec![cell])
        .collect();
    let batches = in_batches(&rows, 10_000);
    let found = passed(&validator, &batches, &[1, 200_000]);
    assert!(found[0].is_empty());
    assert_eq!(found[1].len(), n / 2);
    assert_eq!(found[1], streamed(&validator, &batches));
}

#[test]
fn a_damaged_list_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    for bytes in [
        &b"\x05"[..],
        b"\x05\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = RepeatSource::listed(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
