//! The change feed: what this process changed is told to its listeners at once, to other processes by NOTIFY.
//!
//! Notifications are sent after the commit, not with it: a transaction that notifies holds a lock that all others of the
//! kind wait for while it waits for the disk. They are gathered for a few milliseconds, and carry ids only. What gets
//! lost on the way costs its listener the pause between two of its looks; a connection that was lost for a while tells
//! every listener that it missed something.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::sources::Randomness;
use filejobs_core::{JobId, Sources};
use filejobs_store::{Change, ChangeKind};
use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::connections::{ACQUIRE, SHORT};

const CHANNEL: &str = "filejobs";

/// Changes that a slow listener may lag behind before it misses some.
const LISTENERS_LAG: usize = 1024;
/// Changes that wait to be sent; those past it are not told to other processes one by one.
const WAITING: usize = 4096;
/// How long changes are gathered for one notification.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes of a notification, of the 8,000 less one that the server takes.
const PAYLOAD: usize = 7_900;

/// A transaction that notifies is one that writes. A hint need not wait for the disk, nor have others wait.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";

/// Without a notification for this long the connection is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Pauses before listening again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The feed of one process. Its tasks end with it.
#[derive(Debug)]
pub(crate) struct Feed {
    listeners: broadcast::Sender<Change>,
    outgoing: mpsc::Sender<Change>,
    tasks: [AbortHandle; 2],
}

impl Feed {
    /// Begins to listen and to tell.
    pub(crate) fn start(pool: PgPool, options: PgConnectOptions, sources: &Sources) -> Self {
        let listeners = broadcast::channel(LISTENERS_LAG).0;
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let process = sources.ids.uuid(sources.now());
        let listener = Listener {
            options,
            process,
            listeners: listeners.clone(),
            randomness: sources.randomness.clone(),
        };
        let telling = tokio::spawn(tell_others(pool, process, waiting)).abort_handle();
        let hearing = tokio::spawn(listener.run()).abort_handle();
        Self {
            listeners,
            outgoing,
            tasks: [telling, hearing],
        }
    }

    /// A new listener.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.listeners.subscribe()
    }

    /// Tells of a change of this process.
    pub(crate) fn tell(&self, change: Change) {
        // No listener is fine, and so is a full queue: this is a hint.
        let _ = self.listeners.send(change);
        let _ = self.outgoing.try_send(change);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Sends notifications of what waits.
async fn tell_others(pool: PgPool, process: Uuid, mut waiting: mpsc::Receiver<Change>) {
    while let Some(first) = waiting.recv().await {
        sleep(GATHER).await;
        let mut changes = vec![first];
        while let Ok(change) = waiting.try_recv() {
            changes.push(change);
        }
        // More than fit into the queue: some were not told.
        if changes.len() >= WAITING {
            changes = vec![Change::missed()];
        }
        for payload in payloads(process, &changes) {
            let notify = sqlx::query(NOTIFY).bind(CHANNEL).bind(payload);
            match timeout(SHORT, notify.execute(&pool)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "changes were not told to other processes");
                }
                Err(_) => tracing::debug!("changes were not told to other processes in time"),
            }
        }
    }
}

fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Work => 'w',
        ChangeKind::State => 's',
        ChangeKind::Progress => 'p',
        ChangeKind::Deleted => 'd',
        ChangeKind::Missed => 'm',
    }
}

fn kind(letter: u8) -> Option<ChangeKind> {
    Some(match letter {
        b'w' => ChangeKind::Work,
        b's' => ChangeKind::State,
        b'p' => ChangeKind::Progress,
        b'd' => ChangeKind::Deleted,
        b'm' => ChangeKind::Missed,
        // Of a later version.
        _ => return None,
    })
}

/// Changes as notifications: who tells, then kinds and jobs; each change once.
fn payloads(process: Uuid, changes: &[Change]) -> Vec<String> {
    let mut told = HashSet::new();
    let mut payloads = Vec::new();
    let mut payload = String::new();
    for change in changes {
        if !told.insert((change.job, letter(change.kind))) {
            continue;
        }
        let mut buffer = Uuid::encode_buffer();
        let job = change.job.as_uuid();
        let job = job.simple().encode_lower(&mut buffer);
        if payload.len() + 1 + job.len() > PAYLOAD {
            payloads.push(std::mem::take(&mut payload));
        }
        if payload.is_empty() {
            payload.push_str(&process.simple().to_string());
        }
        payload.push(letter(change.kind));
        payload.push_str(job);
    }
    payloads.extend(Some(payload).filter(|p| !p.is_empty()));
    payloads
}

/// Reads a notification. `None` for one of our own or of another kind; changes of a kind not known here are left out.
fn changes(process: Uuid, payload: &str) -> Option<Vec<Change>> {
    const ID: usize = 32;
    let (teller, changes) = payload.as_bytes().split_at_checked(ID)?;
    if Uuid::try_parse_ascii(teller).ok()? == process {
        return None;
    }
    let read = changes.chunks_exact(1 + ID).filter_map(|change| {
        let job = Uuid::try_parse_ascii(&change[1..]).ok()?;
        Some(Change {
            job: JobId::from_uuid(job),
            kind: kind(change[0])?,
        })
    });
    Some(read.collect())
}

/// Hears other processes.
struct Listener {
    options: PgConnectOptions,
    process: Uuid,
    listeners: broadcast::Sender<Change>,
    randomness: Arc<dyn Randomness>,
}

impl Listener {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.listen().await {
                Ok(mut listener) => {
                    pause = FIRST_PAUSE;
                    // From before this moment something may be missing.
                    self.hand_on(Change::missed());
                    let error = self.hear(&mut listener).await;
                    tracing::info!(%error, "the connection over which changes are heard is lost");
                }
                Err(error) => tracing::debug!(%error, "changes of other processes are not heard"),
            }
            sleep(pause.mul_f64(self.randomness.unit().clamp(0.1, 1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A new connection that listens. It is no connection of the pool: it stays for good.
    async fn listen(&self) -> sqlx::Result<PgListener> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // Reconnecting is this task's business: it tells that something was missed.
        listener.eager_reconnect(false);
        let listening = timeout(SHORT, listener.listen(CHANNEL)).await;
        listening.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(listener)
    }

    /// Hands on what it hears until the connection is lost.
    async fn hear(&self, listener: &mut PgListener) -> sqlx::Error {
        loop {
            let heard = match timeout(PROBE_EVERY, listener.try_recv()).await {
                Ok(Ok(Some(heard))) => heard,
                Ok(Ok(None)) => return sqlx::Error::WorkerCrashed,
                Ok(Err(error)) => return error,
                Err(_) => match timeout(SHORT, listener.execute("SELECT 1")).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => return error,
                    Err(_) => return sqlx::Error::PoolTimedOut,
                },
            };
            for change in changes(self.process, heard.payload()).unwrap_or_default() {
                self.hand_on(change);
            }
        }
    }

    fn hand_on(&self, change: Change) {
        // No listener is fine.
        let _ = self.listeners.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(number: usize) -> Vec<Change> {
        let kinds = [
            ChangeKind::Work,
            ChangeKind::State,
            ChangeKind::Progress,
            ChangeKind::Deleted,
        ];
        let of_job = |n: usize| Change {
            job: JobId::from_uuid(Uuid::from_u128(n as u128)),
            kind: kinds[n % 4],
        };
        (0..number).map(of_job).collect()
    }

    #[test]
    fn changes_are_heard_as_they_were_told_and_by_others_only() {
        let (teller, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for number in [1, 2, 239, 240, 1_000] {
            let told = some(number);
            let payloads = payloads(teller, &told);
            assert!(payloads.iter().all(|p| p.len() <= PAYLOAD));
            let heard: Vec<_> = payloads
                .iter()
                .flat_map(|p| changes(other, p).unwrap())
                .collect();
            assert_eq!(heard, told);
            assert_eq!(changes(teller, &payloads[0]), None);
        }
    }

    #[test]
    fn a_change_is_told_once_however_often_it_happened() {
        let told = [some(3), some(3)].concat();
        let payloads = payloads(Uuid::from_u128(1), &told);
        assert_eq!(changes(Uuid::from_u128(2), &payloads[0]).unwrap(), some(3));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let other = Uuid::from_u128(2);
        for odd in ["", "hello", &"x".repeat(40)] {
            assert_eq!(changes(other, odd), None, "{odd}");
        }
        let mut later = payloads(Uuid::from_u128(1), &some(2)).remove(0);
        later.replace_range(32..33, "?");
        assert_eq!(changes(other, &later).unwrap(), some(2)[1..]);
    }
}
