//! Who may call what: API keys, their scopes, and the namespace that they are bound to.
//!
//! Every request passes [`gate::gate`] once the router knows its route and before anything else looks at it. What it
//! lets through carries a [`Caller`]; handlers reach a job only through [`crate::extract::id::JobPath`], which hides
//! the jobs of other namespaces: for a caller they do not exist.

pub(crate) mod access;
pub(crate) mod credential;
pub(crate) mod gate;
mod verify;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use filejobs_core::{Grant, Namespace};
use http::request::Parts;

use crate::problem::{Code, Problem};

pub(crate) use verify::{Noting, verify};

/// Whether callers are asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Nobody is asked: everybody who can reach the service may do everything.
    None,
    /// Every call that is not open needs an API key.
    Keys,
}

/// Who makes a request, as far as it matters to handlers.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    grant: Arc<Grant>,
    session: bool,
}

impl Caller {
    /// The holder of a key; `session` when a browser's cookie brought it.
    pub(crate) fn new(grant: Grant, session: bool) -> Self {
        Self {
            grant: Arc::new(grant),
            session,
        }
    }

    /// Somebody who is not asked, and may do everything.
    pub(crate) fn anybody() -> Self {
        Self::new(Grant::admin(), false)
    }

    /// Whether a page should offer to sign out.
    pub(crate) fn is_session(&self) -> bool {
        self.session
    }

    /// Whether this caller's jobs are those of one namespace only.
    pub(crate) fn is_bound(&self) -> bool {
        self.grant.namespace().is_some()
    }

    /// Whether jobs of this namespace exist for the caller.
    pub(crate) fn sees(&self, namespace: &Namespace) -> bool {
        self.grant.sees(namespace)
    }

    /// The namespace that a call is about that asks for `wanted`: the caller's own when it asks for none. `None` only
    /// for callers that are bound to none.
    pub(crate) fn namespace(
        &self,
        wanted: Option<&Namespace>,
    ) -> Result<Option<Namespace>, Problem> {
        match (self.grant.namespace(), wanted) {
            (Some(own), Some(wanted)) if own != wanted => Err(other_namespace(own)),
            (own, wanted) => Ok(wanted.or(own).cloned()),
        }
    }
}

fn other_namespace(own: &Namespace) -> Problem {
    Problem::new(
        Code::OtherNamespace,
        format!(
            "This API key is for the namespace `{own}` only. Leave `namespace` out, or use a key for the other one."
        ),
    )
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal("a handler asks for the caller of an open call"))
    }
}
