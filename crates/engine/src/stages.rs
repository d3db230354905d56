//! Moves batches from the reader through validation into the outputs, on one thread or several.
//!
//! ```text
//!  thread 1:  read ─ check ─── write │ read ─ check ─── write │ …
//!  thread 2:         read ─ check ─── write │ read ─ check ─── write │ …
//! ```
//! Each thread takes one batch through all stages: what it read is still in its core's cache when it is written.
//! One thread at a time reads, and one writes; writing goes in the order of the file, so one thread and many give the
//! same bytes. A thread has one batch with all its buffers, so memory does not grow with the file.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use filejobs_core::report::Layout;

use crate::batch::RawBatch;
use crate::layout::drop_empty_ends;
use crate::reader::{ReadError, RowReader};
use crate::task::Error;
use crate::unique::{RepeatSource, Repeats};
use crate::validate::{Checked, Validator};

/// Where batches come from.
pub(crate) struct Feed {
    /// The reader.
    pub(crate) rows: Box<dyn RowReader>,
    /// The batch that was read before the schema was known.
    pub(crate) first: Option<RawBatch>,
    /// The columns of the table.
    pub(crate) layout: Layout,
    /// Which rows repeat a key.
    pub(crate) repeats: RepeatSource,
}

impl Feed {
    /// Fills `raw` with the next batch. False at the end.
    pub(crate) fn next(&mut self, raw: &mut RawBatch) -> Result<bool, ReadError> {
        if let Some(first) = self.first.take() {
            *raw = first;
        } else if !self.rows.next_batch(raw)? {
            return Ok(false);
        }
        drop_empty_ends(&self.layout, raw);
        Ok(!raw.rows.is_empty())
    }

    fn fill(&mut self, job: &mut Job) -> Result<bool, Stop> {
        if !self.next(&mut job.raw).map_err(Stop::Read)? {
            return Ok(false);
        }
        job.bytes_read = self.rows.bytes_read();
        self.repeats
            .next(&job.raw, &mut job.repeats)
            .map_err(Stop::Keys)?;
        Ok(true)
    }
}

/// Why no more batches come, other than the end of the table.
#[derive(Debug)]
enum Stop {
    Read(ReadError),
    Keys(std::io::Error),
}

impl Stop {
    fn into_read_error(self) -> ReadError {
        match self {
            Self::Read(e) => e,
            Self::Keys(e) => ReadError::Read(e),
        }
    }
}

/// A batch and everything that is made of it.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Its place in the file.
    number: u64,
    /// The rows as read.
    raw: RawBatch,
    /// Those that repeat a key.
    repeats: Repeats,
    /// What checking gave.
    checked: Checked,
    /// Rows that were checked so far.
    rows_checked: usize,
    /// Bytes of the source behind it.
    bytes_read: u64,
}

impl Job {
    /// Checks the rows, or as many as may fail at once.
    fn check(&mut self, validator: &Validator) {
        self.rows_checked = validator.check(&self.raw, 0, &self.repeats, &mut self.checked);
    }

    /// Writes what was checked, and checks and writes the rest. False when no more is wanted.
    fn write(&mut self, validator: &Validator, sink: &mut dyn Sink) -> Result<bool, Error> {
        let mut written = 0;
        loop {
            let rows = (self.rows_checked - written) as u64;
            if !sink.write(&self.checked, rows, self.bytes_read)? {
                return Ok(false);
            }
            written = self.rows_checked;
            if written >= self.raw.rows.len() {
                return Ok(true);
            }
            self.rows_checked =
                validator.check(&self.raw, written, &self.repeats, &mut self.checked);
        }
    }
}

/// What the writer makes of a checked batch.
pub(crate) trait Sink: Send {
    /// Takes the next batch of the file. False when no more are wanted.
    fn write(&mut self, checked: &Checked, rows: u64, bytes_read: u64) -> Result<bool, Error>;
}

/// How reading ended: `None` at the end of the table or when the sink wanted no more.
pub(crate) type End = Option<ReadError>;

/// Moves every batch of `feed` through `validator` into `sink`, on about as many threads as `threads`.
pub(crate) fn run(
    mut feed: Feed,
    validator: &Validator,
    sink: &mut dyn Sink,
    threads: u32,
) -> Result<End, Error> {
    if threads > 1 {
        return in_parallel(feed, validator, sink, threads);
    }
    let mut job = Job::default();
    loop {
        match feed.fill(&mut job) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(stop) => return Ok(Some(stop.into_read_error())),
        }
        job.check(validator);
        if !job.write(validator, sink)? {
            return Ok(None);
        }
    }
}

fn in_parallel(
    feed: Feed,
    validator: &Validator,
    sink: &mut dyn Sink,
    threads: u32,
) -> Result<End, Error> {
    let stages = Stages {
        validator,
        reading: Mutex::new(Reading {
            feed,
            batches: 0,
            ended: false,
            stop: None,
        }),
        writing: Mutex::new(Writing {
            sink,
            next: 0,
            end: None,
        }),
        written: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| stages.work());
        }
        stages.work();
    });
    let writing = stages.writing.into_inner();
    if let Some(end) = writing.unwrap_or_else(PoisonError::into_inner).end {
        return end.map(|()| None);
    }
    let reading = stages.reading.into_inner();
    let stop = reading.unwrap_or_else(PoisonError::into_inner).stop;
    Ok(stop.map(Stop::into_read_error))
}

/// What the threads share.
struct Stages<'a> {
    validator: &'a Validator,
    reading: Mutex<Reading>,
    writing: Mutex<Writing<'a>>,
    /// The next batch may be written, or none any more.
    written: Condvar,
}

/// What only one thread at a time does first.
struct Reading {
    feed: Feed,
    /// How many were read.
    batches: u64,
    /// No more are read.
    ended: bool,
    /// Why, other than the end of the table.
    stop: Option<Stop>,
}

/// What only one thread at a time does last.
struct Writing<'a> {
    sink: &'a mut dyn Sink,
    /// The number of the batch whose turn it is.
    next: u64,
    /// No more are written: the sink wants none, or failed.
    end: Option<Result<(), Error>>,
}

/// Lets the other threads go when the one that holds it panics: they would wait for its batch for ever.
struct Alarm<'a, 'b>(&'a Stages<'b>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // The panic goes on where the threads are joined, so nobody sees this end.
            self.0.writing().end.get_or_insert(Ok(()));
            self.0.written.notify_all();
        }
    }
}

impl<'a> Stages<'a> {
    /// Takes batch after batch through all stages, until there are no more or nobody wants them.
    fn work(&self) {
        let _alarm = Alarm(self);
        let mut job = Job::default();
        while self.read(&mut job) {
            job.check(self.validator);
            if !self.write(&mut job) {
                return;
            }
        }
    }

    /// Fills `job` with the next batch. False when there is none.
    fn read(&self, job: &mut Job) -> bool {
        // A reader that panicked gives no more batches.
        let Ok(mut reading) = self.reading.lock() else {
            return false;
        };
        if reading.ended {
            return false;
        }
        let filled = reading.feed.fill(job);
        reading.ended = !matches!(filled, Ok(true));
        reading.stop = filled.err();
        job.number = reading.batches;
        reading.batches += 1;
        !reading.ended
    }

    /// Writes `job` when all before it are written. False when no more are wanted.
    fn write(&self, job: &mut Job) -> bool {
        let not_yet =
            |writing: &mut Writing<'_>| writing.end.is_none() && writing.next < job.number;
        let writing = self.written.wait_while(self.writing(), not_yet);
        let mut writing = writing.unwrap_or_else(PoisonError::into_inner);
        if writing.end.is_some() {
            return false;
        }
        writing.end = match job.write(self.validator, &mut *writing.sink) {
            Ok(true) => None,
            Ok(false) => Some(Ok(())),
            Err(e) => Some(Err(e)),
        };
        writing.next += 1;
        self.written.notify_all();
        writing.end.is_none()
    }

    fn writing(&self) -> MutexGuard<'_, Writing<'a>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
