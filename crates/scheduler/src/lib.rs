//! Decides what runs when, and looks after what nobody else does.
//!
//! Four loops, each woken by what happens and by a slow tick in case a hint was lost:
//! * publish: hands waiting tasks to the queue, never far ahead of the workers, as [`admission::admit`] decides;
//! * rescue: takes tasks on whose worker is gone, and publishes again what got lost on its way;
//! * retention: removes ended jobs after their time, the blobs of deleted jobs, and what nobody refers to;
//! * webhooks: tells receivers how jobs ended.
//!
//! None of them holds state that the store does not: killing the scheduler at any moment loses nothing.
//!
//! One scheduler works for a store at a time: [`run`] where there is only one process, [`run_elected`] where there may
//! be several.

pub mod admission;
mod config;
pub mod guard;
mod lead;
mod pace;
mod publish;
mod rescue;
mod retention;
mod run;
pub mod webhook;

pub use config::{Backends, Config, KEEP_ORPHANS};
pub use lead::{Election, run_elected};
pub use run::{Error, run, take_over};
