//! Delimited text through the whole engine: whole, cut into pieces, on one thread and several.

mod hostile;
mod same_result;
mod support;
