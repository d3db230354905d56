//! Settings that more than one way to run has: flag, environment variable, default; all checked before anything
//! starts.

mod access;
mod secret;

pub(crate) use access::{Access, AuthMode};
pub(crate) use secret::Secret;
