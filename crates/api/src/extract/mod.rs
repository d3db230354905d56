//! Reads what a request says: ids, query parameters, accepted media types, cursors, JSON bodies.

pub(crate) mod accept;
pub(crate) mod cursor;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod paging;
pub(crate) mod query;
