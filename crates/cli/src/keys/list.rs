//! How keys are shown: never their secrets, which nobody has any more.

use comfy_table::Cell;
use filejobs_core::Namespace;
use filejobs_store::StoredApiKey;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::terminal::{self, shown};

/// What became of a key.
fn state(key: &StoredApiKey, now: Timestamp) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|end| end <= now) {
        "expired"
    } else {
        "active"
    }
}

/// Everything about a key but its hash.
pub(super) fn describe(key: &StoredApiKey, now: Timestamp) -> Value {
    json!({
        "prefix": key.prefix.as_str(),
        "name": key.name.as_str(),
        "scopes": key.grant.scopes(),
        "namespace": key.grant.namespace(),
        "state": state(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    })
}

/// A key in one sentence.
pub(super) fn sentence(key: &StoredApiKey) -> String {
    let place = match key.grant.namespace() {
        Some(namespace) => format!("in namespace {namespace}"),
        None => "in every namespace".to_owned(),
    };
    let end = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!(", revoked at {at:.0}"),
        (None, Some(at)) => format!(", expires at {at:.0}"),
        (None, None) => ", does not expire".to_owned(),
    };
    let (prefix, scopes) = (&key.prefix, key.grant.scopes_text());
    let name = shown(key.name.as_str(), 100);
    format!("{prefix} ({name}): {scopes} {place}{end}.")
}

/// Prints keys as a table for people or as JSON for programs.
pub(super) fn print(keys: &[StoredApiKey], now: Timestamp, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let all: Vec<_> = keys.iter().map(|key| describe(key, now)).collect();
        terminal::json(&json!({ "keys": all }))?;
        return Ok(());
    }
    if keys.is_empty() {
        terminal::line("No keys yet; `filejobs keys create --name NAME` makes one.")?;
        return Ok(());
    }
    let header = [
        "prefix",
        "name",
        "scopes",
        "namespace",
        "state",
        "created",
        "expires",
        "last used",
    ];
    let mut table = terminal::table(&header);
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("{at:.0}"));
    for key in keys {
        table.add_row(vec![
            Cell::new(&key.prefix),
            Cell::new(shown(key.name.as_str(), 40)),
            Cell::new(key.grant.scopes_text()),
            Cell::new(key.grant.namespace().map_or("(all)", Namespace::as_str)),
            Cell::new(state(key, now)),
            Cell::new(time(Some(key.created_at))),
            Cell::new(time(key.expires_at)),
            Cell::new(time(key.last_used_at)),
        ]);
    }
    terminal::print(&table)?;
    Ok(())
}
