//! The thread that reads a workbook, and the reader of rows that listens to it.
//!
//! The spreadsheet library's cell reader borrows the open workbook, so both live on one stack: that of a
//! thread. Batches travel to the listener and back again, so their number bounds the memory. With one on the
//! thread's side, the thread waits while the listener works; with two, reading and checking run side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::archive::unreadable;
use super::rows::{Head, Stop};
use crate::batch::RawBatch;
use crate::reader::{ReadError, RowReader};

enum Message {
    Head(Head),
    /// Rows, and how many bytes of the file they end at.
    Batch(RawBatch, u64),
    End,
    Failed(ReadError),
}

/// The thread's side.
pub(super) struct Feed {
    messages: Sender<Message>,
    buffers: Receiver<RawBatch>,
    bytes_read: Box<dyn Fn() -> u64 + Send>,
}

impl Feed {
    /// An empty batch, as soon as one is free.
    pub(super) fn buffer(&self) -> Result<RawBatch, Stop> {
        let mut batch = self.buffers.recv().map_err(|_| Stop::Gone)?;
        batch.clear();
        Ok(batch)
    }

    pub(super) fn head(&self, head: Head) -> Result<(), Stop> {
        self.send(Message::Head(head))
    }

    pub(super) fn batch(&self, batch: RawBatch) -> Result<(), Stop> {
        self.send(Message::Batch(batch, (self.bytes_read)()))
    }

    fn send(&self, message: Message) -> Result<(), Stop> {
        self.messages.send(message).map_err(|_| Stop::Gone)
    }
}

/// The listener's side.
pub(super) struct FedRows {
    /// Both gone once the reader is dropped: the thread then ends at its next batch.
    channels: Option<(Receiver<Message>, Sender<RawBatch>)>,
    thread: Option<JoinHandle<()>>,
    /// Batches on the thread's side, now and at most.
    lent: u32,
    lent_max: u32,
    bytes_read: u64,
}

/// Starts the thread that runs `read` and waits for the head of its table.
///
/// `threads` is how many threads the run may keep busy: with one, the thread only works while the listener
/// waits for it.
pub(super) fn start<F>(
    threads: u32,
    bytes_read: Box<dyn Fn() -> u64 + Send>,
    read: F,
) -> Result<(Head, FedRows), ReadError>
where
    F: FnOnce(&Feed) -> Result<(), Stop> + Send + 'static,
{
    let (messages, from_thread) = channel();
    let (to_thread, buffers) = channel();
    let feed = Feed {
        messages,
        buffers,
        bytes_read,
    };
    let thread = thread::Builder::new()
        .name("workbook".to_owned())
        .spawn(move || run(&feed, read))
        .map_err(ReadError::Read)?;
    let rows = FedRows {
        channels: Some((from_thread, to_thread)),
        thread: Some(thread),
        // The thread begins with one of its own.
        lent: 1,
        lent_max: threads.clamp(1, 2),
        bytes_read: 0,
    };
    match rows.receive() {
        Message::Head(head) => Ok((head, rows)),
        Message::Failed(error) => Err(error),
        // Rows never come before their head.
        Message::Batch(..) | Message::End => Err(crashed()),
    }
}

fn run<F>(feed: &Feed, read: F)
where
    F: FnOnce(&Feed) -> Result<(), Stop>,
{
    // The library indexes into damaged records without asking; nothing of its state is used afterwards.
    let result = catch_unwind(AssertUnwindSafe(|| read(feed)));
    let last = match result {
        Ok(Ok(())) => Message::End,
        Ok(Err(Stop::Gone)) => return,
        Ok(Err(Stop::Error(error))) => Message::Failed(error),
        Err(_) => Message::Failed(crashed()),
    };
    // Nobody has to be there any more.
    let _ = feed.send(last);
}

fn crashed() -> ReadError {
    unreadable("The workbook is damaged: a part of it is not built as its format asks for")
}

impl FedRows {
    fn receive(&self) -> Message {
        let received = self
            .channels
            .as_ref()
            .and_then(|(from, _)| from.recv().ok());
        received.unwrap_or(Message::End)
    }
}

impl RowReader for FedRows {
    fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, ReadError> {
        if let Some((_, to_thread)) = &self.channels {
            while self.lent < self.lent_max {
                // Refused once the thread has read everything.
                let _ = to_thread.send(std::mem::take(batch));
                self.lent += 1;
            }
        }
        match self.receive() {
            Message::Batch(rows, bytes_read) => {
                *batch = rows;
                self.lent -= 1;
                self.bytes_read = bytes_read;
                Ok(true)
            }
            Message::Head(_) | Message::End => {
                batch.clear();
                Ok(false)
            }
            Message::Failed(error) => Err(error),
        }
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

impl Drop for FedRows {
    fn drop(&mut self) {
        self.channels = None;
        if let Some(thread) = self.thread.take() {
            // A panic was caught inside and told.
            let _ = thread.join();
        }
    }
}
