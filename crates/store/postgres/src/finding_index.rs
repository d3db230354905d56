//! What pages need to know about a batch of findings: the columns they are at, and how many there are of each kind.

use std::collections::{BTreeMap, HashMap};

use filejobs_core::{Finding, FindingCode};

use crate::numbers::small;

/// Grows with the findings of one batch.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Columns by name, each with the number that findings have for it.
    labels: HashMap<String, i32>,
    counts: BTreeMap<(FindingCode, Option<i32>), i64>,
}

/// How many findings there are of each code and column, as columns of a table.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) codes: Vec<i16>,
    pub(crate) labels: Vec<Option<i32>>,
    pub(crate) findings: Vec<i64>,
}

impl Index {
    /// Counts a finding; gives the number of its column.
    pub(crate) fn add(&mut self, finding: &Finding) -> Option<i32> {
        let label = finding.column_name.as_ref().map(|name| {
            if let Some(label) = self.labels.get(name) {
                return *label;
            }
            let label = small(u32::try_from(self.labels.len()).unwrap_or(u32::MAX));
            self.labels.insert(name.clone(), label);
            label
        });
        *self.counts.entry((finding.code, label)).or_insert(0) += 1;
        label
    }

    /// Columns: numbers and, in the same order, names.
    pub(crate) fn labels(&self) -> (Vec<i32>, Vec<Vec<u8>>) {
        let labels = self.labels.iter();
        labels
            .map(|(name, label)| (*label, name.clone().into_bytes()))
            .unzip()
    }

    pub(crate) fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for ((code, label), findings) in &self.counts {
            counted.codes.push(number(*code));
            counted.labels.push(*label);
            counted.findings.push(*findings);
        }
        counted
    }
}

/// A code as it is stored: its place in the list of codes.
pub(crate) fn number(code: FindingCode) -> i16 {
    i16::from(code as u8)
}

/// The code with a stored number.
pub(crate) fn code(number: i16) -> Option<FindingCode> {
    FindingCode::ALL.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number() {
        for known in FindingCode::ALL {
            assert_eq!(code(number(*known)), Some(*known));
        }
        assert_eq!(code(-1), None);
        assert_eq!(code(1_000), None);
    }
}
