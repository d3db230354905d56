//! Takes tasks from the queue, has the engine's child process read them, and commits what it found.
//!
//! The way of a task through a worker:
//! ```text
//! slot free ─▶ receive ─▶ claim ─▶ scratch folder ─▶ engine (child) ─▶ blobs ─▶ one fenced commit
//!                            └── lease, renewed every second for all tasks at once ──┘
//! ```
//! * Files are hostile, so nothing of them is parsed here. A child that crashes is a result, not an accident.
//! * A slot is held while a child runs; what comes after it waits for disks, not for processors, and gives the slot
//!   to the next task.
//! * Every effect is fenced by task and attempt. A worker whose lease was lost commits nothing, and takes away only
//!   the blobs that it put itself: their names carry the attempt.
//! * Nothing is detached: every task lives in one set, under one token.

mod attempt;
mod blocks;
mod commit;
mod config;
mod counting;
mod ending;
mod lease;
mod once;
mod outputs;
mod patience;
mod process;
mod run;
mod scratch;
mod source;

pub use config::{Backends, Config, EngineCommand};
pub use ending::Ending;
pub use once::run_once;
pub use run::{Error, run};
