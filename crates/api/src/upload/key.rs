//! Idempotency keys: the same key and form make one job, however often they are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use filejobs_core::{FileName, JobId, Namespace};
use filejobs_store::Reservation;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::fields::Name;
use crate::App;
use crate::problem::{Code, FieldError, Place, Problem, key_in_flight};

/// The header that carries a key.
const HEADER: &str = "idempotency-key";
/// The longest key.
const MAX: usize = 255;
/// So long a reservation lasts when its upload is lost without a word. A slower upload still ends well: its key is
/// reserved anew.
const RESERVED_FOR: Duration = Duration::from_mins(15);
/// How long a key is known after its job was made.
pub(crate) const KNOWN_FOR: Duration = Duration::from_hours(24);

/// A client's key and the namespace in which it is reserved for this upload. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    app: App,
    key: String,
    held: Option<Namespace>,
}

/// What a key stands for once the whole form is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is this upload's.
    Ours,
    /// It made this job from a form with this fingerprint.
    Used { job: JobId, fingerprint: String },
}

impl Hold {
    /// Reads the header.
    pub(crate) fn of(app: &App, headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value
            .to_str()
            .ok()
            .filter(|key| (1..=MAX).contains(&key.len()) && values.next().is_none())
            .ok_or_else(malformed)?;
        Ok(Some(Self {
            app: app.clone(),
            key: key.to_owned(),
            held: None,
        }))
    }

    /// Whether the key is reserved for this upload: then it has made no job yet.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The client's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Reserves the key before the file is read. A namespace that has not come yet may still come: then the default
    /// one is tried, and a clash is no answer yet.
    pub(crate) async fn early(&mut self, namespace: Option<&Namespace>) -> Result<(), Problem> {
        let wanted = namespace.cloned().unwrap_or_default();
        match self.reserve(&wanted).await? {
            Reservation::Reserved => self.held = Some(wanted),
            Reservation::InFlight if namespace.is_some() => return Err(key_in_flight()),
            // Whether the key was used with the same form is known once the form is.
            Reservation::InFlight | Reservation::Used { .. } => {}
        }
        Ok(())
    }

    /// Makes sure of the key in the form's namespace.
    pub(crate) async fn settle(&mut self, namespace: &Namespace) -> Result<Standing, Problem> {
        if self.held.as_ref() == Some(namespace) {
            return Ok(Standing::Ours);
        }
        self.release().await;
        match self.reserve(namespace).await? {
            Reservation::Reserved => {
                self.held = Some(namespace.clone());
                Ok(Standing::Ours)
            }
            Reservation::InFlight => Err(key_in_flight()),
            Reservation::Used { job, fingerprint } => Ok(Standing::Used { job, fingerprint }),
        }
    }

    /// The key has gone over to a job, or was lost: nothing is to be given back.
    pub(crate) fn forget(&mut self) {
        self.held = None;
    }

    /// Gives the key back.
    pub(crate) async fn release(&mut self) {
        if let Some(namespace) = self.held.take() {
            release(&self.app, &namespace, &self.key).await;
        }
    }

    async fn reserve(&self, namespace: &Namespace) -> Result<Reservation, Problem> {
        let store = self.app.store();
        Ok(store
            .reserve_key(namespace, &self.key, RESERVED_FOR)
            .await?)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(namespace) = self.held.take() else {
            return;
        };
        let (app, key) = (self.app.clone(), std::mem::take(&mut self.key));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { release(&app, &namespace, &key).await });
        }
    }
}

async fn release(app: &App, namespace: &Namespace, key: &str) {
    if let Err(error) = app.store().release_key(namespace, key).await {
        tracing::warn!(error = %error, "an idempotency key stays reserved until it expires");
    }
}

fn malformed() -> Problem {
    let detail = "must be one value of 1 to 255 visible ASCII characters";
    Problem::fields(
        Code::InvalidHeader,
        format!("The `Idempotency-Key` header cannot be used: it {detail}."),
        vec![FieldError::new(Place::Header, "Idempotency-Key", detail)],
    )
}

/// The key belongs to another form.
pub(crate) fn reused() -> Problem {
    Problem::new(
        Code::KeyReused,
        "This Idempotency-Key was sent with another file or other fields. Use a new key for a new upload.",
    )
}

/// A hash over the file's content, its name, and all other fields.
pub(crate) fn fingerprint(sha256: &str, name: &FileName, texts: &BTreeMap<Name, String>) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // The length before each text: no two forms give the same bytes.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    add(sha256);
    add(name.as_str());
    for (field, text) in texts {
        add(field.as_str());
        add(text);
    }
    super::hex(&hash.finalize())
}
