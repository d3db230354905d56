//! `filejobs controller` on a real control plane, with Postgres, Redis, an API process and a worker beside it.
//!
//! All tests share the control plane; each has a namespace, a database and a Redis server of its own, and a controller
//! that looks after this namespace only, with the rights that `docs/operator.md` lists and no others.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod apiserver;
mod killed;
mod leaders;
mod metrics;
mod mirror;
mod place;
mod rights;
mod sources;
mod steering;
mod stores;
mod strangers;
mod webhooks;

use std::time::Duration;

use filejobs_testkit::gateway::Gateway;
use filejobs_testkit::wait;

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

/// Three rows, the second of them bad by [`schema`].
const ORDERS: &str = "id,name,amount\n1,Amara,1.5\nx,Bjarne,2.5\n3,Chen,3.5\n";

/// What the rows of [`ORDERS`] are checked against.
fn schema() -> serde_json::Value {
    serde_json::json!({"fields": [
        {"name": "id", "type": "integer"},
        {"name": "name", "type": "string"},
        {"name": "amount", "type": "number"}
    ]})
}

/// Longest wait for anything that comes by itself: the pause before something is tried again may take two minutes, and
/// the machine is busy with other tests.
const DEADLINE: Duration = Duration::from_mins(3);

/// How long nothing may be written for things to count as settled.
const STILL: Duration = Duration::from_mins(1);

/// How long things may take to settle.
const SETTLING: Duration = Duration::from_mins(1);

/// Waits until nothing was written for [`STILL`].
async fn settles(gateway: &Gateway) {
    let mut last = None;
    let settled = wait::until("nothing to be written", SETTLING + STILL, async || {
        last = gateway.last_write();
        let still = last
            .as_ref()
            .is_none_or(|asked| asked.at.elapsed() >= STILL);
        Ok(still.then_some(()))
    });
    let settled = settled.await;
    settled.unwrap_or_else(|error| unreachable!("{error}; last: {last:?}"));
}
