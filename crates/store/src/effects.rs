//! What a task leaves when it ends, whether it read to its end or not.

use filejobs_core::report::{Facts, Tally};
use serde_json::Value;

use crate::{PlanCommit, StoredPart, TaskCommit};

/// A task's effects, all but its findings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effects<'a> {
    /// Layout and schema.
    pub facts: Option<&'a Facts>,
    /// Its counters.
    pub tally: Option<&'a Tally>,
    /// Its parts of valid rows.
    pub parts: &'a [StoredPart],
    /// The blob of its rejected rows.
    pub rejected: Option<&'a str>,
    /// What its processor has to tell.
    pub result: Option<&'a Value>,
    /// Rows of the whole file, from a plan.
    pub rows_total: Option<u64>,
}

impl<'a> From<&'a TaskCommit> for Effects<'a> {
    fn from(commit: &'a TaskCommit) -> Self {
        Self {
            facts: known(&commit.facts),
            tally: Some(&commit.tally),
            parts: &commit.parts,
            rejected: commit.rejected.as_deref(),
            result: Some(&commit.processor).filter(|value| !value.is_null()),
            rows_total: None,
        }
    }
}

impl<'a> From<&'a PlanCommit> for Effects<'a> {
    fn from(plan: &'a PlanCommit) -> Self {
        Self {
            facts: known(&plan.facts),
            tally: Some(&plan.tally),
            rows_total: Some(plan.rows_total),
            ..Self::default()
        }
    }
}

impl<'a> Effects<'a> {
    /// Of a task that failed. Counters that do not add up are not worth keeping, nor is what comes with them.
    #[must_use]
    pub fn of_failed(commit: Option<&'a TaskCommit>) -> Self {
        let sound = commit.filter(|commit| commit.tally.check().is_ok());
        sound.map_or_else(Self::default, Self::from)
    }
}

/// Facts that say something.
fn known(facts: &Facts) -> Option<&Facts> {
    Some(facts).filter(|facts| facts.layout.is_some() || facts.schema.is_some())
}
