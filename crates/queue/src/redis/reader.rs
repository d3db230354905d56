//! Taking tickets: the one connection that waits, and what came over it.
//!
//! To the maintainer: whatever the server has handed to this consumer must end in `buffered`, even when the call that
//! asked for it is dropped in the middle. So a question to the server is never owned by a call. It lies in
//! `in_flight`, calls only look at it, and the next call goes on with what an earlier one left.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{RedisResult, Value};
use tokio::time::Instant;

use super::GROUP;
use super::config::Config;
use super::entry::{self, Content, Id};
use super::housekeeping::{make_group, remove_consumers, settle};
use super::link::{Link, RESPONSE, in_time, is_broken, is_groupless};
use crate::Delivery;

/// Longest wait of one question. A connection that was lost without a word is noticed this long plus [`RESPONSE`]
/// after the question.
const BLOCK: Duration = Duration::from_secs(5);

/// First pause before a stream that vanished is read again, and the longest.
const GROUP_PAUSE: Duration = Duration::from_millis(20);
const GROUP_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Longest time between two searches for consumers that are gone.
const CONSUMERS_EVERY: Duration = Duration::from_mins(1);

/// Takes what comes over the waiting connection.
pub(super) struct Reader {
    link: Arc<Link>,
    config: Config,
    connection: Option<Connection>,
    in_flight: Option<Question>,
    /// Handed over by the server, not yet given to a caller.
    buffered: VecDeque<Delivery>,
    odd: Odd,
    /// Where the search for entries of dead consumers goes on.
    cursor: Option<Id>,
    search_entries_at: Instant,
    search_consumers_at: Instant,
    /// The latest version of entries that was complained of.
    told_version: u32,
}

/// Entries that are no tickets of this version.
#[derive(Debug, Default)]
pub(super) struct Odd {
    pub(super) garbage: Vec<Id>,
    pub(super) newer: Vec<Id>,
}

#[derive(Clone)]
struct Connection {
    connection: MultiplexedConnection,
    /// What the server calls it; unknown where asking is forbidden.
    client: Option<i64>,
}

struct Question {
    kind: Kind,
    client: Option<i64>,
    answer: BoxFuture<'static, RedisResult<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `XREADGROUP`, which may wait.
    Read,
    /// `XAUTOCLAIM`.
    Claim,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whether there are new entries, in this call.
    Read,
    /// Something else, or the question of an earlier call.
    Other,
}

impl Reader {
    pub(super) fn new(link: Arc<Link>, config: Config) -> Self {
        let now = Instant::now();
        Self {
            link,
            config,
            connection: None,
            in_flight: None,
            buffered: VecDeque::new(),
            odd: Odd::default(),
            cursor: None,
            search_entries_at: now,
            search_consumers_at: now,
            told_version: 0,
        }
    }

    /// Gives up to `max` tickets: those that are here already, else the first that come before `until`.
    /// Cancel-safe.
    pub(super) async fn receive(
        &mut self,
        max: usize,
        until: Option<Instant>,
    ) -> RedisResult<Vec<Delivery>> {
        let mut pause = GROUP_PAUSE;
        loop {
            let taken = self.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            let left = until.map_or(BLOCK, |u| u.saturating_duration_since(Instant::now()));
            match self.ask(max, left.min(BLOCK)).await {
                Ok(Asked::Read) if self.buffered.is_empty() => {
                    self.keep_order().await;
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Ok(Vec::new());
                    }
                }
                Ok(Asked::Read | Asked::Other) => {}
                Err(error) if is_groupless(&error) => {
                    make_group(&self.link, &self.config.stream).await?;
                    // Somebody may go on wiping the server.
                    let jitter = self.config.sources.randomness.unit().clamp(0.1, 1.0);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(GROUP_PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
            self.settle_odd().await;
        }
    }

    fn take(&mut self, max: usize) -> Vec<Delivery> {
        let count = max.min(self.buffered.len());
        self.buffered.drain(..count).collect()
    }

    /// Asks the server once, for at most `max` entries, and waits up to `wait` for them. Afterwards they are
    /// buffered. Cancel-safe.
    async fn ask(&mut self, max: usize, wait: Duration) -> RedisResult<Asked> {
        if self.in_flight.is_some() {
            return self.finish_earlier().await;
        }
        let connection = self.connection().await?;
        let now = Instant::now();
        if now >= self.search_entries_at {
            // No sooner after a failure: what the dead have left is no hurry.
            self.search_entries_at = now + self.config.pending_idle / 2;
            self.put(Kind::Claim, connection, self.claim(max), Duration::ZERO);
        } else {
            self.put(Kind::Read, connection, self.read(max, wait), wait);
        }
        self.answer().await
    }

    /// Deals with what came and is no ticket.
    async fn settle_odd(&mut self) {
        let odd = std::mem::take(&mut self.odd);
        if odd.garbage.is_empty() && odd.newer.is_empty() {
            return;
        }
        if let Err(error) = settle(&self.link, &self.config, &odd).await {
            tracing::warn!(%error, "entries that are no tickets stay in the queue for now");
        }
    }

    /// What is done while there is nothing else to do.
    async fn keep_order(&mut self) {
        let now = Instant::now();
        if now < self.search_consumers_at {
            return;
        }
        self.search_consumers_at = now + CONSUMERS_EVERY.min(self.config.consumer_gone);
        if let Err(error) = remove_consumers(&self.link, &self.config).await {
            // A server may forbid it, and then the list of consumers grows with each start of a worker.
            tracing::debug!(%error, "consumers that are gone could not be removed from the queue");
        }
    }

    /// The connection that waits, made when there is none.
    async fn connection(&mut self) -> RedisResult<Connection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let mut connection = self.link.own(BLOCK + RESPONSE).await?;
        let mut who = redis::cmd("CLIENT");
        who.arg("ID");
        let told = in_time(RESPONSE, connection.req_packed_command(&who)).await;
        let client = match told {
            Ok(Value::Int(client)) => Some(client),
            Err(error) if is_broken(&error) => return Err(error),
            Ok(_) | Err(_) => None,
        };
        let connection = Connection { connection, client };
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    fn read(&self, max: usize, wait: Duration) -> redis::Cmd {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.config.consumer);
        read.arg("COUNT").arg(max);
        // Zero would mean for ever.
        if let millis @ 1.. = wait.as_millis() {
            read.arg("BLOCK").arg(u64::try_from(millis).unwrap_or(1));
        }
        read.arg("STREAMS").arg(&self.config.stream).arg(">");
        read
    }

    fn claim(&self, max: usize) -> redis::Cmd {
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(&self.config.stream).arg(GROUP);
        claim.arg(&self.config.consumer);
        claim.arg(millis(self.config.pending_idle));
        match self.cursor {
            Some(cursor) => claim.arg(cursor.to_string()),
            None => claim.arg("0-0"),
        };
        claim.arg("COUNT").arg(max);
        claim
    }

    fn put(&mut self, kind: Kind, connection: Connection, command: redis::Cmd, wait: Duration) {
        let Connection {
            mut connection,
            client,
        } = connection;
        let answer = async move {
            let answer = connection.req_packed_command(&command);
            in_time(wait + RESPONSE, answer).await?.extract_error()
        };
        self.in_flight = Some(Question {
            kind,
            client,
            answer: Box::pin(answer),
        });
    }

    /// Ends the question that a dropped call has left, with what it brought.
    async fn finish_earlier(&mut self) -> RedisResult<Asked> {
        if let Some(Question {
            kind: Kind::Read,
            client: Some(client),
            ..
        }) = self.in_flight
        {
            // What cannot be cut short ends by itself.
            let _ = unblock(&self.link, client).await;
        }
        self.answer().await?;
        Ok(Asked::Other)
    }

    /// Waits for the answer to the question in flight and keeps what it brings.
    async fn answer(&mut self) -> RedisResult<Asked> {
        let Some(question) = &mut self.in_flight else {
            return Ok(Asked::Other);
        };
        let kind = question.kind;
        let unblocked = UnblockOnDrop {
            link: &self.link,
            client: question.client.filter(|_| kind == Kind::Read),
        };
        let answer = (&mut question.answer).await;
        unblocked.disarm();
        self.in_flight = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if is_broken(&error) {
                    self.connection = None;
                }
                return Err(error);
            }
        };
        let (asked, entries) = match kind {
            Kind::Read => (Asked::Read, entry::of_read(&answer)),
            Kind::Claim => {
                let (cursor, entries) = entry::of_claim(&answer);
                self.cursor = cursor;
                (Asked::Other, entries)
            }
        };
        for (id, content) in entries {
            self.keep(id, &content);
        }
        Ok(asked)
    }

    fn keep(&mut self, id: Id, content: &Content) {
        match *content {
            Content::Ticket(ticket) => self.buffered.push_back(Delivery {
                ticket,
                receipt: id.to_string(),
            }),
            Content::Newer(version) => {
                if version > self.told_version {
                    self.told_version = version;
                    tracing::warn!(
                        version,
                        "the queue holds tickets of a later version; they are left to later workers"
                    );
                }
                self.odd.newer.push(id);
            }
            Content::Garbage => self.odd.garbage.push(id),
        }
    }
}

/// Ends the wait on the server when the call that waits is dropped: until then the server would hand tickets to
/// somebody who is not there.
struct UnblockOnDrop<'a> {
    link: &'a Arc<Link>,
    client: Option<i64>,
}

impl UnblockOnDrop<'_> {
    fn disarm(mut self) {
        self.client = None;
    }
}

impl Drop for UnblockOnDrop<'_> {
    fn drop(&mut self) {
        let (Some(client), Ok(runtime)) = (self.client, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let link = self.link.clone();
        // Has the deadline of every call; nothing depends on its end.
        drop(runtime.spawn(async move { unblock(&link, client).await }));
    }
}

async fn unblock(link: &Link, client: i64) -> RedisResult<()> {
    let mut unblock = redis::cmd("CLIENT");
    unblock.arg("UNBLOCK").arg(client).arg("TIMEOUT");
    link.one(&unblock).await.map(drop)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
