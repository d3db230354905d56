//! Names that tests do not share.

use std::sync::atomic::{AtomicU64, Ordering};

/// A name that nobody else in this process has, of letters, digits and dashes.
#[must_use]
pub fn unique(beginning: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{beginning}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
