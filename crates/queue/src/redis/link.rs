//! One connection that all short calls share, made anew after it broke.
//!
//! `redis` has a manager of its own, but that one goes on with a connection whose answers do not come: after a server
//! was lost without a word, every call would wait until the kernel gives the connection up. Here a call that was not
//! answered in time takes its connection with it.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult};
use redis::{ServerError, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::config::Server;

/// Longest wait for a connection that can be used.
const CONNECT: Duration = Duration::from_secs(2);

/// Longest wait for an answer.
pub(super) const RESPONSE: Duration = Duration::from_secs(2);

/// Longest time of a call, with its wait for the connection.
const CALL: Duration = Duration::from_secs(3);

/// The shared connection.
pub(super) struct Link {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Tells connections apart.
    made: u64,
}

#[derive(Clone)]
struct Live {
    number: u64,
    connection: MultiplexedConnection,
}

/// What a call sends.
#[derive(Clone, Copy)]
enum Request<'a> {
    One(&'a Cmd),
    Each(&'a Pipeline),
    All(&'a Pipeline),
}

impl Request<'_> {
    async fn send(self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(command) => {
                let answer = connection.req_packed_command(command).await?;
                Ok(vec![answer.extract_error()?])
            }
            Self::Each(commands) => {
                let count = commands.len();
                connection.req_packed_commands(commands, 0, count).await
            }
            Self::All(commands) => commands.exec_async(connection).await.map(|()| Vec::new()),
        }
    }
}

impl Link {
    pub(super) fn new(server: &Server) -> RedisResult<Self> {
        Ok(Self {
            client: Client::open(server.0.clone())?,
            state: Mutex::default(),
        })
    }

    /// Runs one command.
    pub(super) async fn one(&self, command: &Cmd) -> RedisResult<Value> {
        let mut answers = self.call(Request::One(command)).await?;
        Ok(answers.pop().unwrap_or(Value::Nil))
    }

    /// Runs commands in one go and gives the answer of each, which may be an error of the server.
    pub(super) async fn each(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        self.call(Request::Each(commands)).await
    }

    /// Runs all of the commands or none of them.
    pub(super) async fn all(&self, commands: &Pipeline) -> RedisResult<()> {
        self.call(Request::All(commands)).await.map(drop)
    }

    async fn call(&self, request: Request<'_>) -> RedisResult<Vec<Value>> {
        let answer = async {
            // A server that was restarted has closed a connection that looked well. What is sent twice is harmless.
            match self.try_once(request).await {
                Err(error) if error.is_connection_dropped() => self.try_once(request).await,
                other => other,
            }
        };
        in_time(CALL, answer).await
    }

    async fn try_once(&self, request: Request<'_>) -> RedisResult<Vec<Value>> {
        let mut live = self.live().await?;
        let answer = request.send(&mut live.connection).await;
        let is_of_no_use = match &answer {
            Ok(answers) => answers.iter().any(is_of_a_copy),
            Err(error) => is_broken(error),
        };
        if is_of_no_use {
            self.forget(live.number).await;
        }
        answer
    }

    /// The connection, made when there is none. One caller makes it, the others wait for that.
    async fn live(&self) -> RedisResult<Live> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            return Ok(live.clone());
        }
        let connection = self.own(RESPONSE).await?;
        state.made += 1;
        let live = Live {
            number: state.made,
            connection,
        };
        state.live = Some(live.clone());
        Ok(live)
    }

    async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state
            .live
            .as_ref()
            .is_some_and(|live| live.number == number)
        {
            state.live = None;
        }
    }

    /// A new connection for one user, who waits up to `response` for an answer.
    pub(super) async fn own(&self, response: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(response));
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        made.await
    }
}

/// The answer, or an error when it takes too long.
pub(super) async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// Whether the connection is of no more use after this error: it broke, fell silent, or leads to a server that has
/// become another's copy.
pub(super) fn is_broken(error: &RedisError) -> bool {
    match error.kind() {
        // The kind of a transaction's error is that it was aborted; what its commands were refused for is within.
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let refusals = error.clone().into_server_errors();
            refusals.is_some_and(|all| all.iter().any(|(_, refusal)| refuses_as_a_copy(refusal)))
        }
        _ => true,
    }
}

/// Whether one answer of several is that of a server that has become another's copy.
fn is_of_a_copy(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(refusal) if refuses_as_a_copy(refusal))
}

fn refuses_as_a_copy(refusal: &ServerError) -> bool {
    matches!(
        refusal.kind(),
        Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}

/// Whether the group is not there, or is gone since the command was sent.
pub(super) fn is_groupless(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}
