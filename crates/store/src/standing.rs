//! Why a job waits, put together from what a database counts: the same for each database.

use std::time::Duration;

use filejobs_core::quotas::{Load, Quotas};
use filejobs_core::waiting::{
    AGING, Ahead, HIGHEST, Line, Pace, Slots, Standing, Wait, level, queued_until,
};
use filejobs_core::{JobId, JobState};
use jiff::{Timestamp, ToSpan};

use crate::Running;
use crate::rows::{Corrupt, Reading, StoredTime};

/// Tasks that are counted before a job: of its own namespace, and of all others together. A longer line costs no more.
pub const COUNTED: u32 = 1_000;

/// Jobs that ended longer ago tell nothing of the pace.
pub const LATELY: Duration = Duration::from_mins(10);

/// Ended jobs that the pace is taken from.
pub const ENDED: u32 = 200;

/// The pace of fewer seconds is no pace.
const SHORTEST_PACE: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Corrupt>;

/// A job, and what of it is open.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct StandingRow<T> {
    pub status: String,
    pub namespace: String,
    pub priority: i64,
    pub queued_at: T,
    /// Whether a worker has a task of it.
    pub running: bool,
    /// Whether a pending task of it does not pause.
    pub ready: bool,
    /// When the first of its pending tasks may go that ever paused.
    pub not_before: Option<T>,
    /// When its first published task was.
    pub published_at: Option<T>,
}

/// What every job that waits depends on.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct AroundRow<T> {
    pub namespace_jobs: Option<i64>,
    pub namespace_tasks: Option<i64>,
    pub total_jobs: Option<i64>,
    pub total_tasks: Option<i64>,
    /// Of workers that live.
    pub slots: i64,
    pub busy: i64,
    /// When the first of all published tasks was.
    pub oldest: Option<T>,
    /// Published tasks; before the job's own, when it has one.
    pub published: i64,
    /// Tasks of the jobs that ended lately.
    pub ended: i64,
    /// The first end of these.
    pub ended_since: Option<T>,
}

/// Tasks of a namespace before a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct AheadRow {
    /// Of a higher level.
    pub above: i64,
    /// Of the same.
    pub beside: i64,
}

/// Until when tasks of a priority, which is the place in the list, must have been queued to stand before a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// To be of a higher level.
    pub above: Timestamp,
    /// To be of the same, or a higher one.
    pub until: Timestamp,
}

/// A job that waits.
#[derive(Debug)]
pub struct Waiter {
    job: JobId,
    now: Timestamp,
    suspended: bool,
    processing: bool,
    namespace: String,
    priority: u8,
    queued_at: Timestamp,
    not_before: Option<Timestamp>,
    published: bool,
}

impl<T: StoredTime> StandingRow<T> {
    /// The job, when it waits: it has not ended and no worker has a task of it.
    pub fn waits(self, job: JobId, now: Timestamp) -> Result<Option<Waiter>> {
        let row = Reading {
            table: "jobs",
            row: &job,
        };
        let status: JobState = row.word("status", &self.status)?;
        if status.is_terminal() || self.running {
            return Ok(None);
        }
        let time = |column, at: Option<T>| at.map(|at| row.time(column, at)).transpose();
        let published = self.published_at.is_some();
        Ok(Some(Waiter {
            job,
            now,
            suspended: status == JobState::Suspended,
            processing: status == JobState::Processing,
            priority: row.number("priority", self.priority)?,
            queued_at: row.time("queued_at", self.queued_at)?,
            not_before: time("not_before", self.not_before)?.filter(|_| !self.ready && !published),
            published,
            namespace: self.namespace,
        }))
    }
}

impl Waiter {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it stands behind tasks that are not published: only then do they have to be counted.
    #[must_use]
    pub fn stands_in_line(&self) -> bool {
        !self.suspended && !self.published && self.not_before.is_none()
    }

    /// What stands before it of other namespaces, by priority.
    #[must_use]
    pub fn before(&self) -> Vec<Bound> {
        let its = level(self.priority, self.queued_at, self.now, AGING);
        let until =
            |level, priority| queued_until(level, priority, self.now, AGING).unwrap_or(self.now);
        let bound = |priority| Bound {
            above: if its == HIGHEST {
                Timestamp::MIN
            } else {
                until(its + 1, priority)
            },
            until: until(its, priority),
        };
        (0..=HIGHEST).map(bound).collect()
    }

    /// What stands before it of its own namespace: of its level only what is older.
    #[must_use]
    pub fn before_in_namespace(&self) -> Vec<Bound> {
        let just_before = self.queued_at.checked_sub(1.microsecond());
        let older = just_before.unwrap_or(Timestamp::MIN);
        let mut bounds = self.before();
        for bound in &mut bounds {
            bound.until = bound.until.min(older).max(bound.above);
        }
        bounds
    }

    /// Why it waits.
    pub fn tell<T: StoredTime>(
        self,
        around: &AroundRow<T>,
        running: &[Running],
        own: AheadRow,
        others: &[(String, AheadRow)],
    ) -> Result<Wait> {
        let load = |name: &str| {
            let its = running.iter().find(|r| r.namespace.as_str() == name);
            its.map_or(Load::default(), |r| r.load)
        };
        let mut total = Load::default();
        for one in running {
            total.jobs += one.load.jobs;
            total.tasks += one.load.tasks;
        }
        let read = Around::read(around, self.job, self.now)?;
        let namespace = load(&self.namespace);
        let mut line = Line {
            published: read.published,
            own: ahead(own, namespace),
            others: Vec::with_capacity(others.len()),
            cut: is_cut(own.above + own.beside),
        };
        for (name, counted) in others {
            line.others.push(ahead(*counted, load(name)));
        }
        line.cut |= is_cut(others.iter().map(|(_, c)| c.above + c.beside).sum());
        let standing = Standing {
            now: self.now,
            suspended: self.suspended,
            begun: self.processing || self.published,
            published: self.published,
            not_before: self.not_before,
            quotas: read.quotas,
            namespace,
            total,
            slots: read.slots,
            oldest_published: read.oldest,
            line,
            pace: read.pace,
        };
        Ok(standing.wait())
    }
}

fn ahead(counted: AheadRow, load: Load) -> Ahead {
    let count = |tasks| u64::try_from(tasks).unwrap_or(0);
    Ahead {
        above: count(counted.above),
        beside: count(counted.beside),
        busy: load.tasks,
    }
}

fn is_cut(counted: i64) -> bool {
    counted >= i64::from(COUNTED)
}

struct Around {
    quotas: Quotas,
    slots: Slots,
    oldest: Option<Timestamp>,
    published: u64,
    pace: Option<Pace>,
}

impl Around {
    fn read<T: StoredTime>(around: &AroundRow<T>, job: JobId, now: Timestamp) -> Result<Self> {
        let row = Reading {
            table: "quotas",
            row: &job,
        };
        let quota = |column, most: Option<i64>| most.map(|n| row.number(column, n)).transpose();
        let time = |column, at: Option<T>| at.map(|at| row.time(column, at)).transpose();
        let tasks = row.number("tasks_done", around.ended)?;
        let pace = time("completed_at", around.ended_since)?.map(|since| Pace {
            tasks,
            within: Duration::try_from(now.duration_since(since))
                .unwrap_or_default()
                .max(SHORTEST_PACE),
        });
        Ok(Self {
            quotas: Quotas {
                namespace_jobs: quota("namespace_jobs", around.namespace_jobs)?,
                namespace_tasks: quota("namespace_tasks", around.namespace_tasks)?,
                total_jobs: quota("total_jobs", around.total_jobs)?,
                total_tasks: quota("total_tasks", around.total_tasks)?,
            },
            slots: Slots {
                all: row.number("slots", around.slots)?,
                busy: row.number("busy", around.busy)?,
            },
            oldest: time("published_at", around.oldest)?,
            published: row.number("published_at", around.published)?,
            pace,
        })
    }
}
