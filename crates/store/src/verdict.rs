//! Which failures are worth another try by an operator's hand.

use filejobs_core::failure::{Failure, FailureClass};

/// Whether another attempt, by an operator's hand, could end better: such tasks are listed and can be replayed.
#[must_use]
pub fn is_dead_letter(failure: &Failure) -> bool {
    match failure.class() {
        FailureClass::Processing | FailureClass::Infrastructure | FailureClass::Source => true,
        FailureClass::Validation | FailureClass::Limit | FailureClass::Deadline => false,
    }
}
