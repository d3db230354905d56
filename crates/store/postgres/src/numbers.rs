//! Numbers as columns of four bytes have them.

/// A count that is stored in four bytes. Nothing that we keep so comes near their end.
pub(crate) fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_stays_the_largest() {
        assert_eq!(small(7), 7);
        assert_eq!(small(u32::MAX), i32::MAX);
    }
}
