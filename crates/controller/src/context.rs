//! What every reconciliation has at hand.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use filejobs_core::JobId;
use filejobs_crd::FileJob;
use filejobs_store_postgres::objects::Objects;
use kube::Api;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::config::{Backends, Config};
use crate::drift::Drift;
use crate::events::Teller;
use crate::object::{Key, Object, Reader};
use crate::source::Fetcher;
use crate::turns::Turns;

/// What every reconciliation has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) backends: Backends,
    pub(crate) config: Config,
    pub(crate) objects: Objects,
    /// The objects of the cluster.
    pub(crate) reader: Reader,
    pub(crate) fetcher: Fetcher,
    pub(crate) teller: Teller,
    pub(crate) backoff: Backoff,
    pub(crate) known: Known,
    pub(crate) turns: Turns,
    pub(crate) drift: Drift,
}

impl Context {
    /// Objects of a namespace.
    pub(crate) fn api(&self, namespace: &str) -> Api<FileJob> {
        Api::namespaced(self.backends.client.clone(), namespace)
    }
}

/// What this process remembers of objects. All of it can be lost: it only saves work.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The objects of jobs.
    keys: HashMap<JobId, Key>,
    /// When each object's status was last written, by uid.
    written: HashMap<String, Instant>,
}

impl Known {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an object, once it was asked for whether it has a job. Without one it says itself which it means, and
    /// anybody may say so: that takes nobody's place.
    pub(crate) fn note(&self, object: &Object, linked: Option<JobId>) {
        let mut inner = self.inner();
        match linked {
            Some(job) => {
                inner.keys.insert(job, object.key());
            }
            None => {
                inner.keys.entry(object.id).or_insert_with(|| object.key());
            }
        }
    }

    /// The object of a job.
    pub(crate) fn key(&self, job: JobId) -> Option<Key> {
        self.inner().keys.get(&job).cloned()
    }

    /// Notes that a status was written.
    pub(crate) fn note_write(&self, uid: &str) {
        self.inner().written.insert(uid.to_owned(), Instant::now());
    }

    /// When a status was last written by this process.
    pub(crate) fn last_write(&self, uid: &str) -> Option<Instant> {
        self.inner().written.get(uid).copied()
    }

    /// Forgets when the status of an object was written: it has ended, or is gone.
    pub(crate) fn forget_write(&self, uid: &str) {
        self.inner().written.remove(uid);
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, object: &Object) {
        let mut inner = self.inner();
        if inner.keys.get(&object.id) == Some(&object.key()) {
            inner.keys.remove(&object.id);
        }
        inner.written.remove(&object.reference.uid);
    }
}
