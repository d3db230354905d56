//! Which Redis server carries tickets.

use clap::Args;
use filejobs_queue::redis::Server;

use super::{Problems, Secret, given};

/// The queue of services that are many processes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub(crate) struct RedisArgs {
    /// The Redis server: `redis://[USER][:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` for TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<Secret>,
}

const URL: &str = "REDIS_URL (--redis-url)";

impl RedisArgs {
    /// The server, which must be named.
    pub(crate) fn read(&self, problems: &mut Problems) -> Option<Server> {
        let url = given(self.redis_url.as_ref().map(Secret::reveal));
        let url = problems.required(URL, url, "such as redis://HOST:6379")?;
        match url.parse() {
            Ok(server) => Some(server),
            Err(problem) => {
                problems.add(URL, problem);
                None
            }
        }
    }
}
