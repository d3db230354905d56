//! The HTTP contract, over the built program: the same tests for every way to run it.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

/// Makes each of the named functions a test on each of the named topologies.
macro_rules! run_on {
    (@ $test:ident [$($topology:ident),+]) => {
        mod $test {
            $(
                #[tokio::test]
                async fn $topology() {
                    super::$test(crate::topology::$topology()).await;
                }
            )+
        }
    };
    ($topologies:tt [$($test:ident),+ $(,)?]) => {
        $(run_on!(@ $test $topologies);)+
    };
}

mod cancel;
mod contract;
mod corpus;
mod events;
mod hostile;
mod keys;
#[path = "../made/mod.rs"]
mod made;
mod topology;
mod uploads;
mod webhooks;

use made::{BINARY, SMALL, sample, sample_upload, small_upload};
