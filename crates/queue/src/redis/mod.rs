//! The queue of a service that is many processes: one stream on a Redis server, read by one consumer group.
//!
//! Redis carries, the database decides. What is lost here is published again by the scheduler; what comes twice is
//! refused by the claim. So nothing in here tries to be exact where being simple is enough:
//! * An acknowledged entry is removed at once. The stream holds what waits and what was taken and not yet
//!   acknowledged, nothing else.
//! * Each process reads as a consumer of its own. What a dead one had taken goes to another after
//!   [`Config::pending_idle`].
//! * A stream that vanished (`FLUSHALL`, a server without a disk) is made again by whoever notices.
//! * An entry of a later version stays for a worker that understands it. One that nobody can have written is logged
//!   and removed.

mod check;
mod config;
mod entry;
mod housekeeping;
mod link;
mod publish;
mod reader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::task::Ticket;
use redis::{RedisError, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use check::Warning;
pub use config::{Config, InvalidServer, Server};

use crate::{Delivery, Error, Queue};
use entry::items;
use link::{Link, is_broken};
use publish::Published;
use reader::Reader;

/// The consumer group.
const GROUP: &str = "workers";

/// A queue on a Redis server.
///
/// Nothing is connected before the first call, and a connection that was lost is made again by the next call. A call
/// that the server leaves without an answer fails after a few seconds, as [`Error::Unavailable`].
///
/// `receive` may be called by several tasks at once, but serves one after the other.
pub struct Redis {
    config: Config,
    link: Arc<Link>,
    published: Published,
    reader: Mutex<Reader>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// A queue on the server that `config` names.
    pub fn new(config: Config) -> Result<Self, Error> {
        let link = Arc::new(Link::new(&config.server).map_err(unavailable)?);
        Ok(Self {
            reader: Mutex::new(Reader::new(link.clone(), config.clone())),
            published: Published::default(),
            link,
            config,
        })
    }

    /// Looks at how the server is set up. A server that forbids to look gives warnings, too.
    pub async fn check(&self) -> Result<Vec<Warning>, Error> {
        match self.link.one(&redis::cmd("INFO")).await {
            Ok(info) => Ok(check::judge(&info)),
            Err(error) if is_broken(&error) => Err(unavailable(error)),
            Err(_) => Ok(check::judge(&Value::Nil)),
        }
    }
}

#[async_trait::async_trait]
impl Queue for Redis {
    async fn publish(&self, tickets: &[Ticket]) -> Result<(), Error> {
        let Config {
            stream, capacity, ..
        } = &self.config;
        publish::publish(&self.link, stream, *capacity, &self.published, tickets).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let until = Instant::now().checked_add(wait);
        let turn = async {
            match until {
                Some(until) => tokio::time::timeout_at(until, self.reader.lock())
                    .await
                    .ok(),
                None => Some(self.reader.lock().await),
            }
        };
        let Some(mut reader) = turn.await else {
            return Ok(Vec::new());
        };
        reader.receive(max, until).await.map_err(unavailable)
    }

    async fn ack(&self, delivery: &Delivery) -> Result<(), Error> {
        let (stream, id) = (&self.config.stream, &delivery.receipt);
        let done = housekeeping::remove(&self.link, stream, &[id]).await;
        done.map_err(unavailable)
    }

    async fn depth(&self) -> Result<u64, Error> {
        let stream = &self.config.stream;
        let mut commands = redis::pipe();
        commands.cmd("XLEN").arg(stream);
        commands.cmd("XPENDING").arg(stream).arg(GROUP);
        let answers = self.link.each(&commands).await.map_err(unavailable)?;
        let number = |answer: Option<&Value>| match answer {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => 0,
        };
        // Where there is no group yet, nobody has taken anything.
        let taken = answers.get(1).and_then(|answer| items(answer).first());
        Ok(number(answers.first()).saturating_sub(number(taken)))
    }

    async fn ping(&self) -> Result<(), Error> {
        let answer = self.link.one(&redis::cmd("PING")).await;
        answer.map(drop).map_err(unavailable)
    }
}

fn unavailable(error: RedisError) -> Error {
    Error::Unavailable(error.into())
}

#[cfg(test)]
mod tests;
