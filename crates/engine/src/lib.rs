//! Reads tables that people hand in: detects how they are written, types and checks every cell, and
//! writes valid rows, rejected rows, findings and a report. No tokio, no network, no clock.
//!
//! The way of a file:
//! ```text
//! source ─▶ encoding ─▶ dialect ─▶ reader (csv | workbook) ─▶ batch of raw cells ─▶ validate ─▶ outputs
//! ```
//! [`task::run`] is the one entry: the worker calls it inside the child process `filejobs engine`,
//! `filejobs check` and the tests call it in their own process.

pub mod batch;
pub mod child;
mod csv;
mod dialect;
mod encoding;
#[doc(hidden)]
pub mod fuzzing;
pub mod infer;
mod layout;
pub mod merge;
pub mod outputs;
mod pipeline;
mod plan;
pub mod processor;
pub mod reader;
mod source;
mod stages;
pub mod task;
pub mod unique;
pub mod validate;
mod workbook;
