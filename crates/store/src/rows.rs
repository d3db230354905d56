//! Rows as databases give them, read into the model: the same for each database, so that what is stored means the same.
//!
//! A row's fields are as raw as the database has them: numbers are 64 bits wide, JSON is text, and a time is whatever
//! type the database's driver gives ([`StoredTime`]). What cannot be read is [`Corrupt`] and says where it stands.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::str::FromStr;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::quotas::Load;
use filejobs_core::report::Tally;
use filejobs_core::{
    FileType, Grant, JobId, JobState, KeyHash, Options, Outcome, Scope, TaskId, WorkerId,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    Claimed, DeadLetter, Delivery, DeliveryAttempt, Event, Expired, Job, Remains, Running,
    StoredApiKey, StoredPart, TaskCounts, TaskKind, Ticket, Tombstone, Waiting, WorkerInfo,
};

/// A stored value that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("table {table}, column {column}: the value in row {row} cannot be read")]
pub struct Corrupt {
    table: &'static str,
    column: &'static str,
    row: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

type Result<T> = std::result::Result<T, Corrupt>;

/// A time as a database's driver gives it.
pub trait StoredTime: Copy + Ord {
    /// The time itself; `None` when it is out of range.
    fn timestamp(self) -> Option<Timestamp>;
}

/// Microseconds since 1970.
impl StoredTime for i64 {
    fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self).ok()
    }
}

/// A row being read: says where bad data is.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The table it stands in.
    pub table: &'static str,
    /// What names it there.
    pub row: &'a (dyn Display + Sync),
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.table, self.row)
    }
}

impl Reading<'_> {
    /// A number that fits its type.
    pub fn number<T: TryFrom<i64>>(self, column: &'static str, value: i64) -> Result<T> {
        T::try_from(value).map_err(|_| self.corrupt(column, None))
    }

    /// A time.
    pub fn time(self, column: &'static str, value: impl StoredTime) -> Result<Timestamp> {
        value.timestamp().ok_or_else(|| self.corrupt(column, None))
    }

    /// A word of a closed set, or an identifier.
    pub fn word<T: FromStr>(self, column: &'static str, value: &str) -> Result<T> {
        value.parse().map_err(|_| self.corrupt(column, None))
    }

    /// One of `all` by its name.
    pub fn one_of<T: Copy>(
        self,
        column: &'static str,
        value: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T> {
        let found = all.iter().copied().find(|item| name(*item) == value);
        found.ok_or_else(|| self.corrupt(column, None))
    }

    /// A JSON document.
    pub fn json<T: DeserializeOwned>(self, column: &'static str, value: &str) -> Result<T> {
        serde_json::from_str(value).map_err(|e| self.corrupt(column, Some(e.into())))
    }

    /// A value that cannot be read, and why.
    #[must_use]
    pub fn corrupt(
        self,
        column: &'static str,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Corrupt {
        Corrupt {
            table: self.table,
            column,
            row: self.row.to_string(),
            source,
        }
    }
}

/// A count as databases store it. Nothing we count comes near the end of 63 bits.
#[must_use]
pub fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row of `jobs` with the progress of its running tasks.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct JobRow<T> {
    pub id: Uuid,
    pub namespace: String,
    pub filename: String,
    pub blob: String,
    pub file_size: i64,
    pub file_type: String,
    pub sha256: String,
    pub options: String,
    pub schema: Option<String>,
    pub processor: String,
    pub webhook_url: Option<String>,
    pub priority: i64,
    pub findings_max: i64,
    pub status: String,
    pub failure_code: Option<String>,
    pub error_message: Option<String>,
    pub generation: i64,
    pub attempt: i64,
    pub rows_total: Option<i64>,
    pub rows_processed: i64,
    pub rows_failed: i64,
    pub bytes_processed: i64,
    pub errors_stored: i64,
    pub tally: Option<String>,
    pub facts: Option<String>,
    pub tasks_total: i64,
    pub tasks_done: i64,
    pub tasks_failed: i64,
    pub created_at: T,
    pub queued_at: T,
    pub started_at: Option<T>,
    pub completed_at: Option<T>,
    pub updated_at: T,
    pub last_event: i64,
    pub running_rows: i64,
    pub running_failed: i64,
    pub running_bytes: i64,
    pub running_at: Option<T>,
}

/// What is committed of a job, its running tasks left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its id.
    pub job: JobId,
    /// Where it stands.
    pub status: JobState,
    /// Counters of its committed tasks.
    pub tally: Tally,
    /// What the sender overrides.
    pub options: Options,
    /// Rows in the file, once known.
    pub rows_total: Option<u64>,
    /// Cap on stored findings.
    pub findings_max: u64,
    /// All its tasks.
    pub tasks_total: u32,
    /// Those whose effects are committed.
    pub tasks_done: u32,
    /// Those that failed for good.
    pub tasks_failed: u32,
}

impl<T: StoredTime> JobRow<T> {
    /// What its tasks have left until now: the part of it that the end of another one is added to.
    pub fn committed(&self) -> Result<Committed> {
        let id = JobId::from_uuid(self.id);
        let row = Reading {
            table: "jobs",
            row: &id,
        };
        let tally = self.tally.as_deref().map(|tally| row.json("tally", tally));
        let rows_total = self.rows_total.map(|n| row.number("rows_total", n));
        Ok(Committed {
            job: id,
            status: row.word("status", &self.status)?,
            tally: tally.transpose()?.unwrap_or_default(),
            options: row.json("options", &self.options)?,
            rows_total: rows_total.transpose()?,
            findings_max: row.number("findings_max", self.findings_max)?,
            tasks_total: row.number("tasks_total", self.tasks_total)?,
            tasks_done: row.number("tasks_done", self.tasks_done)?,
            tasks_failed: row.number("tasks_failed", self.tasks_failed)?,
        })
    }

    /// The job.
    pub fn read(self) -> Result<Job> {
        let id = JobId::from_uuid(self.id);
        let row = Reading {
            table: "jobs",
            row: &id,
        };
        let status: JobState = row.word("status", &self.status)?;
        let failure_code = self
            .failure_code
            .map(|code| row.one_of("failure_code", &code, FailureCode::ALL, FailureCode::as_str))
            .transpose()?;
        let tally: Option<Tally> = self
            .tally
            .map(|tally| row.json("tally", &tally))
            .transpose()?;
        let errors_by_code = tally
            .as_ref()
            .map(|tally| tally.errors_by_code.clone())
            .unwrap_or_default();
        let errors_stored = row.number("errors_stored", self.errors_stored)?;
        let updated_at = self.running_at.map_or(self.updated_at, |running_at| {
            running_at.max(self.updated_at)
        });
        Ok(Job {
            id,
            namespace: row.word("namespace", &self.namespace)?,
            filename: self.filename,
            blob: self.blob,
            file_size: row.number("file_size", self.file_size)?,
            file_type: file_type(row, &self.file_type)?,
            sha256: self.sha256,
            status,
            outcome: Outcome::of(status, errors_by_code.total()),
            failure_class: failure_code.map(FailureCode::class),
            failure_code,
            error_message: self.error_message,
            rows_total: (self.rows_total)
                .map(|n| row.number("rows_total", n))
                .transpose()?,
            rows_processed: row
                .number("rows_processed", self.rows_processed + self.running_rows)?,
            rows_failed: row.number("rows_failed", self.rows_failed + self.running_failed)?,
            bytes_processed: row
                .number("bytes_processed", self.bytes_processed + self.running_bytes)?,
            errors_stored,
            errors_truncated: errors_stored < errors_by_code.total(),
            errors_by_code,
            tally: tally.filter(|_| status.is_terminal()),
            facts: (self.facts)
                .map(|facts| row.json("facts", &facts))
                .transpose()?,
            options: row.json("options", &self.options)?,
            schema: (self.schema)
                .map(|schema| row.json("schema", &schema))
                .transpose()?,
            processor: row.json("processor", &self.processor)?,
            webhook_url: self.webhook_url,
            priority: row.number("priority", self.priority)?,
            findings_max: row.number("findings_max", self.findings_max)?,
            attempt: row.number("attempt", self.attempt)?,
            generation: row.number("generation", self.generation)?,
            tasks: TaskCounts {
                total: row.number("tasks_total", self.tasks_total)?,
                done: row.number("tasks_done", self.tasks_done)?,
                failed: row.number("tasks_failed", self.tasks_failed)?,
            },
            created_at: row.time("created_at", self.created_at)?,
            queued_at: row.time("queued_at", self.queued_at)?,
            started_at: (self.started_at)
                .map(|at| row.time("started_at", at))
                .transpose()?,
            completed_at: (self.completed_at)
                .map(|at| row.time("completed_at", at))
                .transpose()?,
            updated_at: row.time("updated_at", updated_at)?,
            last_event: row.number("last_event", self.last_event)?,
        })
    }
}

fn file_type(row: Reading<'_>, name: &str) -> Result<FileType> {
    const ALL: [FileType; 5] = [
        FileType::Csv,
        FileType::Xlsx,
        FileType::Xls,
        FileType::Xlsb,
        FileType::Ods,
    ];
    row.one_of("file_type", name, &ALL, FileType::as_str)
}

/// A task as a claim takes it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct ClaimedRow {
    pub attempt: i64,
    /// Claims that were not given back.
    pub spent: i64,
    pub kind: String,
    pub idx: i64,
    pub piece: String,
}

impl ClaimedRow {
    /// The task, with its job as the claim leaves it.
    pub fn read(self, task: TaskId, job: Job) -> Result<Claimed> {
        let row = of_task(&task);
        Ok(Claimed {
            task,
            attempt: row.number("attempt", self.attempt)?,
            attempts_spent: row.number("attempt", self.spent)?,
            kind: task_kind(row, &self.kind)?,
            index: row.number("idx", self.idx)?,
            piece: row.json("piece", &self.piece)?,
            job,
        })
    }
}

/// What a task does.
pub fn task_kind(row: Reading<'_>, name: &str) -> Result<TaskKind> {
    row.one_of("kind", name, &TaskKind::ALL, TaskKind::as_str)
}

/// A row of `tasks`.
#[must_use]
pub fn of_task(task: &TaskId) -> Reading<'_> {
    Reading {
        table: "tasks",
        row: task,
    }
}

/// A ticket for a task after `attempt` attempts.
pub fn ticket(task: Uuid, attempt: i64) -> Result<Ticket> {
    let task = TaskId::from_uuid(task);
    let attempt = of_task(&task).number("attempt", attempt)?;
    Ok(Ticket { task, attempt })
}

/// A task that may be published.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct WaitingRow<T> {
    pub id: Uuid,
    pub job: Uuid,
    pub namespace: String,
    pub priority: i64,
    pub queued_at: T,
    /// Whether its job is being processed.
    pub processing: bool,
}

/// Tasks that are published or running.
#[derive(Debug, Default)]
pub struct Busy {
    namespaces: HashMap<String, i64>,
    jobs: HashSet<Uuid>,
}

impl Busy {
    /// Counts the `tasks` of a job in.
    pub fn add(&mut self, namespace: String, job: Uuid, tasks: i64) {
        *self.namespaces.entry(namespace).or_default() += tasks;
        self.jobs.insert(job);
    }
}

impl<T: StoredTime> WaitingRow<T> {
    /// The task, beside those that are `busy`.
    pub fn read(self, busy: &Busy) -> Result<Waiting> {
        let task = TaskId::from_uuid(self.id);
        let row = of_task(&task);
        let namespace_busy = busy.namespaces.get(&self.namespace).copied();
        Ok(Waiting {
            task,
            job: JobId::from_uuid(self.job),
            priority: row.number("priority", self.priority)?,
            queued_at: row.time("queued_at", self.queued_at)?,
            // Between the publishing of its first task and the claim a job is still queued.
            begun: self.processing || busy.jobs.contains(&self.job),
            namespace_busy: row.number("state", namespace_busy.unwrap_or(0))?,
            namespace: row.word("namespace", &self.namespace)?,
        })
    }
}

/// What is to be removed from the storage: of a deleted job, or the file of a completed one.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct TombstoneRow {
    pub job: Uuid,
    pub blob: String,
    /// Whether only the file goes.
    pub upload: bool,
    pub tries: i64,
}

impl TombstoneRow {
    /// What it remembers.
    pub fn read(self) -> Result<Tombstone> {
        let id = JobId::from_uuid(self.job);
        let row = Reading {
            table: "tombstones",
            row: &id,
        };
        Ok(Tombstone {
            id,
            blob: self.blob,
            remains: if self.upload {
                Remains::Upload
            } else {
                Remains::Job
            },
            tries: row.number("tries", self.tries)?,
        })
    }
}

/// What runs in a namespace.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct RunningRow {
    pub namespace: String,
    pub jobs: i64,
    pub tasks: i64,
}

impl RunningRow {
    /// What runs there.
    pub fn read(self) -> Result<Running> {
        let row = Reading {
            table: "tasks",
            row: &self.namespace,
        };
        let load = Load {
            jobs: row.number("job", self.jobs)?,
            tasks: row.number("state", self.tasks)?,
        };
        let namespace = row.word("namespace", &self.namespace)?;
        Ok(Running { namespace, load })
    }
}

/// A running task whose lease has run out.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct ExpiredRow {
    pub id: Uuid,
    pub job: Uuid,
    pub attempt: i64,
    pub spent: i64,
    pub worker: String,
}

impl ExpiredRow {
    /// The task.
    pub fn read(self) -> Result<Expired> {
        let task = TaskId::from_uuid(self.id);
        let row = of_task(&task);
        Ok(Expired {
            task,
            job: JobId::from_uuid(self.job),
            attempt: row.number("attempt", self.attempt)?,
            attempts_spent: row.number("released", self.spent)?,
            worker: WorkerId::new(self.worker),
        })
    }
}

/// A task that used up its attempts.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct DeadRow<T> {
    pub id: Uuid,
    pub job: Uuid,
    pub idx: i64,
    pub spent: i64,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub ended_at: T,
}

impl<T: StoredTime> DeadRow<T> {
    /// The task.
    pub fn read(self) -> Result<DeadLetter> {
        let task = TaskId::from_uuid(self.id);
        let row = of_task(&task);
        let code = self
            .failure_code
            .map(|code| row.one_of("failure_code", &code, FailureCode::ALL, FailureCode::as_str))
            .transpose()?;
        let message = self.failure_message.unwrap_or_default();
        Ok(DeadLetter {
            task,
            job: JobId::from_uuid(self.job),
            index: row.number("idx", self.idx)?,
            attempts: row.number("attempt", self.spent)?,
            failure: code.map(|code| Failure::new(code, message)),
            failed_at: row.time("ended_at", self.ended_at)?,
        })
    }
}

/// A row of `parts` with its task's place.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct PartRow {
    pub idx: i64,
    pub blob: String,
    pub rows_blob: String,
    pub rows: i64,
    pub bytes: i64,
}

impl PartRow {
    /// The part of a job.
    pub fn read(self, job: JobId) -> Result<StoredPart> {
        let row = Reading {
            table: "parts",
            row: &job,
        };
        Ok(StoredPart {
            task_index: row.number("idx", self.idx)?,
            blob: self.blob,
            rows_blob: self.rows_blob,
            rows: row.number("rows", self.rows)?,
            bytes: row.number("bytes", self.bytes)?,
        })
    }
}

/// A row of `events`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct EventRow<T> {
    pub id: i64,
    pub kind: String,
    pub at: T,
    pub data: String,
}

impl<T: StoredTime> EventRow<T> {
    /// The event of a job.
    pub fn read(self, job: JobId) -> Result<Event> {
        let row = Reading {
            table: "events",
            row: &job,
        };
        Ok(Event {
            id: row.number("id", self.id)?,
            kind: self.kind,
            at: row.time("at", self.at)?,
            data: row.json("data", &self.data)?,
        })
    }
}

/// A row of `workers`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct WorkerRow<T> {
    pub id: String,
    pub slots: i64,
    pub busy: i64,
    pub version: String,
    pub started_at: T,
    pub last_seen: T,
}

impl<T: StoredTime> WorkerRow<T> {
    /// The worker.
    pub fn read(self) -> Result<WorkerInfo> {
        let row = Reading {
            table: "workers",
            row: &self.id,
        };
        Ok(WorkerInfo {
            slots: row.number("slots", self.slots)?,
            busy: row.number("busy", self.busy)?,
            started_at: row.time("started_at", self.started_at)?,
            last_seen: row.time("last_seen", self.last_seen)?,
            version: self.version,
            id: WorkerId::new(self.id.clone()),
        })
    }
}

/// A row of `deliveries`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct DeliveryRow<T> {
    pub id: Uuid,
    pub job: Uuid,
    pub url: String,
    pub body: String,
    /// Those of earlier rounds left out.
    pub attempts: i64,
    pub earlier_attempts: i64,
    pub created_at: T,
    pub since: T,
}

impl<T: StoredTime> DeliveryRow<T> {
    /// The delivery.
    pub fn read(self) -> Result<Delivery> {
        let row = Reading {
            table: "deliveries",
            row: &self.id,
        };
        Ok(Delivery {
            id: self.id,
            job: JobId::from_uuid(self.job),
            attempts: row.number("attempts", self.attempts)?,
            earlier_attempts: row.number("earlier_attempts", self.earlier_attempts)?,
            created_at: row.time("created_at", self.created_at)?,
            since: row.time("round_at", self.since)?,
            url: self.url,
            body: self.body,
        })
    }
}

/// A row of `delivery_attempts`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct AttemptRow<T> {
    pub at: T,
    pub duration_ms: i64,
    pub status: Option<i64>,
    pub error: Option<String>,
}

impl<T: StoredTime> AttemptRow<T> {
    /// The attempt at a delivery.
    pub fn read(self, delivery: Uuid) -> Result<DeliveryAttempt> {
        let row = Reading {
            table: "delivery_attempts",
            row: &delivery,
        };
        Ok(DeliveryAttempt {
            at: row.time("at", self.at)?,
            duration_ms: row.number("duration_ms", self.duration_ms)?,
            status: (self.status)
                .map(|status| row.number("status", status))
                .transpose()?,
            error: self.error,
        })
    }
}

/// A row of `api_keys`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct ApiKeyRow<T> {
    pub prefix: String,
    pub hash: Vec<u8>,
    pub name: String,
    pub scopes: String,
    pub namespace: Option<String>,
    pub created_at: T,
    pub expires_at: Option<T>,
    pub revoked_at: Option<T>,
    pub last_used_at: Option<T>,
}

impl<T: StoredTime> ApiKeyRow<T> {
    /// The key.
    pub fn read(self) -> Result<StoredApiKey> {
        let row = Reading {
            table: "api_keys",
            row: &self.prefix,
        };
        let time = |column, at: Option<T>| at.map(|at| row.time(column, at)).transpose();
        let hash = <[u8; 32]>::try_from(self.hash.as_slice());
        let scopes = (self.scopes.split(' '))
            .map(|scope| row.word::<Scope>("scopes", scope))
            .collect::<Result<Vec<_>>>()?;
        let namespace = (self.namespace.as_deref())
            .map(|namespace| row.word("namespace", namespace))
            .transpose()?;
        Ok(StoredApiKey {
            prefix: row.word("prefix", &self.prefix)?,
            hash: KeyHash::from_bytes(hash.map_err(|e| row.corrupt("hash", Some(e.into())))?),
            name: row.word("name", &self.name)?,
            grant: Grant::new(&scopes, namespace)
                .map_err(|e| row.corrupt("scopes", Some(e.into())))?,
            created_at: row.time("created_at", self.created_at)?,
            expires_at: time("expires_at", self.expires_at)?,
            revoked_at: time("revoked_at", self.revoked_at)?,
            last_used_at: time("last_used_at", self.last_used_at)?,
        })
    }
}
