//! What the service counts and measures: one table, [`table`], and the way into it.
//!
//! Each metric is a static with its name, its labels with the values they can take, its help and who has it. It is
//! recorded through that static, so that nothing can be recorded that the table does not have, and [`page`] writes the
//! documentation from the same table. Label values are `&'static str` of a closed set: nothing that comes from a file, a
//! job or a caller can become a series.
//!
//! Nothing is recorded for each row, finding or byte: a task's counters are added once, when it is committed. Without
//! [`exporter`] a recording is dropped.

#[cfg(feature = "exporter")]
pub mod exporter;
pub mod exposition;
mod metric;
pub mod page;
pub mod table;

pub use metric::{Counter, Descriptor, Gauge, Histogram, Kind, Label, Process, Values};
