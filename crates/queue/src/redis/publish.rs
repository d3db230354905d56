//! Adding tickets: up to the capacity, and none a second time that still waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use filejobs_core::TaskId;
use filejobs_core::task::Ticket;
use redis::{RedisError, RedisResult, Value};

use super::entry::{self, Id, items, text};
use super::link::Link;
use super::{GROUP, unavailable};
use crate::Error;

/// Tickets whose entries are remembered. A ticket that was forgotten is published twice, which is harmless.
const REMEMBERED: usize = 10_000;

/// Commands sent in one go.
const BATCH: usize = 500;

/// What tells tickets apart.
type Key = (TaskId, u32);

fn key(ticket: &Ticket) -> Key {
    (ticket.task, ticket.attempt)
}

/// The entries that this process added.
///
/// The scheduler publishes again what nobody claimed. When no worker lives for a night, each ticket would be in the
/// stream thousands of times by the morning; looking for the earlier entry keeps it at one.
#[derive(Debug, Default)]
pub(super) struct Published(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<Key, Id>,
    order: VecDeque<Key>,
}

impl Published {
    fn of(&self, tickets: &[Ticket]) -> Vec<(Key, Id)> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = tickets.iter().map(key);
        keys.filter_map(|key| Some((key, *memory.entries.get(&key)?)))
            .collect()
    }

    fn add(&self, ticket: &Ticket, id: Id) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.entries.insert(key(ticket), id).is_some() {
            return;
        }
        memory.order.push_back(key(ticket));
        if memory.order.len() > REMEMBERED
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.entries.remove(&oldest);
        }
    }
}

/// What the stream holds already.
struct Standing {
    length: usize,
    /// Tickets whose entry nobody has taken.
    waiting: HashSet<Key>,
}

/// Adds tickets in order.
pub(super) async fn publish(
    link: &Link,
    stream: &str,
    capacity: usize,
    published: &Published,
    tickets: &[Ticket],
) -> Result<(), Error> {
    for tickets in tickets.chunks(BATCH) {
        let standing = look(link, stream, &published.of(tickets)).await;
        let standing = standing.map_err(unavailable)?;
        let mut new: Vec<_> = tickets
            .iter()
            .filter(|ticket| !standing.waiting.contains(&key(ticket)))
            .collect();
        let room = capacity.saturating_sub(standing.length);
        let full = new.len() > room;
        new.truncate(room);
        add(link, stream, published, &new).await?;
        if full {
            return Err(Error::Full);
        }
    }
    Ok(())
}

async fn look(link: &Link, stream: &str, known: &[(Key, Id)]) -> RedisResult<Standing> {
    let mut commands = redis::pipe();
    commands.cmd("XLEN").arg(stream);
    if !known.is_empty() {
        commands.cmd("XINFO").arg("GROUPS").arg(stream);
    }
    for (_, id) in known {
        let id = id.to_string();
        commands.cmd("XRANGE").arg(stream).arg(&id).arg(&id);
    }
    let mut answers = link.each(&commands).await?.into_iter();
    let length = match answers.next().unwrap_or(Value::Nil).extract_error()? {
        Value::Int(length) => usize::try_from(length).unwrap_or(0),
        _ => 0,
    };
    // An error here says that there is no stream, and then no entry is found below.
    let taken_up_to = answers.next().and_then(|groups| last_delivered(&groups));
    let waiting = known.iter().zip(answers).filter(|((_, id), found)| {
        !items(found).is_empty() && taken_up_to.is_none_or(|last| *id > last)
    });
    Ok(Standing {
        length,
        waiting: waiting.map(|((key, _), _)| *key).collect(),
    })
}

/// The last entry that anybody has taken, in an answer to `XINFO GROUPS`: lists of names and values.
fn last_delivered(groups: &Value) -> Option<Id> {
    let mut groups = items(groups).iter().map(items);
    let ours = groups.find(|group| {
        let mut pairs = group.chunks_exact(2);
        pairs.any(|pair| entry::is(&pair[0], "name") && entry::is(&pair[1], GROUP))
    })?;
    let mut pairs = ours.chunks_exact(2);
    let last = pairs.find(|pair| entry::is(&pair[0], "last-delivered-id"))?;
    Id::parse(&text(&last[1])?)
}

async fn add(
    link: &Link,
    stream: &str,
    published: &Published,
    tickets: &[&Ticket],
) -> Result<(), Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let mut commands = redis::pipe();
    for ticket in tickets {
        commands.add_command(entry::add(stream, ticket));
    }
    let answers = link.each(&commands).await.map_err(unavailable)?;
    for (ticket, answer) in tickets.iter().zip(answers) {
        let answer = answer.extract_error().map_err(refused)?;
        if let Some(id) = Id::of(&answer) {
            published.add(ticket, id);
        }
    }
    Ok(())
}

/// A server whose memory is used up takes nothing more, and says so.
fn refused(error: RedisError) -> Error {
    if error.code() == Some("OOM") {
        Error::Full
    } else {
        unavailable(error)
    }
}
