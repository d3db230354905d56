//! Moves batches from the reader through validation into the outputs, on one thread or several.
//!
//! ```text
//!  reader ──jobs──▶ checkers ──jobs──▶ writer
//!     ▲                                  │
//!     └────────── empty jobs ────────────┘
//! ```
//! A job is a batch with all its buffers. There are only so many of them, so no stage runs ahead of
//! the others and memory stays bounded. The writer puts them back in the file's order, so one thread and
//! many give the same bytes.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
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
pub(crate) trait Sink {
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
        return in_parallel(feed, validator, sink, threads as usize - 1);
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

/// What the writer hears.
enum Message {
    /// A checked batch, in any order.
    Checked(Box<Job>),
    /// The reader has handed out this many batches and will hand out no more.
    End(u64, Option<Stop>),
    /// A checker panicked; its batch will never come.
    Lost,
}

/// Tells the writer when the thread that holds it panics: it would wait for the lost batch for ever.
struct Alarm<'a>(&'a Sender<Message>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Message::Lost);
        }
    }
}

fn in_parallel(
    feed: Feed,
    validator: &Validator,
    sink: &mut dyn Sink,
    checkers: usize,
) -> Result<End, Error> {
    let (empty_out, empty_in) = channel();
    let (filled_out, filled_in) = channel();
    let (message_out, message_in) = channel();
    for _ in 0..checkers + 3 {
        // The receiver lives until the end of this function.
        let _ = empty_out.send(Box::<Job>::default());
    }
    let filled_in = Mutex::new(filled_in);
    thread::scope(|scope| {
        let filled_in = &filled_in;
        let end_out = message_out.clone();
        scope.spawn(move || read(feed, &empty_in, &filled_out, &end_out));
        for _ in 0..checkers {
            let message_out = message_out.clone();
            scope.spawn(move || check(validator, filled_in, &message_out));
        }
        // Else the channel would never be seen closed.
        drop(message_out);
        let end = write(validator, sink, &message_in, &empty_out);
        // Without their ends the other threads end, too.
        drop((message_in, empty_out));
        end
    })
}

/// Fills jobs until the table ends or nobody wants them.
fn read(
    mut feed: Feed,
    empty: &Receiver<Box<Job>>,
    filled: &Sender<Box<Job>>,
    end: &Sender<Message>,
) {
    let mut number = 0;
    let stop = loop {
        let Ok(mut job) = empty.recv() else {
            return;
        };
        match feed.fill(&mut job) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(stop) => break Some(stop),
        }
        job.number = number;
        number += 1;
        if filled.send(job).is_err() {
            return;
        }
    };
    // A writer that is gone has its own reason.
    let _ = end.send(Message::End(number, stop));
}

/// Checks jobs until no more come.
fn check(validator: &Validator, filled: &Mutex<Receiver<Box<Job>>>, checked: &Sender<Message>) {
    let _alarm = Alarm(checked);
    loop {
        let next = filled.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else {
            return;
        };
        job.check(validator);
        if checked.send(Message::Checked(job)).is_err() {
            return;
        }
    }
}

/// Writes jobs in the order of the file and sends them back empty.
fn write(
    validator: &Validator,
    sink: &mut dyn Sink,
    messages: &Receiver<Message>,
    empty: &Sender<Box<Job>>,
) -> Result<End, Error> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let mut end = None;
    for message in messages {
        match message {
            Message::Checked(job) => {
                waiting.insert(job.number, job);
            }
            Message::End(number, stop) => end = Some((number, stop)),
            // The panic goes on where the threads are joined.
            Message::Lost => return Ok(None),
        }
        while let Some(mut job) = waiting.remove(&next) {
            next += 1;
            if !job.write(validator, sink)? {
                return Ok(None);
            }
            // A reader that has ended needs none.
            let _ = empty.send(job);
        }
        if let Some((_, stop)) = end.take_if(|(number, _)| *number == next) {
            return Ok(stop.map(Stop::into_read_error));
        }
    }
    Ok(None)
}
