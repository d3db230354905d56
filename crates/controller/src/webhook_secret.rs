//! Keys for the signatures of webhooks, in Secrets of the objects' own namespaces.
//!
//! Only Secrets of the type `filejobs.dev/webhook` are used: whoever may make a `FileJob` cannot have anything else signed
//! with that somebody keeps in the namespace. A key is read whenever something is to be signed, and kept nowhere.

use filejobs_core::{JobId, causes};
use filejobs_crd::{Reason, WEBHOOK_SECRET_TYPE};
use filejobs_scheduler::webhook::{Keys, NoKey, Secret};
use filejobs_store_postgres::objects::{Objects, WebhookSecret};
use k8s_openapi::api::core::v1::Secret as Kept;
use kube::{Api, Client};

use crate::error::{Error, is_forbidden};
use crate::validate::Rejection;

/// Why a key could not be had.
#[derive(Debug)]
pub(crate) enum Problem {
    /// There is no such Secret.
    NoSecret,
    /// The Secret is meant for something else.
    OtherType,
    /// It has no such key.
    NoKey,
    /// What it has there is no key for signatures.
    Unusable,
    /// The controller may not read Secrets.
    Forbidden,
    /// The API server did not answer as it should.
    Failed(Error),
}

/// Reads a key.
pub(crate) async fn read(
    client: &Client,
    namespace: &str,
    of: &WebhookSecret,
) -> Result<Secret, Problem> {
    let secrets: Api<Kept> = Api::namespaced(client.clone(), namespace);
    let found = secrets.get_opt(&of.name).await.map_err(|error| {
        if is_forbidden(&error) {
            Problem::Forbidden
        } else {
            Problem::Failed(Error::cluster("to read a Secret")(error))
        }
    })?;
    let mut found = found.ok_or(Problem::NoSecret)?;
    if found.type_.as_deref() != Some(WEBHOOK_SECRET_TYPE) {
        return Err(Problem::OtherType);
    }
    let value = found.data.as_mut().and_then(|data| data.remove(&of.key));
    let value = value.ok_or(Problem::NoKey)?;
    let text = std::str::from_utf8(&value.0).map_err(|_| Problem::Unusable)?;
    text.trim_ascii_end().parse().map_err(|_| Problem::Unusable)
}

impl Problem {
    /// What an object shows whose webhook cannot be signed; the error instead where it is none of its author's.
    pub(crate) fn rejection(self, of: &WebhookSecret) -> Result<Rejection, Error> {
        let WebhookSecret { name, key } = of;
        let message = match self {
            Self::NoSecret => {
                format!("There is no Secret `{name}` in this namespace, which is to sign the webhook; create it.")
            }
            Self::OtherType => format!(
                "The Secret `{name}` is not of the type `{WEBHOOK_SECRET_TYPE}`, so that it signs no webhook; create one that is."
            ),
            Self::NoKey => format!("The Secret `{name}` has no key `{key}`; add it."),
            Self::Unusable => format!(
                "`{key}` in the Secret `{name}` is no webhook secret: `whsec_` followed by 24 to 64 random bytes in Base64."
            ),
            Self::Forbidden => {
                "The controller may not read Secrets, so that none can sign the webhook; have the administrator allow it.".to_owned()
            }
            Self::Failed(error) => return Err(error),
        };
        Ok(Rejection::new(Reason::WebhookSecretUnavailable, message))
    }

    /// What an attempt shows that could not be signed.
    fn attempt(&self) -> NoKey {
        match self {
            Self::NoSecret | Self::NoKey => NoKey::Absent,
            Self::OtherType | Self::Unusable => NoKey::Unusable,
            Self::Forbidden => NoKey::Refused,
            Self::Failed(_) => NoKey::Unavailable,
        }
    }
}

/// The keys that objects name, for the scheduler.
pub(crate) struct SecretKeys {
    pub(crate) client: Client,
    pub(crate) objects: Objects,
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKeys").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Keys for SecretKeys {
    async fn of_job(&self, job: JobId) -> Result<Option<Secret>, NoKey> {
        let link = self.objects.of_job(job).await.map_err(|error| {
            tracing::info!(job.id = %job, %error, "what signs a webhook is not known");
            NoKey::Unavailable
        })?;
        let Some((object, secret)) =
            link.and_then(|link| Some((link.object, link.webhook_secret?)))
        else {
            return Ok(None);
        };
        match read(&self.client, &object.namespace, &secret).await {
            Ok(secret) => Ok(Some(secret)),
            Err(problem) => {
                if let Problem::Failed(error) = &problem {
                    tracing::info!(job.id = %job, error = causes::chain(error), "a webhook's key could not be read");
                }
                Err(problem.attempt())
            }
        }
    }
}
