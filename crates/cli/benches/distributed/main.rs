//! Times and memory of the service as many processes: `cargo xtask bench distributed`.
//!
//! Each case starts a Postgres server that waits for the disk as in production, a Redis server, and the processes that
//! it needs: `filejobs api`, a `worker` with two slots, a `scheduler`. It speaks HTTP to them with an API key and prints
//! rows of the table in `docs/benchmarks.md`. What measures runs on the same processors as what is measured.
//!
//! Arguments are names of cases, `NAME=SIZE` for another size than the goal's; all run when there are none.

mod files;
mod lists;
mod memory;
#[path = "../report/mod.rs"]
mod report;
mod stage;

use report::Run;

const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

const CASES: &[(&str, Run)] = &[
    // Rows of a file.
    ("big", files::big),
    ("huge", files::huge),
    // Files.
    ("many", files::many),
    ("wait", files::wait),
    // Jobs that have ended.
    ("lists", lists::jobs),
    // Findings of a job.
    ("errors", lists::errors),
    // MB of a file, of which 50 come in at a time.
    ("uploads", memory::uploads),
    // Streams.
    ("streams", memory::streams),
];

fn main() -> anyhow::Result<()> {
    // A connection for each of many streams.
    rlimit::increase_nofile_limit(1 << 14)?;
    report::run(CASES)
}
