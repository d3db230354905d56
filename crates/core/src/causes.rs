//! What stands behind an error: the chain of its causes.

use std::error::Error;

/// An error and its causes, each told at its own level, in one line for logs.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

/// The error itself or the first of its causes that is of a type.
#[must_use]
pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the file could not be read")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_told_in_one_line_and_found_by_their_type() {
        let error = Outer(io::Error::other(io::Error::from(
            io::ErrorKind::StorageFull,
        )));
        assert!(chain(&error).starts_with("the file could not be read: "));
        assert!(find::<io::Error>(&error).is_some());
        assert!(find::<Outer>(&error).is_some());
        assert!(find::<std::fmt::Error>(&error).is_none());
    }
}
