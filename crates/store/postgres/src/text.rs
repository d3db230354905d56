//! Text as the server takes it.

/// A sentence without NULs, which the type `text` cannot hold: each is shown as its symbol. What comes from a file and
/// must come back letter for letter is `bytea` or JSON instead.
pub(crate) fn plain(sentence: &str) -> String {
    sentence.replace('\0', "\u{2400}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_shown_and_all_else_stays() {
        assert_eq!(plain("a\0b"), "a\u{2400}b");
        assert_eq!(plain("a\u{1}\u{1f4e6}"), "a\u{1}\u{1f4e6}");
    }
}
