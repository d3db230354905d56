//! Whether a key is one of ours, and good.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use filejobs_core::{ApiKey, KeyHash, KeyPrefix};
use filejobs_store::StoredApiKey;

use super::gate::unauthenticated;
use crate::App;
use crate::problem::{Code, Problem};

/// A key's use is noted once in this time, however often it is used.
const NOTED_EVERY: Duration = Duration::from_mins(1);

/// Finds the key by its prefix and checks it. The database is asked each time: a key that was revoked is refused from
/// the next request on, by every process.
pub(crate) async fn verify(app: &App, key: &ApiKey) -> Result<StoredApiKey, Problem> {
    let stored = app.store().api_key(key.prefix()).await?;
    // Compared with something in any case: an unknown prefix takes no less time than a wrong secret.
    let hash = stored.as_ref().map(|stored| stored.hash);
    let same = hash.unwrap_or(KeyHash::from_bytes([0; 32])) == key.hash();
    let Some(stored) = stored.filter(|_| same) else {
        return Err(refused("This API key does not exist."));
    };
    // Only who knows the secret learns what became of the key.
    if stored.revoked_at.is_some() {
        return Err(refused("This API key was revoked."));
    }
    let now = app.sources().now();
    if let Some(end) = stored.expires_at.filter(|end| *end <= now) {
        return Err(refused(&format!("This API key expired at {end}.")));
    }
    note_use(app, &stored, now);
    Ok(stored)
}

fn refused(what: &str) -> Problem {
    unauthenticated(
        Code::InvalidKey,
        format!("{what} Ask the operator for a new one; `filejobs keys create` makes it."),
    )
}

fn note_use(app: &App, key: &StoredApiKey, now: jiff::Timestamp) {
    let recent = |at| now.duration_since(at) < NOTED_EVERY.try_into().unwrap_or_default();
    if key.last_used_at.is_some_and(recent) || !app.noting().begin(&key.prefix) {
        return;
    }
    // Nobody waits for it: a database that is slow to write must not hold up a request that only reads.
    let (app, prefix) = (app.clone(), key.prefix.clone());
    tokio::spawn(async move {
        let noted = app.store().note_api_key_use(&prefix, NOTED_EVERY).await;
        if let Err(error) = noted {
            tracing::warn!(key.prefix = %prefix, error = %error, "the use of a key was not noted");
        }
        app.noting().end(&prefix);
    });
}

/// Keys whose use is just being noted: one write each is under way at most.
#[derive(Debug, Default)]
pub(crate) struct Noting(Mutex<HashSet<KeyPrefix>>);

impl Noting {
    fn begin(&self, prefix: &KeyPrefix) -> bool {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(prefix.clone())
    }

    fn end(&self, prefix: &KeyPrefix) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(prefix);
    }
}
