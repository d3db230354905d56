//! API keys: who may call, as the operator has written it down.

use std::time::Duration;

use filejobs_core::{KeyPrefix, Namespace};
use filejobs_store::rows::ApiKeyRow;
use filejobs_store::{Error, NewApiKey, StoredApiKey};
use sqlx::PgConnection;

use crate::database::Unit;
use crate::problem::Result;
use crate::time::Time;

type KeyRow = ApiKeyRow<Time>;

/// Writes a key down, unless its prefix is taken.
pub(crate) async fn create(unit: &mut Unit, new: &NewApiKey) -> Result<Option<StoredApiKey>> {
    let created = sqlx::query_as!(
        KeyRow,
        "INSERT INTO api_keys (prefix, hash, name, scopes, namespace, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (prefix) DO NOTHING
        RETURNING prefix, hash, name, scopes, namespace, created_at, expires_at, revoked_at, last_used_at",
        new.prefix.as_str(),
        new.hash.as_bytes().as_slice(),
        new.name.as_str(),
        new.grant.scopes_text(),
        new.grant.namespace().map(Namespace::as_str),
        Time::from(unit.now),
        new.expires_at.map(|at| Time::from(unit.on_our_clock(at)))
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(created.map(KeyRow::read).transpose()?)
}

/// The key with this prefix.
pub(crate) async fn find(
    connection: &mut PgConnection,
    prefix: &KeyPrefix,
) -> Result<Option<StoredApiKey>> {
    let found = sqlx::query_as!(
        KeyRow,
        "SELECT prefix, hash, name, scopes, namespace, created_at, expires_at, revoked_at, last_used_at
        FROM api_keys WHERE prefix = $1",
        prefix.as_str()
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(KeyRow::read).transpose()?)
}

/// Every key, newest first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<StoredApiKey>> {
    let rows = sqlx::query_as!(
        KeyRow,
        "SELECT prefix, hash, name, scopes, namespace, created_at, expires_at, revoked_at, last_used_at
        FROM api_keys ORDER BY created_at DESC, prefix"
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(KeyRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Ends a key for good; the first time counts.
pub(crate) async fn revoke(unit: &mut Unit, prefix: &KeyPrefix) -> Result<StoredApiKey> {
    let revoked = sqlx::query_as!(
        KeyRow,
        "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $1) WHERE prefix = $2
        RETURNING prefix, hash, name, scopes, namespace, created_at, expires_at, revoked_at, last_used_at",
        Time::from(unit.now),
        prefix.as_str()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(revoked.ok_or(Error::NotFound)?.read()?)
}

/// Notes that a key was used, unless that was noted a moment ago.
pub(crate) async fn note_use(
    unit: &mut Unit,
    prefix: &KeyPrefix,
    at_most_every: Duration,
) -> Result<()> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = $1 WHERE prefix = $2 AND (last_used_at IS NULL OR last_used_at <= $3)",
        Time::from(unit.now),
        prefix.as_str(),
        Time::from(unit.before(at_most_every))
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}
