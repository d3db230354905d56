//! Why a job waits, where it stands in line, and for how long about.
//!
//! Admission decides each time a task may go which one it is; nobody keeps a line. What is told here is worked out when
//! somebody asks, from counts that are cheap to take, and is as good as these: see [`Line::place`].

use std::time::Duration;

use jiff::Timestamp;

use crate::quotas::{Held, Load, Quotas};

/// The highest level: that of priority 10.
pub const HIGHEST: u8 = 10;

/// A wait as long as this counts as one priority more. After ten times as long a task is as urgent as any, so that none
/// waits for ever.
pub const AGING: Duration = Duration::from_mins(2);

/// A worker that was not heard of for longer is not counted.
pub const ALIVE: Duration = Duration::from_secs(20);

/// So long after it was published a task that no idle worker has taken did not get through the queue: one that was lost
/// on its way is published again sooner.
const STUCK: Duration = Duration::from_secs(20);

/// How urgent a task is: its priority, raised by one with each `aging` that it has waited, up to [`HIGHEST`].
#[must_use]
pub fn level(priority: u8, queued_at: Timestamp, now: Timestamp, aging: Duration) -> u8 {
    let waited = now.duration_since(queued_at).as_millis().max(0);
    let gained = waited.unsigned_abs() / aging.as_millis().max(1);
    let gained = u8::try_from(gained).unwrap_or(HIGHEST);
    gained.saturating_add(priority).min(HIGHEST)
}

/// Until when a task of `priority` must have been queued to be at least of `level` at `now`. `None` when any is.
#[must_use]
pub fn queued_until(level: u8, priority: u8, now: Timestamp, aging: Duration) -> Option<Timestamp> {
    let steps = level.checked_sub(priority).filter(|steps| *steps > 0)?;
    let age = aging.saturating_mul(steps.into());
    Some(now.checked_sub(age).unwrap_or(Timestamp::MIN))
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $sentence:literal;)*) => {
        /// Why a job waits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum WaitingReason {
            $($(#[$doc])* $name,)*
        }

        impl WaitingReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its stable name, safe as a metric label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, and what can be done about it.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// Others come before it, or a worker takes it this moment.
    Queued = "queued", "It waits for a worker; what is more urgent or older goes first.";
    /// It is held back until somebody resumes it.
    Suspended = "suspended", "It is suspended. Resume it to let it go on.";
    /// An attempt failed, and the pause before the next one is not over.
    BackingOff = "backing_off", "An attempt failed through no fault of the file; the next one follows after a pause.";
    /// No worker is there.
    NoWorkers = "no_workers", "No worker is running. It goes on as soon as one is.";
    /// Workers are idle, and what is published does not get to them.
    QueueUnavailable = "queue_unavailable", "The queue does not reach the workers just now. It goes on as soon as it does.";
    /// As many jobs or tasks run as may in all namespaces together.
    TotalQuota = "total_quota", "As many jobs or tasks run as may at a time. It goes on when others end.";
    /// As many jobs of its namespace run as may.
    NamespaceJobQuota = "namespace_job_quota", "As many jobs of its namespace run as may at a time. It begins when one of them ends.";
    /// As many tasks of its namespace run as may.
    NamespaceTaskQuota = "namespace_task_quota", "As many tasks of its namespace run as may at a time. It goes on when some of them end.";
}

impl From<Held> for WaitingReason {
    fn from(held: Held) -> Self {
        match held {
            Held::Total => Self::TotalQuota,
            Held::NamespaceJobs => Self::NamespaceJobQuota,
            Held::NamespaceTasks => Self::NamespaceTaskQuota,
        }
    }
}

/// Why a job waits, and for how long about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Why.
    pub reason: WaitingReason,
    /// Where its first task stands in line.
    pub place: Option<Place>,
    /// Seconds until that begins, about. `None` when nothing tells.
    pub seconds: Option<u64>,
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1, which is next.
    pub position: u64,
    /// Whether more wait before it than were counted.
    pub at_least: bool,
}

/// What is known of a job that has no running task, and of what is around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// When that was so.
    pub now: Timestamp,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether it has begun: then it needs no room among the jobs of a quota.
    pub begun: bool,
    /// Whether a task of it is on its way to a worker.
    pub published: bool,
    /// When the first of its tasks may go, if all of them pause.
    pub not_before: Option<Timestamp>,
    /// What bounds how much runs.
    pub quotas: Quotas,
    /// What runs of its namespace.
    pub namespace: Load,
    /// What runs in all.
    pub total: Load,
    /// Tasks that workers can run at a time, and those that they run.
    pub slots: Slots,
    /// When the task was published that has been on its way for longest.
    pub oldest_published: Option<Timestamp>,
    /// Who stands before it.
    pub line: Line,
    /// What was done lately.
    pub pace: Option<Pace>,
}

/// What workers can do at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Tasks that they can run.
    pub all: u64,
    /// Tasks that they run.
    pub busy: u64,
}

/// Tasks that ended, and within what time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub tasks: u64,
    /// Since the first of them.
    pub within: Duration,
}

/// Who stands before a job's first waiting task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Tasks on their way to workers; when one of the job's own is among them, those that were published before it.
    pub published: u64,
    /// Tasks of its own namespace: of a higher level, or of the same and older.
    pub own: Ahead,
    /// Tasks of each other namespace that has some of no lower level.
    pub others: Vec<Ahead>,
    /// Whether the counts were cut off.
    pub cut: bool,
}

/// Tasks of one namespace that may go before a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Those of a higher level.
    pub above: u64,
    /// Those of the same.
    pub beside: u64,
    /// Its tasks that are on their way or running.
    pub busy: u64,
}

impl Line {
    /// The place of the task behind all these.
    ///
    /// As admission would rank them this moment if everything could go: higher levels first, then namespaces in turns,
    /// the least busy one first. Of two namespaces that are equally busy the other one is taken to go first. Pauses and
    /// quotas of others are left out: whom they hold, the task passes.
    #[must_use]
    pub fn place(&self) -> Place {
        // How busy the namespace is when the turn comes to the task.
        let turn = self.own.busy + self.own.above + self.own.beside;
        let before = |other: &Ahead| {
            let turns = (turn + 1).saturating_sub(other.busy + other.above);
            other.above + other.beside.min(turns)
        };
        let others: u64 = self.others.iter().map(before).sum();
        Place {
            position: 1 + self.published + self.own.above + self.own.beside + others,
            at_least: self.cut,
        }
    }
}

impl Standing {
    /// Why the job waits: the first of the reasons that hold, those that more than one job can wait for before others.
    #[must_use]
    pub fn wait(&self) -> Wait {
        let reason = self.reason();
        let place = match reason {
            WaitingReason::Suspended | WaitingReason::BackingOff => None,
            _ => Some(self.line.place()),
        };
        let seconds = match reason {
            WaitingReason::BackingOff => self.pause(),
            WaitingReason::Queued => place.and_then(|place| self.estimate(place)),
            _ => None,
        };
        Wait {
            reason,
            place,
            seconds,
        }
    }

    fn reason(&self) -> WaitingReason {
        if self.suspended {
            return WaitingReason::Suspended;
        }
        if self.pause().is_some() {
            return WaitingReason::BackingOff;
        }
        if self.slots.all == 0 {
            return WaitingReason::NoWorkers;
        }
        let stuck = self.oldest_published.is_some_and(|at| {
            let age = self.now.duration_since(at).as_millis().max(0);
            age.unsigned_abs() >= STUCK.as_millis()
        });
        if stuck && self.slots.busy < self.slots.all {
            return WaitingReason::QueueUnavailable;
        }
        if self.published {
            return WaitingReason::Queued;
        }
        let held = self.quotas.hold(self.begun, self.namespace, self.total);
        held.map_or(WaitingReason::Queued, WaitingReason::from)
    }

    /// Seconds that the pause before the next attempt still takes.
    fn pause(&self) -> Option<u64> {
        let left = self.not_before?.duration_since(self.now).as_millis();
        u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .map(|left| left.div_ceil(1_000))
    }

    /// At the pace of late; at once for those that idle workers are there for.
    fn estimate(&self, place: Place) -> Option<u64> {
        if place.position <= self.slots.all.saturating_sub(self.slots.busy) {
            return Some(0);
        }
        let lately = self.pace.filter(|lately| lately.tasks > 0)?;
        let millis =
            u128::from(place.position) * lately.within.as_millis() / u128::from(lately.tasks);
        u64::try_from(millis.div_ceil(1_000)).ok().map(two_digits)
    }
}

/// Rounded up to its two leading digits: it is no more exact than that, and an answer that is asked for again and again
/// does not change each time.
fn two_digits(seconds: u64) -> u64 {
    let digits = seconds.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(1));
    seconds.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    /// A job that waits for nothing but its turn.
    fn standing(change: impl FnOnce(&mut Standing)) -> Standing {
        let mut standing = Standing {
            now: now(),
            suspended: false,
            begun: false,
            published: false,
            not_before: None,
            quotas: Quotas::default(),
            namespace: Load { jobs: 2, tasks: 2 },
            total: Load { jobs: 4, tasks: 4 },
            slots: Slots { all: 4, busy: 4 },
            oldest_published: None,
            line: Line::default(),
            pace: None,
        };
        change(&mut standing);
        standing
    }

    #[test]
    fn the_first_reason_that_holds_is_told() {
        let quotas = Quotas {
            namespace_jobs: Some(2),
            namespace_tasks: Some(2),
            total_jobs: Some(4),
            total_tasks: None,
        };
        let in_a_minute = now() + Duration::from_mins(1);
        let long_ago = now() - Duration::from_mins(1);
        let all = |s: &mut Standing| {
            s.suspended = true;
            s.not_before = Some(in_a_minute);
            s.slots = Slots::default();
            s.oldest_published = Some(long_ago);
            s.quotas = quotas;
        };
        let idle = Slots { all: 4, busy: 3 };
        // One reason after the other is taken away.
        let mut standing = standing(all);
        let mut told = Vec::new();
        let steps: [fn(&mut Standing); 8] = [
            |_| {},
            |s| s.suspended = false,
            |s| s.not_before = Some(s.now),
            |s| s.slots = Slots { all: 4, busy: 3 },
            |s| s.oldest_published = Some(s.now - Duration::from_secs(19)),
            |s| s.quotas.total_jobs = Some(5),
            |s| s.begun = true,
            |s| s.quotas.namespace_tasks = None,
        ];
        for step in steps {
            step(&mut standing);
            told.push(standing.wait().reason.as_str());
        }
        assert_eq!(
            told,
            [
                "suspended",
                "backing_off",
                "no_workers",
                "queue_unavailable",
                "total_quota",
                "namespace_job_quota",
                "namespace_task_quota",
                "queued"
            ]
        );
        assert_eq!(standing.slots, idle);
        assert_eq!(told.len(), WaitingReason::ALL.len());
    }

    #[test]
    fn what_is_on_its_way_is_held_by_no_quota_and_by_no_busy_workers() {
        let wait = standing(|s| {
            s.quotas.namespace_jobs = Some(1);
            s.published = true;
            s.oldest_published = Some(now() - Duration::from_hours(1));
        });
        assert_eq!(wait.wait().reason, WaitingReason::Queued);
    }

    #[test]
    fn the_place_counts_what_is_more_urgent_and_namespaces_in_turns() {
        let ahead = |above, beside, busy| Ahead {
            above,
            beside,
            busy,
        };
        let none = Ahead::default();
        let cases = [
            (0, none, vec![], 1),
            (3, none, vec![], 4),
            (0, ahead(2, 5, 0), vec![], 8),
            // The other namespace has its turn before each of the own three.
            (0, ahead(0, 2, 0), vec![ahead(0, 50, 0)], 1 + 2 + 3),
            // It has fewer than that.
            (0, ahead(0, 2, 0), vec![ahead(0, 1, 0)], 1 + 2 + 1),
            // It is busier by two: then it has its turn once before the last of them.
            (0, ahead(0, 2, 0), vec![ahead(0, 50, 2)], 1 + 2 + 1),
            (0, ahead(0, 2, 0), vec![ahead(0, 50, 9)], 1 + 2),
            // What is more urgent goes first, however busy its namespace is, and counts as busy after that.
            (0, ahead(0, 2, 0), vec![ahead(9, 50, 9)], 1 + 2 + 9),
            (
                1,
                ahead(1, 1, 1),
                vec![ahead(1, 1, 0), ahead(0, 9, 1)],
                1 + 1 + 2 + 2 + 3,
            ),
        ];
        for (published, own, others, position) in cases {
            let line = Line {
                published,
                own,
                others,
                cut: false,
            };
            assert_eq!(line.place().position, position, "{line:?}");
        }
    }

    #[test]
    fn the_estimate_follows_the_pace_of_late() {
        let seconds = |position: u64, pace: Option<(u64, u64)>| {
            let standing = standing(|s| {
                s.line.published = position - 1;
                s.pace = pace.map(|(tasks, seconds)| Pace {
                    tasks,
                    within: Duration::from_secs(seconds),
                });
            });
            standing.wait().seconds
        };
        assert_eq!(seconds(1, None), None);
        assert_eq!(seconds(1, Some((0, 10))), None);
        assert_eq!(seconds(1, Some((100, 10))), Some(1));
        assert_eq!(seconds(95, Some((10, 10))), Some(95));
        assert_eq!(seconds(1_234, Some((10, 10))), Some(1_300));
        let idle = standing(|s| s.slots.busy = 0);
        assert_eq!(idle.wait().seconds, Some(0));
    }

    #[test]
    fn a_pause_tells_how_long_it_still_takes() {
        let pausing = standing(|s| s.not_before = Some(now() + Duration::from_millis(2_100)));
        let wait = Wait {
            reason: WaitingReason::BackingOff,
            place: None,
            seconds: Some(3),
        };
        assert_eq!(pausing.wait(), wait);
    }

    #[test]
    fn a_level_and_the_times_that_reach_it_agree() {
        let step = Duration::from_mins(2);
        for priority in 0..=10 {
            for minutes in 0..30 {
                let queued = now() - Duration::from_mins(minutes);
                let its = level(priority, queued, now(), step);
                for wanted in 0..=HIGHEST {
                    let until = queued_until(wanted, priority, now(), step);
                    let reached = until.is_none_or(|until| queued <= until);
                    assert_eq!(reached, its >= wanted, "{priority} {minutes} {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_queued_time_in_the_future_is_no_age() {
        let later = now() + Duration::from_hours(1);
        assert_eq!(level(3, later, now(), AGING), 3);
    }

    #[test]
    fn names_and_sentences_are_told_apart() {
        for (at, reason) in WaitingReason::ALL.iter().enumerate() {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.as_str());
            assert!(reason.sentence().ends_with('.'));
            let later = &WaitingReason::ALL[at + 1..];
            assert!(later.iter().all(|r| r.sentence() != reason.sentence()));
        }
    }
}
