//! Keeping stream and group in order: what is there although nobody works on it.

use redis::{RedisResult, ToRedisArgs, Value};

use super::GROUP;
use super::config::Config;
use super::link::Link;
use super::reader::{Odd, millis};

/// Removes consumers that hold nothing and were not heard of for long. In one step with the look: a consumer that is
/// removed while it holds entries takes them out of everybody's reach.
const REMOVE_CONSUMERS: &str = r"
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local fields = {}
  for i = 1, #consumer, 2 do fields[consumer[i]] = consumer[i + 1] end
  if fields.pending == 0 and fields.idle >= tonumber(ARGV[2]) and fields.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fields.name)
    removed = removed + 1
  end
end
return removed
";

/// Makes stream and group where they are absent. All that the stream holds is new to a new group.
pub(super) async fn make_group(link: &Link, stream: &str) -> RedisResult<()> {
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATE").arg(stream).arg(GROUP);
    create.arg("0").arg("MKSTREAM");
    match link.one(&create).await {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Acknowledges and removes entries. Both or none: an entry that is acknowledged and stays would count as waiting.
pub(super) async fn remove(link: &Link, stream: &str, ids: &[impl ToRedisArgs]) -> RedisResult<()> {
    let mut commands = redis::pipe();
    commands.atomic();
    commands.cmd("XACK").arg(stream).arg(GROUP).arg(ids);
    commands.cmd("XDEL").arg(stream).arg(ids);
    link.all(&commands).await
}

/// Deals with entries that are no tickets of this version. What cannot be done now is found again later.
pub(super) async fn settle(link: &Link, config: &Config, odd: &Odd) -> RedisResult<()> {
    let text = |ids: &[super::entry::Id]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !odd.garbage.is_empty() {
        let ids = text(&odd.garbage);
        tracing::error!(entries = ?ids, "the queue held entries that are no tickets; they are removed");
        remove(link, &config.stream, &ids).await?;
    }
    if !odd.newer.is_empty() {
        // As if nobody had ever looked at them: the next search of a worker that knows them takes them.
        let mut give = redis::cmd("XCLAIM");
        give.arg(&config.stream).arg(GROUP).arg(&config.consumer);
        give.arg(0).arg(text(&odd.newer));
        give.arg("IDLE").arg(millis(config.pending_idle));
        link.one(give.arg("JUSTID")).await?;
    }
    Ok(())
}

/// Removes consumers that are gone.
pub(super) async fn remove_consumers(link: &Link, config: &Config) -> RedisResult<()> {
    let mut remove = redis::cmd("EVAL");
    remove.arg(REMOVE_CONSUMERS).arg(1).arg(&config.stream);
    remove.arg(GROUP).arg(millis(config.consumer_gone));
    remove.arg(&config.consumer);
    if let Value::Int(removed @ 1..) = link.one(&remove).await? {
        tracing::debug!(
            removed,
            "consumers that are gone were removed from the queue"
        );
    }
    Ok(())
}
