//! How blobs are named, and whose a name is.

use filejobs_core::{FileName, JobId};

/// The first parts of all keys.
pub(crate) const AREAS: [&str; 3] = ["uploads", "results", "plans"];

/// The key of a job's uploaded file.
#[must_use]
pub fn upload_key(job: JobId, name: &FileName) -> String {
    format!("uploads/{job}_{}", name.sanitized())
}

/// The key of a task's result.
#[must_use]
pub fn result_key(job: JobId, generation: u32, task_index: u32, name: &str) -> String {
    format!("results/{job}/{generation}/{task_index:05}-{name}")
}

/// The key of what a plan leaves for the pieces.
#[must_use]
pub fn plan_key(job: JobId, generation: u32, name: &str) -> String {
    format!("plans/{job}/{generation}/{name}")
}

/// The job that a key of ours belongs to. `None` for one that we never make: somebody else's, which no sweep touches.
pub(crate) fn job_of(key: &str) -> Option<JobId> {
    let (job, _) = match key.split_once('/')? {
        ("uploads", name) if !name.contains('/') => name.split_once('_')?,
        ("results" | "plans", below) => below.split_once('/')?,
        _ => return None,
    };
    job.parse().ok()
}

/// Whether the part of a key that names a generation names one before `before`.
pub(crate) fn is_before(part: &str, before: u32) -> bool {
    part.parse()
        .is_ok_and(|generation: u32| generation < before)
}

#[cfg(test)]
mod tests {
    use filejobs_core::Sources;

    use super::*;

    #[test]
    fn only_keys_of_ours_belong_to_a_job() {
        let job = Sources::system().job_id();
        let ours = [
            upload_key(job, &FileName::new("../a b_c.csv", 255)),
            result_key(job, 3, 7, "a"),
            plan_key(job, 3, "b"),
        ];
        for key in ours {
            assert_eq!(job_of(&key), Some(job), "{key}");
        }
        let others = [
            format!("uploads/{job}"),
            format!("uploads/{job}-a"),
            format!("uploads/{job}_a/b"),
            format!("uploads/{job}/a_b"),
            format!("uploads-old/{job}_a"),
            format!("results/{job}"),
            format!("results/{job}_a/b"),
            format!("resultsets/{job}/a"),
            format!("/plans/{job}/0/a"),
            format!("x/plans/{job}/0/a"),
            "uploads/report_2026.csv".to_owned(),
            "results/2026/summary.csv".to_owned(),
            String::new(),
        ];
        for key in others {
            assert_eq!(job_of(&key), None, "{key}");
        }
    }
}
