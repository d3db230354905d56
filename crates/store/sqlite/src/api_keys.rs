//! API keys: who may call, as the operator has written it down.

use std::time::Duration;

use filejobs_core::KeyPrefix;
use filejobs_store::rows::ApiKeyRow;
use filejobs_store::{Error, NewApiKey, StoredApiKey};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::database::Unit;
use crate::problem::{Result, micros};

type KeyRow = ApiKeyRow<i64>;

/// Writes a key down, unless its prefix is taken.
pub(crate) async fn create(unit: &mut Unit, new: &NewApiKey) -> Result<Option<StoredApiKey>> {
    let prefix = new.prefix.as_str();
    let hash = new.hash.as_bytes().as_slice();
    let name = new.name.as_str();
    let scopes = new.grant.scopes_text();
    let namespace = new.grant.namespace().map(filejobs_core::Namespace::as_str);
    let created_at = micros(unit.now);
    let expires_at = new.expires_at.map(micros);
    let created = sqlx::query_as!(
        KeyRow,
        r#"INSERT INTO api_keys (prefix, hash, name, scopes, namespace, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING
        RETURNING prefix, hash, name, scopes, namespace AS "namespace?", created_at, expires_at AS "expires_at?",
            revoked_at AS "revoked_at?", last_used_at AS "last_used_at?""#,
        prefix,
        hash,
        name,
        scopes,
        namespace,
        created_at,
        expires_at
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    Ok(created.map(KeyRow::read).transpose()?)
}

/// The key with this prefix.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    prefix: &KeyPrefix,
) -> Result<Option<StoredApiKey>> {
    let prefix = prefix.as_str();
    let found = sqlx::query_as!(
        KeyRow,
        r#"SELECT prefix, hash, name, scopes, namespace AS "namespace?", created_at, expires_at AS "expires_at?",
            revoked_at AS "revoked_at?", last_used_at AS "last_used_at?"
        FROM api_keys WHERE prefix = ?"#,
        prefix
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(KeyRow::read).transpose()?)
}

/// Every key, newest first.
pub(crate) async fn list(connection: &mut SqliteConnection) -> Result<Vec<StoredApiKey>> {
    let rows = sqlx::query_as!(
        KeyRow,
        r#"SELECT prefix, hash, name, scopes, namespace AS "namespace?", created_at, expires_at AS "expires_at?",
            revoked_at AS "revoked_at?", last_used_at AS "last_used_at?"
        FROM api_keys ORDER BY created_at DESC, prefix"#
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(KeyRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Ends a key for good; the first time counts.
pub(crate) async fn revoke(unit: &mut Unit, prefix: &KeyPrefix) -> Result<StoredApiKey> {
    let prefix = prefix.as_str();
    let now = micros(unit.now);
    let revoked = sqlx::query_as!(
        KeyRow,
        r#"UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?) WHERE prefix = ?
        RETURNING prefix, hash, name, scopes, namespace AS "namespace?", created_at, expires_at AS "expires_at?",
            revoked_at AS "revoked_at?", last_used_at AS "last_used_at?""#,
        now,
        prefix
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    Ok(revoked.ok_or(Error::NotFound)?.read()?)
}

/// Notes that a key was used, unless that was noted a moment ago.
pub(crate) async fn note_use(
    unit: &mut Unit,
    prefix: &KeyPrefix,
    at_most_every: Duration,
) -> Result<()> {
    let prefix = prefix.as_str();
    let now = micros(unit.now);
    let before = micros(
        unit.now
            .checked_sub(at_most_every)
            .unwrap_or(Timestamp::MIN),
    );
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = ?
        WHERE prefix = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
        now,
        prefix,
        before
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}
