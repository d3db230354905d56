//! The controller: keeps jobs and their `FileJob` objects in step, and hosts the scheduler where there is a cluster.
//!
//! A reconciliation reads as five calls: `fetch` what there is, `validate` the spec, `plan` what is to be done,
//! `apply` it, `report` how things stand. `validate`, `plan` and the status are pure; what they decide is in
//! snapshots.
//!
//! Rules that hold everywhere:
//! * The database is the record. An object is how its author states what is wanted and sees what happens; every object
//!   and every status can be made again from rows.
//! * Only what has changed in a spec since it was last carried out is carried out: what others do by the API stays
//!   done.
//! * A job of an object has an id that follows from the object's uid, or is the one that the object names; so a run
//!   that was cut off anywhere is simply run again.
//! * Every change in the database is fenced by the lead (`filejobs_store_postgres::Objects`), every write to the
//!   cluster is guarded by the object's uid.
//! * Status is written by nobody else, and only when it differs.

mod apply;
mod backoff;
mod client;
mod config;
mod context;
mod drift;
mod error;
mod events;
mod feed;
mod fetch;
mod finalizer;
#[cfg(test)]
mod fixtures;
mod ids;
mod lease;
mod object;
mod plan;
mod reconcile;
mod relay;
mod release;
mod report;
mod run;
mod source;
mod status;
mod sweep;
mod turns;
mod validate;
mod webhook_secret;

pub use client::{ClientError, client, watching_client};
pub use config::{Backends, Config, Election, Watched};
pub use error::Error;
pub use release::release;
pub use run::run;
pub use source::{SourceStore, Stores};
