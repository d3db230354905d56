//! The built program from outside: the service in one process and in many, the commands over their exit codes, the
//! pages in a browser. What every way to run answers over HTTP is the suite beside this one.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod browser;
mod check;
mod commands;
mod compose;
mod crash;
mod disk;
mod keys;
mod lifecycle;
#[path = "../made/mod.rs"]
mod made;
mod metrics;
mod processes;
mod restore;
mod upgrade;

use filejobs_testkit::service::{Builder, Service};
use made::{BINARY, SMALL, sample, sample_upload, small_upload};

/// A service about to be started.
fn service() -> Builder {
    Service::builder(BINARY)
}
