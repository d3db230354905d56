//! The suite that every store passes, on Postgres.

#[path = "fresh/bench.rs"]
mod bench;
mod fresh;

filejobs_store::conformance_tests!(async { bench::bench(&fresh::database().await).await });
