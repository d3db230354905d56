//! Storages that the administrator has named: an author names one of them and a key, and nothing else.

use std::collections::BTreeMap;

use filejobs_blobs::Blobs;
use filejobs_crd::{Reason, StoreSource};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Failure, Incoming};

/// Storages by name, each with the beginning that keys in it have.
#[derive(Debug, Clone, Default)]
pub struct Stores(BTreeMap<String, (Blobs, String)>);

impl Stores {
    /// Adds one. Keys are looked for below `prefix`, which is empty for all.
    pub fn add(&mut self, name: impl Into<String>, storage: Blobs, prefix: impl Into<String>) {
        self.0.insert(name.into(), (storage, prefix.into()));
    }

    pub(super) async fn open(&self, from: &StoreSource) -> Result<Incoming, Failure> {
        let Some((storage, prefix)) = self.0.get(&from.name) else {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            let told = format!("There is no storage `{}`; known: {known}.", from.name);
            return Err(Failure::never(Reason::UnknownStore, told));
        };
        // A key is taken as it is: no part of it leads out of the prefix.
        if from
            .key
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            let told = "`source.store.key` has an empty part, `.` or `..`.";
            return Err(Failure::never(Reason::SourceRefused, told));
        }
        let key = format!("{prefix}{}", from.key);
        let unavailable = |error: filejobs_blobs::Error| match error {
            filejobs_blobs::Error::NotFound => Failure::later(
                Reason::SourceNotFound,
                format!("The storage `{}` has no such key.", from.name),
            ),
            error => {
                tracing::info!(%error, store = from.name, "a source's storage did not answer");
                let told = format!(
                    "The storage `{}` does not answer; it is tried again.",
                    from.name
                );
                Failure::later(Reason::SourceUnavailable, told)
            }
        };
        let bytes = storage
            .stream(&key, 0..u64::MAX)
            .await
            .map_err(unavailable)?;
        let lost = |_| {
            let told = "The storage stopped in the middle of the file; it is tried again.";
            Failure::later(Reason::SourceUnavailable, told)
        };
        let name = from.key.rsplit('/').next().unwrap_or(&from.key);
        Ok(Incoming {
            name: name.to_owned(),
            bytes: bytes.map_err(lost).boxed(),
        })
    }
}
