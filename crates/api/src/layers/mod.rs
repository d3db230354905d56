//! What happens around every handler.

pub(crate) mod envelope;
pub(crate) mod fallback;
pub(crate) mod request_id;
