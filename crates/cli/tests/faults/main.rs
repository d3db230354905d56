//! The service of many processes under faults: its parts and its servers are killed, stopped, wiped and cut off in the
//! middle of work, and what it promises must hold all the same. `docs/faults.md` says what is done and what is promised.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod crew;
mod files;
mod hangups;
mod kills;
mod leaders;
mod plan;
mod sender;
mod silence;
mod verdict;
mod watch;
mod wipes;
mod zombies;

use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::http::{self, Upload};

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

/// Hands a file in, which must be taken, and gives its job's id.
async fn submit(cluster: &Cluster, api: &Member, upload: &Upload) -> String {
    let answer = upload.send(&cluster.client, api.url()).await;
    http::job_id(&answer.unwrap()).unwrap()
}
