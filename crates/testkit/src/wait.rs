//! Waiting for a condition instead of for time to pass.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Longest wait for anything that a healthy service does at once, on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` gives a value, or fails with what was waited for.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = look().await? {
            return Ok(value);
        }
        if begun.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
