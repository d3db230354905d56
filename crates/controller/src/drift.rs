//! How far jobs and objects are apart: what a comparison has found and could not mend.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use filejobs_metrics::table;

use crate::error::Error;

/// After so many failures a comparison only counts: whoever refuses that often refuses the rest as well.
const FAILURES: u64 = 10;

/// What the last comparisons have left.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    /// Jobs that are to have an object and have none.
    jobs: AtomicU64,
    /// Links whose objects are gone, or may be.
    links: AtomicU64,
}

impl Drift {
    /// Jobs were compared.
    pub(crate) fn jobs(&self, comparison: Comparison) -> Result<(), Error> {
        self.note(&self.jobs, comparison)
    }

    /// Links were compared.
    pub(crate) fn links(&self, comparison: Comparison) -> Result<(), Error> {
        self.note(&self.links, comparison)
    }

    fn note(&self, of: &AtomicU64, comparison: Comparison) -> Result<(), Error> {
        of.store(comparison.apart, Ordering::Relaxed);
        let all = [&self.jobs, &self.links].map(|part| part.load(Ordering::Relaxed));
        table::MIRROR_DRIFT.set([], all.iter().sum::<u64>() as f64);
        comparison.failed.map_or(Ok(()), Err)
    }
}

/// A comparison under way.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    apart: u64,
    failures: u64,
    failed: Option<Error>,
}

impl Comparison {
    /// Mends something that was found, or counts it when that fails or does not help. Nothing is tried any more after
    /// many failures.
    pub(crate) async fn mend(&mut self, mending: impl Future<Output = Result<bool, Error>>) {
        if self.failures < FAILURES {
            match mending.await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    self.failures += 1;
                    self.failed.get_or_insert(error);
                }
            }
        }
        self.apart += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_mended_is_counted_and_not_tried_for_ever() {
        let mut comparison = Comparison::default();
        let mut tries = 0;
        for one in 0..100 {
            let mending = async {
                tries += 1;
                match one {
                    0 => Ok(true),
                    1 => Ok(false),
                    _ => Err(Error::Nameless("metadata.name")),
                }
            };
            comparison.mend(mending).await;
        }
        assert_eq!((comparison.apart, tries), (99, 12));
        let drift = Drift::default();
        assert!(drift.jobs(comparison).is_err());
        assert!(drift.links(Comparison::default()).is_ok());
        assert_eq!(drift.jobs.load(Ordering::Relaxed), 99);
    }
}
