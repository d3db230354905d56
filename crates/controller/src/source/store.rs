//! Storages that the administrator has named: an author names one of them and a key, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use filejobs_blobs::Blobs;
use filejobs_core::Namespace;
use filejobs_crd::{Reason, StoreSource};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Failure, Incoming};

/// A storage that `store` sources may name.
#[derive(Clone)]
pub struct SourceStore {
    /// The storage. Below its prefix every key can be read.
    pub blobs: Blobs,
    /// Namespaces whose objects may name it; `None` for all.
    pub namespaces: Option<BTreeSet<Namespace>>,
}

impl SourceStore {
    fn serves(&self, namespace: &Namespace) -> bool {
        let namespaces = self.namespaces.as_ref();
        namespaces.is_none_or(|some| some.contains(namespace))
    }
}

/// Storages by name. Shown by their names alone.
#[derive(Clone, Default)]
pub struct Stores(BTreeMap<String, SourceStore>);

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for SourceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SourceStore");
        let shown = shown.field("namespaces", &self.namespaces);
        shown.finish_non_exhaustive()
    }
}

impl Stores {
    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, store: SourceStore) {
        self.0.insert(name.into(), store);
    }

    pub(super) async fn open(
        &self,
        namespace: &Namespace,
        from: &StoreSource,
    ) -> Result<Incoming, Failure> {
        let store = self.named(namespace, &from.name)?;
        // A key is taken as it is: no part of it leads out of the prefix.
        let mut parts = from.key.split('/');
        if parts.clone().any(|part| matches!(part, "" | "." | "..")) {
            let told = "`source.store.key` has an empty part, `.` or `..`.";
            return Err(Failure::never(Reason::SourceRefused, told));
        }
        let bytes = store.blobs.stream(&from.key, 0..u64::MAX).await;
        let bytes = bytes.map_err(|error| failure(&from.name, &error))?;
        let lost = |_| {
            let told = "The storage stopped in the middle of the file; it is tried again.";
            Failure::later(Reason::SourceUnavailable, told)
        };
        Ok(Incoming {
            name: parts.next_back().unwrap_or_default().to_owned(),
            bytes: bytes.map_err(lost).boxed(),
        })
    }

    /// The storage of a name. One that is not for the namespace is as unknown as one that is not there.
    fn named(&self, namespace: &Namespace, name: &str) -> Result<&SourceStore, Failure> {
        let of_namespace = |store: &&SourceStore| store.serves(namespace);
        self.0.get(name).filter(of_namespace).ok_or_else(|| {
            let all = self.0.iter().filter(|(_, store)| store.serves(namespace));
            let known: Vec<_> = all.map(|(name, _)| name.as_str()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            let told = format!("This namespace has no storage `{name}`; known: {known}.");
            Failure::never(Reason::UnknownStore, told)
        })
    }
}

/// What a failed request means. Nothing of its text is shown: it may name hosts.
fn failure(name: &str, error: &filejobs_blobs::Error) -> Failure {
    let refused = match error {
        filejobs_blobs::Error::NotFound => {
            let told = format!("The storage `{name}` has no such key.");
            return Failure::later(Reason::SourceNotFound, told);
        }
        filejobs_blobs::Error::Storage { source, .. } => matches!(
            source.downcast_ref(),
            Some(
                object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. }
            )
        ),
        filejobs_blobs::Error::Full(_) | filejobs_blobs::Error::Folder { .. } => false,
    };
    tracing::info!(%error, store = name, "a source's storage gave no file");
    if refused {
        // What a storage also says of a key that is not there to those who may not list: it may come.
        let told = format!("The storage `{name}` does not let the service read the key.");
        return Failure::later(Reason::SourceRefused, told);
    }
    let told = format!("The storage `{name}` does not answer; it is tried again.");
    Failure::later(Reason::SourceUnavailable, told)
}
