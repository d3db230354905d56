//! What is counted of jobs, whichever process makes or ends them.
//!
//! A store notes it in the transaction and records it once that is committed: a transaction that is rolled back and done
//! again counts once.

use std::time::Duration;

use filejobs_core::{FailureClass, FileType, Outcome};
use filejobs_metrics::table;

use crate::{Job, NewJob};

/// Something to count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// A job was handed in.
    Created {
        /// The kind of its file.
        file_type: FileType,
        /// The size of its file.
        bytes: u64,
    },
    /// A job has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Who can do something about its failure.
        failure_class: Option<FailureClass>,
        /// Time from its first claim; `None` when no worker ever had it.
        took: Option<Duration>,
    },
}

impl Count {
    /// That `new` is handed in.
    #[must_use]
    pub fn created(new: &NewJob) -> Self {
        Self::Created {
            file_type: new.file_type,
            bytes: new.file_size,
        }
    }

    /// That `job` has ended; `None` while it has not.
    #[must_use]
    pub fn ended(job: &Job) -> Option<Self> {
        let times = job.started_at.zip(job.completed_at);
        let took = times.and_then(|(from, to)| to.duration_since(from).try_into().ok());
        Some(Self::Ended {
            outcome: job.outcome?,
            failure_class: job.failure_class,
            took,
        })
    }

    /// Counts it.
    pub fn record(self) {
        match self {
            Self::Created { file_type, bytes } => {
                table::JOBS_CREATED.one([file_type.as_str()]);
                table::UPLOADED.add([], bytes);
            }
            Self::Ended {
                outcome,
                failure_class,
                took,
            } => {
                let outcome = outcome.as_str();
                let class = failure_class.map_or("", FailureClass::as_str);
                table::JOBS_FINISHED.one([outcome, class]);
                if let Some(took) = took {
                    table::JOB_PROCESSING.observe([outcome], took);
                }
            }
        }
    }
}
