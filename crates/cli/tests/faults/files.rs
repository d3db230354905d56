//! The files that are handed in, and what must come of each.

use std::collections::BTreeSet;

use filejobs_cli::sample::Sample;
use filejobs_testkit::http::Upload;

/// Rows of a file that is cut: a little over the mebibyte from which on files are.
const SPLIT_ROWS: u64 = 50_000;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// One task.
    Small { rows: u64 },
    /// A plan and several pieces.
    Split,
    /// Lacks a column: its job fails, and no attempt mends that.
    Unusable,
}

/// What must come of a file that nobody cancels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) status: &'static str,
    pub(crate) rows: u64,
    pub(crate) bad: u64,
    /// The ids of the good rows.
    pub(crate) ids: BTreeSet<u64>,
}

impl Content {
    /// The bytes of the file.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let rows = match self {
            Self::Small { rows } => rows,
            Self::Split => SPLIT_ROWS,
            Self::Unusable => return b"id,name\n1,Amara\n".to_vec(),
        };
        let sample = Sample {
            rows,
            bad: 5.0,
            seed: rows,
            ..Sample::default()
        };
        let mut bytes = Vec::new();
        sample.write(&mut bytes).unwrap();
        bytes
    }

    /// The upload of the file under a name, which is its idempotency key as well.
    pub(crate) fn upload(self, name: &str) -> Upload {
        Upload::new(format!("{name}.csv"), self.bytes())
            .field("schema", Sample::schema())
            .key(name)
    }

    /// What must come of it, read off its bytes without the engine.
    pub(crate) fn truth(self) -> Truth {
        if self == Self::Unusable {
            return Truth {
                status: "FAILED",
                rows: 0,
                bad: 0,
                ids: BTreeSet::new(),
            };
        }
        let text = String::from_utf8(self.bytes()).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let ids: BTreeSet<u64> = rows.iter().filter_map(|row| good_id(row)).collect();
        Truth {
            status: "COMPLETED",
            rows: rows.len() as u64,
            bad: (rows.len() - ids.len()) as u64,
            ids,
        }
    }
}

/// The id of a row that keeps the schema.
fn good_id(row: &str) -> Option<u64> {
    let cells: Vec<&str> = row.split(',').collect();
    let [id, name, value] = cells[..] else {
        return None;
    };
    value.parse::<f64>().ok()?;
    id.parse().ok().filter(|_| !name.is_empty())
}

#[test]
fn the_truth_is_what_the_sample_says_of_itself() {
    let truth = Content::Split.truth();
    assert_eq!((truth.rows, truth.bad), (SPLIT_ROWS, SPLIT_ROWS / 20));
    assert!(Content::Split.bytes().len() > 1 << 20);
}
