//! Server-sent events, read as a browser would.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

/// Longest silence between two events of a stream that has not ended.
const SILENCE: Duration = Duration::from_mins(1);

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id; empty when it has none.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data as JSON.
    pub data: Value,
}

/// Reads events until one has the name `last`, or the stream ends.
pub async fn read_until(mut response: Response, last: &str) -> anyhow::Result<Vec<Event>> {
    let mut text = Vec::new();
    let mut events = Vec::new();
    loop {
        let chunk = timeout(SILENCE, response.chunk())
            .await
            .context("the stream fell silent")?;
        let Some(chunk) = chunk.context("the stream broke off")? else {
            return Ok(events);
        };
        text.extend_from_slice(&chunk);
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            if let Some(event) = parse(&String::from_utf8_lossy(&block))? {
                let is_last = event.name == last;
                events.push(event);
                if is_last {
                    return Ok(events);
                }
            }
        }
    }
}

/// One block of lines; `None` for a comment.
fn parse(block: &str) -> anyhow::Result<Option<Event>> {
    let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut id),
            "event" => value.clone_into(&mut name),
            "data" => data.push_str(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let data = serde_json::from_str(&data).with_context(|| format!("no JSON: {data}"))?;
    Ok(Some(Event { id, name, data }))
}
