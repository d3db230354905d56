//! Times, memory and requests of `filejobs controller` on a real API server: `cargo xtask bench kubernetes`.
//!
//! Each case starts etcd and kube-apiserver, a Postgres server that waits for the disk as in production, a Redis server,
//! `filejobs api` and `filejobs controller`, and a `worker` with two slots where work is done. The controller reaches
//! the API server by way of a gateway that counts its requests. All of it shares the machine's processors.
//!
//! Arguments are names of cases, `NAME=SIZE` for another size than the goal's; all run when there are none.

mod objects;
#[path = "../report/mod.rs"]
mod report;
#[path = "../distributed/stage.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod service;
mod stage;

use report::Run;

const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

const CASES: &[(&str, Run)] = &[
    // Seconds.
    ("idle", objects::idle),
    // Uploads, one after the other.
    ("seen", objects::seen),
    // Objects.
    ("burst", objects::burst),
    // Objects whose jobs have ended.
    ("history", objects::history),
];

fn main() -> anyhow::Result<()> {
    report::run(CASES)
}
