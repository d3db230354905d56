//! What tests stand on: the real service as a process of its own, and files of every kind.
//!
//! [`service::Service`] starts the built `filejobs` binary on a free port with a folder of its own, speaks HTTP to
//! it, kills it, starts it again, and leaves nothing behind.

pub mod browser;
pub mod corpus;
pub mod events;
pub mod http;
pub mod processes;
pub mod raw;
pub mod service;
pub mod wait;
