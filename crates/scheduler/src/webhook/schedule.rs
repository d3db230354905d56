//! How often and how long a delivery is tried: pure rules.

use std::time::Duration;

use filejobs_store::{Delivery, NextDelivery};
use jiff::Timestamp;

use super::keys::NoKey;

/// The times of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Pauses before the second, third and fourth attempt.
    pub(crate) pauses: [Duration; 3],
    /// How long one attempt may take.
    pub(crate) attempt: Duration,
    /// Nothing is sent later than this after the job's end, or after somebody asked to send it again; only the first
    /// attempt is made however late, when no scheduler worked or no connection was free until then.
    pub(crate) window: Duration,
}

/// An attempt that takes so much longer than it may was not held up by its receiver.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Whether an attempt that might take `budget` failed because this process stood still meanwhile, as when its machine
/// is paused. It says nothing of the receiver, which may not have been sent anything.
pub(crate) fn stood_still(answer: Answer, budget: Duration, took: Duration) -> bool {
    matches!(answer, Answer::None(_)) && took > budget + STANDSTILL
}

/// What an attempt brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receiver answered.
    Status(u16),
    /// There was no answer.
    None(Reason),
    /// The window had closed before anything could be sent.
    TooLate,
}

/// Why there was no answer. A closed set without addresses: senders of files read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// The address is none that is sent to.
    #[error(
        "the address is private or reserved; webhooks go to public hosts and those that the operator allows"
    )]
    Refused,
    /// No longer a usable URL.
    #[error("the address cannot be used")]
    Address,
    /// No address for the name.
    #[error("the host's name could not be resolved")]
    Name,
    /// No connection.
    #[error("no connection could be made")]
    Connection,
    /// Connection without a usable answer.
    #[error("the receiver did not answer as HTTP asks for")]
    Protocol,
    /// No answer in time.
    #[error("the receiver did not answer in time")]
    Timeout,
    /// Nothing was sent: it could not be signed.
    #[error(transparent)]
    Key(#[from] NoKey),
}

impl Answer {
    /// The receiver's status.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::None(_) | Self::TooLate => None,
        }
    }

    /// Why it does not count.
    pub(crate) fn error(self) -> Option<String> {
        match self {
            Self::Status(200..=299) => None,
            Self::Status(300..=399) => Some("redirects are not followed".to_owned()),
            Self::Status(status) => Some(format!("the receiver answered with status {status}")),
            Self::None(reason) => Some(reason.to_string()),
            Self::TooLate => Some("not sent: the time for it had passed; send it again".to_owned()),
        }
    }
}

impl Schedule {
    /// Whether what is left of the window is not enough for even the first attempt at `delivery`. It is made all the
    /// same, once: each end of a job is told at least once, however long an outage or the receiver's queue was.
    pub(crate) fn is_late(&self, delivery: &Delivery, now: Timestamp) -> bool {
        delivery.attempts == 0 && self.left(delivery, now) < self.whole_attempt()
    }

    /// How long the store hides a delivery that is being sent. Longer than any can take: the window, in which it waits
    /// for a connection, and one attempt.
    pub(crate) fn hold(&self) -> Duration {
        (self.window * 2).max(Duration::from_secs(1))
    }

    /// How long an attempt may take that the window does not cut short.
    pub(crate) fn whole_attempt(&self) -> Duration {
        self.attempt.min(self.window)
    }

    /// How much of the window is left.
    pub(crate) fn left(&self, delivery: &Delivery, now: Timestamp) -> Duration {
        let passed = now.duration_since(delivery.since);
        // A clock that was set back makes no time.
        let passed = Duration::try_from(passed).unwrap_or(Duration::ZERO);
        self.window.saturating_sub(passed)
    }

    /// How long an attempt that begins now may take; `None` when none may begin.
    pub(crate) fn budget(&self, delivery: &Delivery, now: Timestamp) -> Option<Duration> {
        let budget = self.left(delivery, now).min(self.attempt);
        (!budget.is_zero()).then_some(budget)
    }

    /// What follows `answer` to the attempt that `delivery` was fetched for.
    pub(crate) fn next(&self, delivery: &Delivery, answer: Answer, now: Timestamp) -> NextDelivery {
        match answer {
            Answer::Status(200..=299) => return NextDelivery::Delivered,
            // Gone for good, never allowed, or no longer in time.
            Answer::Status(410)
            | Answer::None(Reason::Refused | Reason::Address)
            | Answer::TooLate => return NextDelivery::Abandoned,
            Answer::Status(_)
            | Answer::None(
                Reason::Name
                | Reason::Connection
                | Reason::Protocol
                | Reason::Timeout
                | Reason::Key(_),
            ) => {}
        }
        let Some(pause) = self.pauses.get(delivery.attempts as usize) else {
            return NextDelivery::Abandoned;
        };
        if *pause >= self.left(delivery, now) {
            return NextDelivery::Abandoned;
        }
        now.checked_add(*pause)
            .map_or(NextDelivery::Abandoned, NextDelivery::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::Sources;

    const SCHEDULE: Schedule = Schedule {
        pauses: [
            Duration::from_secs(1),
            Duration::from_secs(2),
            Duration::from_secs(4),
        ],
        attempt: Duration::from_millis(2500),
        window: Duration::from_secs(10),
    };

    fn delivery(attempts: u32) -> Delivery {
        let sources = Sources::system();
        Delivery {
            id: sources.job_id().as_uuid(),
            job: sources.job_id(),
            url: "https://example.com/".to_owned(),
            body: "{}".to_owned(),
            attempts,
            earlier_attempts: 0,
            created_at: Timestamp::UNIX_EPOCH,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn every_answer_has_its_consequence() {
        use NextDelivery::{Abandoned, At, Delivered};
        let table = [
            (Answer::Status(200), Delivered),
            (Answer::Status(204), Delivered),
            (Answer::Status(301), At(at(1000))),
            (Answer::Status(400), At(at(1000))),
            (Answer::Status(410), Abandoned),
            (Answer::Status(429), At(at(1000))),
            (Answer::Status(500), At(at(1000))),
            (Answer::None(Reason::Refused), Abandoned),
            (Answer::None(Reason::Address), Abandoned),
            (Answer::None(Reason::Name), At(at(1000))),
            (Answer::None(Reason::Connection), At(at(1000))),
            (Answer::None(Reason::Timeout), At(at(1000))),
            (Answer::TooLate, Abandoned),
        ];
        for (answer, next) in table {
            assert_eq!(
                SCHEDULE.next(&delivery(0), answer, at(0)),
                next,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn three_retries_follow_with_growing_pauses() {
        let failed = Answer::Status(503);
        let next = |attempts| SCHEDULE.next(&delivery(attempts), failed, at(0));
        assert_eq!(next(0), NextDelivery::At(at(1000)));
        assert_eq!(next(1), NextDelivery::At(at(2000)));
        assert_eq!(next(2), NextDelivery::At(at(4000)));
        assert_eq!(next(3), NextDelivery::Abandoned);
    }

    #[test]
    fn a_delivery_that_nobody_could_send_in_time_is_sent_once_all_the_same() {
        let late = at(600_000);
        assert!(SCHEDULE.is_late(&delivery(0), late));
        assert!(SCHEDULE.is_late(&delivery(0), at(7_501)));
        assert!(!SCHEDULE.is_late(&delivery(0), at(7_500)));
        assert!(!SCHEDULE.is_late(&delivery(1), late));
        let failed = Answer::Status(503);
        assert_eq!(
            SCHEDULE.next(&delivery(0), failed, late),
            NextDelivery::Abandoned
        );
    }

    #[test]
    fn only_a_failure_past_all_time_is_the_senders_own() {
        let seconds = Duration::from_secs;
        let failed = Answer::None(Reason::Connection);
        assert!(stood_still(failed, seconds(2), seconds(4)));
        assert!(!stood_still(failed, seconds(2), seconds(3)));
        assert!(!stood_still(Answer::Status(200), seconds(2), seconds(4)));
    }

    #[test]
    fn nothing_begins_or_goes_on_after_the_window() {
        let late = at(9000);
        let failed = Answer::None(Reason::Timeout);
        assert_eq!(
            SCHEDULE.next(&delivery(1), failed, late),
            NextDelivery::Abandoned
        );
        let budget = SCHEDULE.budget(&delivery(1), late);
        assert_eq!(budget, Some(Duration::from_secs(1)));
        assert_eq!(SCHEDULE.budget(&delivery(1), at(10_000)), None);
        assert_eq!(SCHEDULE.budget(&delivery(1), at(10_001)), None);
    }
}
