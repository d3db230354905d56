//! A job as the commands show it.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::Cell;
use filejobs_core::{JobState, Outcome};
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Error};
use crate::exit::Exit;
use crate::terminal::{self, count, counted, shown};

/// The fields of a job that the commands use; the rest passes through `--json` untouched.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) filename: String,
    pub(crate) status: JobState,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) failure_class: Option<String>,
    pub(crate) error_message: Option<String>,
    #[serde(default)]
    pub(crate) file_size: u64,
    #[serde(default)]
    pub(crate) progress: f64,
    pub(crate) rows_total: Option<u64>,
    #[serde(default)]
    pub(crate) rows_processed: u64,
    #[serde(default)]
    pub(crate) rows_failed: u64,
    #[serde(default)]
    pub(crate) errors_by_code: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) errors_truncated: bool,
    #[serde(default)]
    pub(crate) priority: u8,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) generation: u32,
    pub(crate) rows_per_second: Option<f64>,
    pub(crate) eta_seconds: Option<f64>,
    pub(crate) waiting_message: Option<String>,
    pub(crate) queue_position: Option<u64>,
    #[serde(default)]
    pub(crate) queue_position_at_least: Option<bool>,
    pub(crate) estimated_start_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
}

impl Job {
    /// Reads a job out of an answer.
    pub(crate) fn read(api: &Api, answer: &Value) -> Result<Self, Error> {
        Self::deserialize(answer).map_err(|e| api.foreign(e))
    }

    /// How a command ends that waited for this job.
    pub(crate) fn exit(&self) -> Exit {
        match self.outcome {
            Some(Outcome::Completed) | None => Exit::Clean,
            Some(Outcome::CompletedWithErrors | Outcome::Failed) => Exit::Failed,
            Some(Outcome::Cancelled) => Exit::Cancelled,
        }
    }

    /// Findings, counted over all codes.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors_by_code.values().sum()
    }

    /// One line for a progress bar or a log.
    pub(crate) fn progress_line(&self) -> String {
        let mut parts = vec![self.status.to_string(), counted(self.rows_processed, "row")];
        if self.rows_failed > 0 {
            parts.push(format!("{} bad", count(self.rows_failed)));
        }
        if let Some(speed) = self.rows_per_second.filter(|s| *s >= 1.0) {
            parts.push(format!("{}/s", count(terminal::whole(speed))));
        }
        if let Some(eta) = self.eta_seconds.filter(|s| *s >= 1.0) {
            let eta = Duration::from_secs(terminal::whole(eta));
            parts.push(format!("{} left", terminal::duration(eta)));
        }
        parts.join("  ")
    }

    /// How it ended, or stands, in one sentence.
    pub(crate) fn verdict(&self) -> String {
        let rows = counted(self.rows_processed, "row");
        match (self.status, &self.error_message) {
            (JobState::Completed, _) if self.errors_total() == 0 => format!("{rows}, all valid"),
            (JobState::Completed, _) => format!(
                "{rows}: {} valid, {} rejected, {}",
                count(self.rows_processed - self.rows_failed.min(self.rows_processed)),
                count(self.rows_failed),
                counted(self.errors_total(), "finding"),
            ),
            (JobState::Failed, Some(message)) => {
                let class = self.failure_class.as_deref().unwrap_or("unknown");
                format!("failed ({class}): {}", shown(message, 500))
            }
            (JobState::Failed, None) => "failed".to_owned(),
            (JobState::Cancelled, _) => format!("cancelled after {rows}"),
            (JobState::Queued | JobState::Processing | JobState::Suspended, _) => {
                self.progress_line()
            }
        }
    }

    /// Where it stands in line, and when it starts about.
    fn place(&self) -> Option<String> {
        let least = match self.queue_position_at_least {
            Some(true) => "at least ",
            _ => "",
        };
        let place = format!("{least}{}", count(self.queue_position?));
        Some(match self.estimated_start_seconds {
            None => place,
            Some(0) => format!("{place}, starts at once"),
            Some(seconds) => {
                let time = terminal::duration(Duration::from_secs(seconds));
                format!("{place}, starts in about {time}")
            }
        })
    }

    /// Everything that a person asks of a job, one fact a line.
    pub(crate) fn describe(&self) -> String {
        let mut pairs = vec![
            ("job", self.id.clone()),
            (
                "file",
                format!(
                    "{} ({})",
                    shown(&self.filename, 120),
                    terminal::size(self.file_size)
                ),
            ),
            ("status", self.status.to_string()),
            ("result", self.verdict()),
        ];
        if !self.status.is_terminal() {
            pairs.push(("progress", format!("{:.0} %", self.progress)));
            if let Some(total) = self.rows_total {
                pairs.push(("rows", count(total)));
            }
        }
        if let Some(message) = &self.waiting_message {
            pairs.push(("waiting", shown(message, 200)));
        }
        if let Some(place) = self.place() {
            pairs.push(("place in line", place));
        }
        if !self.errors_by_code.is_empty() {
            let codes = self
                .errors_by_code
                .iter()
                .map(|(code, n)| format!("{code} {}", count(*n)));
            let mut text = codes.collect::<Vec<_>>().join(", ");
            if self.errors_truncated {
                text.push_str(" (not all are kept)");
            }
            pairs.push(("findings", shown(&text, 500)));
        }
        pairs.push(("priority", self.priority.to_string()));
        pairs.push(("namespace", shown(&self.namespace, 63)));
        pairs.push((
            "attempt",
            format!("{} (generation {})", self.attempt, self.generation),
        ));
        pairs.push(("created", shown(&self.created_at, 40)));
        for (name, time) in [
            ("started", &self.started_at),
            ("completed", &self.completed_at),
        ] {
            if let Some(time) = time {
                pairs.push((name, shown(time, 40)));
            }
        }
        terminal::pairs(&pairs)
    }
}

/// Heads of the columns of [`findings_row`].
pub(crate) const FINDINGS_HEADER: [&str; 6] =
    ["row", "cell", "column", "code", "value", "what is wrong"];

/// A finding, as `/errors` and `findings.ndjson` have it, as a row of a table.
pub(crate) fn findings_row(finding: &Value) -> Vec<Cell> {
    let text = |name: &str, max| {
        let value = finding.get(name).and_then(Value::as_str);
        Cell::new(shown(value.unwrap_or_default(), max))
    };
    let row = finding
        .get("row_number")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    vec![
        if row == 0 {
            Cell::new("header")
        } else {
            terminal::number(row)
        },
        text("cell", 12),
        text("column_name", 24),
        text("error_type", 24),
        text("raw_value", 32),
        text("error_message", 200),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job(fields: Value) -> Job {
        let mut job = serde_json::json!({"id": "j", "filename": "a.csv", "status": "COMPLETED"});
        let (Value::Object(job_map), Value::Object(fields)) = (&mut job, fields) else {
            panic!("an object is expected");
        };
        job_map.extend(fields);
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn the_exit_code_follows_the_outcome() {
        let cases = [
            ("completed", Exit::Clean),
            ("completed_with_errors", Exit::Failed),
            ("failed", Exit::Failed),
            ("cancelled", Exit::Cancelled),
        ];
        for (outcome, exit) in cases {
            assert_eq!(
                job(serde_json::json!({"outcome": outcome})).exit(),
                exit,
                "{outcome}"
            );
        }
    }

    #[test]
    fn a_job_that_waits_says_why_and_where_it_stands() {
        let job = job(serde_json::json!({
            "status": "QUEUED", "waiting_message": "It waits for a worker.", "queue_position": 12_000,
            "queue_position_at_least": true, "estimated_start_seconds": 90,
        }));
        assert_eq!(
            job.place().unwrap(),
            "at least 12,000, starts in about 1 min 30 s"
        );
        assert!(job.describe().contains("It waits for a worker."));
    }

    #[test]
    fn the_verdict_says_how_many_rows_and_why() {
        let clean = job(serde_json::json!({"rows_processed": 1200}));
        assert_eq!(clean.verdict(), "1,200 rows, all valid");
        let bad = job(serde_json::json!({
            "rows_processed": 10, "rows_failed": 2, "errors_by_code": {"type-error": 3},
        }));
        assert_eq!(bad.verdict(), "10 rows: 8 valid, 2 rejected, 3 findings");
        let failed = job(serde_json::json!({
            "status": "FAILED", "failure_class": "validation", "error_message": "The file is empty.",
        }));
        assert_eq!(failed.verdict(), "failed (validation): The file is empty.");
    }
}
