//! Idempotency keys: the same key and form make one job, however often they are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use filejobs_core::{FileName, JobId, Namespace};
use filejobs_store::Reservation;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::fields::Name;
use crate::App;
use crate::problem::{Code, FieldError, Place, Problem, key_in_flight};

/// The header that carries a key.
const HEADER: &str = "idempotency-key";
/// The longest key.
const MAX: usize = 255;
/// So long a reservation lasts when its upload is lost without a word: with a process that was killed, or while the
/// database cannot be told. The client that sends the upload again is refused until then.
const RESERVED_FOR: Duration = Duration::from_secs(20);
/// An upload that goes on says so this often.
const RENEWED_EVERY: Duration = Duration::from_secs(5);
/// How long a key is known after its job was made.
pub(crate) const KNOWN_FOR: Duration = Duration::from_hours(24);

/// A client's key, reserved for this upload where it could be.
#[derive(Debug)]
pub(crate) struct Hold {
    app: App,
    key: String,
    held: Option<Held>,
}

/// A reservation: renewed for as long as this lives, then given back unless a job has it.
#[derive(Debug)]
struct Held {
    app: App,
    namespace: Namespace,
    key: String,
    renewal: JoinHandle<()>,
    is_over: bool,
}

/// What came of the wish to reserve a key.
enum Wish {
    Reserved(Held),
    InFlight,
    Used { job: JobId, fingerprint: String },
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
        match self.reserve(wanted).await? {
            Wish::Reserved(held) => self.held = Some(held),
            Wish::InFlight if namespace.is_some() => return Err(key_in_flight()),
            // Whether the key was used with the same form is known once the form is.
            Wish::InFlight | Wish::Used { .. } => {}
        }
        Ok(())
    }

    /// Makes sure of the key in the form's namespace.
    pub(crate) async fn settle(&mut self, namespace: &Namespace) -> Result<Standing, Problem> {
        if self
            .held
            .as_ref()
            .is_some_and(|held| held.namespace == *namespace)
        {
            return Ok(Standing::Ours);
        }
        self.release().await;
        match self.reserve(namespace.clone()).await? {
            Wish::Reserved(held) => {
                self.held = Some(held);
                Ok(Standing::Ours)
            }
            Wish::InFlight => Err(key_in_flight()),
            Wish::Used { job, fingerprint } => Ok(Standing::Used { job, fingerprint }),
        }
    }

    /// The key has gone over to a job, or was lost: nothing is to be given back.
    pub(crate) fn forget(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.is_over = true;
        }
    }

    /// Gives the key back.
    pub(crate) async fn release(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.is_over = true;
            release(&held.app, &held.namespace, &held.key).await;
        }
    }

    /// Asks in a task of its own: when the client hangs up meanwhile, what was reserved is given back all the same.
    async fn reserve(&self, namespace: Namespace) -> Result<Wish, Problem> {
        let (app, key) = (self.app.clone(), self.key.clone());
        let asked = tokio::spawn(async move {
            let reserved = app.store().reserve_key(&namespace, &key, RESERVED_FOR);
            Ok::<_, filejobs_store::Error>(match reserved.await? {
                Reservation::Reserved => Wish::Reserved(Held::new(app, namespace, key)),
                Reservation::InFlight => Wish::InFlight,
                Reservation::Used { job, fingerprint } => Wish::Used { job, fingerprint },
            })
        });
        Ok(asked.await.map_err(Problem::internal)??)
    }
}

impl Held {
    /// Of a key that was reserved just now.
    fn new(app: App, namespace: Namespace, key: String) -> Self {
        let renewal = tokio::spawn(renew(app.clone(), namespace.clone(), key.clone()));
        Self {
            app,
            namespace,
            key,
            renewal,
            is_over: false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
        if self.is_over {
            return;
        }
        let (app, namespace) = (self.app.clone(), self.namespace.clone());
        let key = std::mem::take(&mut self.key);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { release(&app, &namespace, &key).await });
        }
    }
}

async fn renew(app: App, namespace: Namespace, key: String) {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        let renewed = app.store().renew_key(&namespace, &key, RESERVED_FOR).await;
        if let Err(error) = renewed {
            // Should it run out, a job is made all the same unless another upload has the key by then.
            tracing::warn!(error = %error, "an idempotency key was not renewed");
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
