//! How many files and connections a process may have open: as many as the system lets it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. A shell's usual 1,024 would end a few hundred event streams.
///
/// A process that cannot raise it works with what it has: that is told, and no reason not to start.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => {
            tracing::info!(
                was = limit.current,
                now = limit.maximum,
                "the limit of open files"
            );
        }
        Err(error) => {
            tracing::warn!(%error, stays = limit.current, "the limit of open files cannot be raised");
        }
    }
}
