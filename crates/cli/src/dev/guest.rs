//! A caller from within: `dev FILE` hands its file in over HTTP, like everybody else.

use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{ApiKey, Grant};
use filejobs_store::Store;

use crate::config::AuthMode;
use crate::services::backends::Backends;

/// How long its key lives should nobody take it back.
const LIVES: Duration = Duration::from_hours(1);

/// A caller from within, with a key where callers need one.
pub(crate) struct Guest {
    store: Arc<dyn Store>,
    key: Option<ApiKey>,
}

impl Guest {
    /// Lets it in.
    pub(crate) async fn invite(backends: &Backends, auth: AuthMode) -> anyhow::Result<Self> {
        let store = backends.store.clone();
        let key = match auth {
            AuthMode::None => None,
            AuthMode::Keys => {
                let name = "filejobs dev FILE".parse()?;
                let sources = &backends.sources;
                let made = crate::keys::create(&*store, sources, name, Grant::admin(), Some(LIVES));
                Some(made.await?.0)
            }
        };
        Ok(Self { store, key })
    }

    /// What it sends, where callers need it.
    pub(crate) fn key(&self) -> Option<&ApiKey> {
        self.key.as_ref()
    }

    /// Takes the key back.
    pub(crate) async fn leave(self) {
        let Some(key) = self.key else { return };
        if let Err(error) = self.store.revoke_api_key(key.prefix()).await {
            tracing::warn!(key.prefix = %key.prefix(), %error, "a key is left to its expiry");
        }
    }
}
