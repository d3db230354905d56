//! From a scratch folder to blobs: which files of a run are kept, under which keys.
//!
//! Every name carries the attempt. A worker that lost its lease without noticing can then neither overwrite nor
//! remove what the next attempt stores.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use filejobs_blobs::{plan_key, result_key};
use filejobs_core::JobId;
use filejobs_engine::task::{Part, Plan, RunResult, outputs};
use filejobs_store::StoredPart;

/// The largest result that is believed: a table of 16,384 columns with long labels needs a tenth.
const RESULT_BYTES: u64 = 64 << 20;

/// Why the child's outputs cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A name that is no plain file name.
    #[error("an output has a name that leads out of its folder")]
    Name,
    /// A link, a folder or nothing at all.
    #[error("an output that the result names is no file")]
    NotAFile,
}

/// Where a task's outputs belong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) job: JobId,
    pub(crate) generation: u32,
    pub(crate) task_index: u32,
    pub(crate) attempt: u32,
}

/// Files to store, and what the commit says of them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outputs {
    /// Keys with the files that become blobs.
    pub(crate) files: Vec<(String, PathBuf)>,
    /// The parts of valid rows.
    pub(crate) parts: Vec<StoredPart>,
    /// The key of the rejected rows.
    pub(crate) rejected: Option<String>,
}

impl Outputs {
    /// The keys alone.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(key, _)| key.as_str())
    }
}

impl Place {
    fn key(&self, name: &str) -> String {
        let name = with_attempt(self.attempt, name);
        result_key(self.job, self.generation, self.task_index, &name)
    }

    /// What is kept of a run over rows: parts, their row numbers, and the rejected rows when there are any.
    pub(crate) fn of_rows(&self, out: &Path, result: &RunResult) -> Result<Outputs, Error> {
        let mut kept = Outputs::default();
        // Nobody may read the results of a job that failed.
        let parts: &[Part] = if result.failure.is_none() {
            &result.parts
        } else {
            &[]
        };
        for part in parts {
            let stem = part.name.strip_suffix(".parquet").ok_or(Error::Name)?;
            let rows_name = format!("{stem}.rows");
            let (path, bytes) = plain_file(out, &part.name)?;
            let (rows_path, _) = plain_file(out, &rows_name)?;
            let (blob, rows_blob) = (self.key(&part.name), self.key(&rows_name));
            kept.files.push((blob.clone(), path));
            kept.files.push((rows_blob.clone(), rows_path));
            kept.parts.push(StoredPart {
                task_index: self.task_index,
                blob,
                rows_blob,
                rows: part.rows,
                bytes,
            });
        }
        if result.tally.rows_failed > 0 {
            let (path, _) = plain_file(out, outputs::REJECTED)?;
            let key = self.key(outputs::REJECTED);
            kept.files.push((key.clone(), path));
            kept.rejected = Some(key);
        }
        Ok(kept)
    }

    /// What is kept of a plan: the lists of repeated keys. The plan's pieces name them by what they are stored as.
    pub(crate) fn of_plan(&self, out: &Path, plan: &mut Plan) -> Result<Outputs, Error> {
        let mut kept = Outputs::default();
        let mut seen = HashSet::new();
        for piece in &mut plan.pieces {
            let Some(name) = &mut piece.repeats else {
                continue;
            };
            let (path, _) = plain_file(out, name)?;
            *name = with_attempt(self.attempt, name);
            if seen.insert(name.clone()) {
                let key = plan_key(self.job, self.generation, name);
                kept.files.push((key, path));
            }
        }
        Ok(kept)
    }

    /// The keys that earlier attempts may have stored for the same files: a worker that died between storing and
    /// committing left them.
    pub(crate) fn of_earlier_attempts(&self, kept: &Outputs) -> Vec<String> {
        const LOOK_BACK: u32 = 10;
        let mine = with_attempt(self.attempt, "");
        let earlier = self.attempt.saturating_sub(LOOK_BACK).max(1)..self.attempt;
        let keys = kept.keys().filter_map(|key| {
            // Jobs have such letters in their ids: only the last part of a key says who stored it.
            let (folder, name) = key.split_at(key.rfind('/')?);
            let (before, after) = name.split_once(&mine)?;
            Some((folder, before, after))
        });
        let keys = keys.collect::<Vec<_>>();
        earlier
            .flat_map(|attempt| {
                keys.iter().map(move |(folder, before, after)| {
                    format!("{folder}{before}{}", with_attempt(attempt, after))
                })
            })
            .collect()
    }
}

/// The findings of a run, when it wrote any.
pub(crate) fn findings(out: &Path) -> Option<PathBuf> {
    let (path, bytes) = plain_file(out, outputs::FINDINGS).ok()?;
    (bytes > 0).then_some(path)
}

/// Reads the result that a child left. `None` when it left none, or one that cannot be understood.
pub(crate) fn read_result(out: &Path) -> io::Result<Option<RunResult>> {
    let Ok((path, _)) = plain_file(out, outputs::RESULT) else {
        return Ok(None);
    };
    let mut text = Vec::new();
    File::open(path)?
        .take(RESULT_BYTES)
        .read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// A file that really lies in `out`: the child has read a hostile file, and what it leaves may be hostile, too.
fn plain_file(out: &Path, name: &str) -> Result<(PathBuf, u64), Error> {
    let path = out.join(plain_name(name)?);
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => Ok((path, meta.len())),
        Ok(_) | Err(_) => Err(Error::NotAFile),
    }
}

/// `name`, when it is one component of safe characters.
pub(crate) fn plain_name(name: &str) -> Result<&str, Error> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(safe) {
        Ok(name)
    } else {
        Err(Error::Name)
    }
}

fn with_attempt(attempt: u32, name: &str) -> String {
    format!("a{attempt}-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::report::{Facts, Tally};
    use filejobs_core::{Failure, FailureCode, Sources};
    use filejobs_engine::task::Piece;

    fn place(attempt: u32) -> Place {
        Place {
            job: Sources::system().job_id(),
            generation: 1,
            task_index: 2,
            attempt,
        }
    }

    fn facts() -> Facts {
        Facts {
            layout: None,
            schema: None,
            schema_inferred: false,
        }
    }

    fn result(rows_failed: u64) -> RunResult {
        RunResult {
            failure: None,
            facts: facts(),
            tally: Tally {
                rows_failed,
                ..Tally::default()
            },
            parts: vec![Part {
                name: outputs::part(1),
                rows: 2,
                bytes: 999,
            }],
            plan: None,
            processor: serde_json::Value::Null,
        }
    }

    fn folder() -> tempfile::TempDir {
        let out = tempfile::tempdir().unwrap();
        for name in [outputs::part(1), outputs::part_rows(1)] {
            std::fs::write(out.path().join(name), "rows").unwrap();
        }
        std::fs::write(out.path().join(outputs::REJECTED), "a\n").unwrap();
        out
    }

    #[test]
    fn two_attempts_share_no_key() {
        let out = folder();
        let (first, second) = (place(1), place(2));
        let first = Place {
            job: second.job,
            ..first
        };
        let [a, b] = [first, second].map(|place| place.of_rows(out.path(), &result(1)).unwrap());
        assert_eq!(a.files.len(), 3);
        assert!(a.keys().all(|key| !b.keys().any(|other| other == key)));
        let earlier = second.of_earlier_attempts(&b);
        assert_eq!(earlier, a.keys().collect::<Vec<_>>());
    }

    #[test]
    fn sizes_are_measured_not_believed() {
        let out = folder();
        let kept = place(1).of_rows(out.path(), &result(0)).unwrap();
        assert_eq!(kept.parts[0].bytes, 4);
    }

    #[test]
    fn rejected_rows_are_kept_when_there_are_any() {
        let out = folder();
        let none = place(1).of_rows(out.path(), &result(0)).unwrap();
        let some = place(1).of_rows(out.path(), &result(1)).unwrap();
        assert_eq!(none.rejected, None);
        assert!(
            some.rejected
                .is_some_and(|key| key.ends_with("a1-rejected.csv"))
        );
    }

    #[test]
    fn a_failed_run_keeps_its_rejected_rows_but_no_parts() {
        let out = folder();
        let mut failed = result(1);
        failed.failure = Some(Failure::new(FailureCode::TooManyErrors, "too many"));
        let kept = place(1).of_rows(out.path(), &failed).unwrap();
        assert_eq!(kept.parts, []);
        assert_eq!(kept.files.len(), 1);
    }

    #[test]
    fn names_and_links_that_lead_out_of_the_folder_are_refused() {
        let out = folder();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), out.path().join("link.parquet")).unwrap();
        for name in [
            "../valid.parquet",
            "/etc/passwd.parquet",
            "link.parquet",
            "absent.parquet",
            ".parquet",
            "",
        ] {
            let mut hostile = result(0);
            hostile.parts[0].name = name.to_owned();
            assert!(place(1).of_rows(out.path(), &hostile).is_err(), "{name}");
        }
    }

    #[test]
    fn pieces_name_their_repeats_as_they_are_stored() {
        let out = folder();
        std::fs::write(out.path().join("repeats-1"), "x").unwrap();
        let piece = Piece {
            index: 0,
            start: 0,
            end: 1,
            first_row: 1,
            first_line: 2,
            repeats: Some("repeats-1".to_owned()),
        };
        let mut plan = Plan {
            facts: facts(),
            pieces: vec![piece],
            rows_total: 1,
        };
        let kept = place(3).of_plan(out.path(), &mut plan).unwrap();
        assert_eq!(plan.pieces[0].repeats.as_deref(), Some("a3-repeats-1"));
        assert!(kept.files[0].0.ends_with("/a3-repeats-1"));
        assert!(kept.files[0].1.ends_with("repeats-1"));
    }
}
