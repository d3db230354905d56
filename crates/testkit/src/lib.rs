//! What tests stand on: the real service as a process of its own, real servers behind it, a network between them that
//! can be broken, and files of every kind.
//!
//! [`service::Service`] starts the built `filejobs` binary on a free port with a folder of its own, speaks HTTP to
//! it, kills it, starts it again, and leaves nothing behind.

mod background;
pub mod browser;
pub mod caller;
pub mod cluster;
pub mod corpus;
pub mod disk;
pub mod events;
pub mod figures;
pub mod front;
pub mod gateway;
pub mod history;
pub mod http;
pub mod kept;
pub mod kube;
pub mod names;
pub mod postgres;
pub mod processes;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod s3;
pub mod service;
pub mod tethered;
pub mod tls;
pub mod wait;
