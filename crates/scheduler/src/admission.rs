//! Which waiting tasks go to the queue next, and how many.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use filejobs_core::{Namespace, TaskId};
use filejobs_store::Waiting;
use jiff::Timestamp;

/// The highest level: that of priority 10.
const HIGHEST: u64 = 10;

/// The smallest window: enough that short tasks never wait for the scheduler.
const SMALLEST_WINDOW: u32 = 32;

/// How tasks are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A wait as long as this counts as one priority more. After ten times as long a task is as urgent as any, so
    /// that none waits for ever.
    pub aging: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            aging: Duration::from_mins(2),
        }
    }
}

/// How many tasks may be published and unclaimed at a time, for workers with `slots` together.
///
/// Short, so that a change of priority still reaches nearly every job that waits.
#[must_use]
pub fn window(slots: u32) -> u32 {
    slots.saturating_mul(4).max(SMALLEST_WINDOW)
}

/// The order in which `waiting` goes to the queue.
///
/// First by level: the priority, raised by age up to `HIGHEST`. Within a level the namespace that has the fewest
/// tasks on their way or running goes first, what this call has ranked before counted in. Within a namespace, and
/// between two that are equally busy, the one that has waited longest; at last the one that was made first.
#[must_use]
pub fn rank(waiting: &[Waiting], now: Timestamp, policy: &Policy) -> Vec<TaskId> {
    let mut busy: HashMap<&Namespace, u32> = waiting
        .iter()
        .map(|task| (&task.namespace, task.namespace_busy))
        .collect();
    let mut levels: BTreeMap<u64, BTreeMap<&Namespace, Vec<&Waiting>>> = BTreeMap::new();
    for task in waiting {
        let level = levels.entry(level(task, now, policy)).or_default();
        level.entry(&task.namespace).or_default().push(task);
    }
    let mut ranked = Vec::with_capacity(waiting.len());
    for (_, namespaces) in levels.into_iter().rev() {
        rank_level(namespaces, &mut busy, &mut ranked);
    }
    ranked
}

fn level(task: &Waiting, now: Timestamp, policy: &Policy) -> u64 {
    let waited = now.duration_since(task.queued_at).as_millis().max(0);
    let step = policy.aging.as_millis().max(1);
    let gained = u64::try_from(waited.unsigned_abs() / step).unwrap_or(HIGHEST);
    gained.saturating_add(task.priority.into()).min(HIGHEST)
}

/// Takes from the least busy namespace until none has any left.
fn rank_level<'a>(
    namespaces: BTreeMap<&'a Namespace, Vec<&'a Waiting>>,
    busy: &mut HashMap<&'a Namespace, u32>,
    ranked: &mut Vec<TaskId>,
) {
    let mut lines: BTreeMap<_, VecDeque<&Waiting>> = BTreeMap::new();
    for (namespace, mut tasks) in namespaces {
        tasks.sort_by_key(|task| (task.queued_at, task.task));
        if let Some(first) = tasks.first() {
            let key = (busy[namespace], first.queued_at, first.task);
            lines.insert(key, tasks.into());
        }
    }
    while let Some(((_, _, task), mut line)) = lines.pop_first() {
        ranked.push(task);
        let Some(done) = line.pop_front() else {
            continue;
        };
        let Some(count) = busy.get_mut(&done.namespace) else {
            continue;
        };
        *count += 1;
        if let Some(next) = line.front() {
            lines.insert((*count, next.queued_at, next.task), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::sources::Fixed;

    /// `(name, namespace, busy, priority, seconds waited)` in the order of their making.
    fn order(tasks: &[(&'static str, &str, u32, u8, u64)]) -> Vec<&'static str> {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let sources = Fixed::new(now, 0.0).sources();
        let mut names = HashMap::new();
        let waiting: Vec<_> = tasks
            .iter()
            .map(|&(name, namespace, namespace_busy, priority, waited)| {
                let task = sources.task_id();
                names.insert(task, name);
                Waiting {
                    task,
                    job: sources.job_id(),
                    namespace: namespace.parse().unwrap(),
                    priority,
                    queued_at: now - Duration::from_secs(waited),
                    namespace_busy,
                }
            })
            .collect();
        let policy = Policy {
            aging: Duration::from_mins(1),
        };
        let ranked = rank(&waiting, now, &policy);
        ranked.iter().map(|task| names[task]).collect()
    }

    #[test]
    fn higher_priority_goes_first() {
        let tasks = [
            ("low", "a", 0, 0, 5),
            ("high", "a", 0, 10, 1),
            ("mid", "a", 0, 5, 9),
        ];
        assert_eq!(order(&tasks), ["high", "mid", "low"]);
    }

    #[test]
    fn within_a_priority_the_oldest_goes_first() {
        let tasks = [
            ("new", "a", 0, 3, 1),
            ("old", "a", 0, 3, 30),
            ("mid", "a", 0, 3, 9),
        ];
        assert_eq!(order(&tasks), ["old", "mid", "new"]);
    }

    #[test]
    fn each_wait_as_long_as_the_step_is_worth_a_priority() {
        let tasks = [
            ("fresh 3", "a", 0, 3, 0),
            ("aged 2", "a", 0, 2, 60),
            ("aged 1", "a", 0, 1, 119),
        ];
        assert_eq!(order(&tasks), ["aged 2", "fresh 3", "aged 1"]);
    }

    #[test]
    fn nothing_starves_behind_a_stream_of_urgent_tasks() {
        let tasks = [("urgent", "a", 0, 10, 10), ("ancient", "a", 0, 0, 601)];
        assert_eq!(order(&tasks), ["ancient", "urgent"]);
    }

    #[test]
    fn namespaces_take_turns_and_the_busier_one_waits() {
        let tasks = [
            ("a1", "a", 1, 0, 50),
            ("a2", "a", 1, 0, 49),
            ("a3", "a", 1, 0, 48),
            ("b1", "b", 0, 0, 2),
            ("b2", "b", 0, 0, 1),
        ];
        assert_eq!(order(&tasks), ["b1", "a1", "b2", "a2", "a3"]);
    }

    #[test]
    fn what_a_higher_level_took_counts_against_a_namespace() {
        let tasks = [
            ("a urgent", "a", 0, 9, 0),
            ("a usual", "a", 0, 0, 9),
            ("b usual", "b", 0, 0, 1),
        ];
        assert_eq!(order(&tasks), ["a urgent", "b usual", "a usual"]);
    }

    #[test]
    fn a_queued_time_in_the_future_is_no_age() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let sources = Fixed::new(now, 0.0).sources();
        let task = Waiting {
            task: sources.task_id(),
            job: sources.job_id(),
            namespace: Namespace::default(),
            priority: 0,
            queued_at: now + Duration::from_hours(1),
            namespace_busy: 0,
        };
        assert_eq!(level(&task, now, &Policy::default()), 0);
    }

    #[test]
    fn the_window_is_four_times_the_slots_and_never_small() {
        assert_eq!(
            [0, 2, 8, 9, u32::MAX].map(window),
            [32, 32, 32, 36, u32::MAX]
        );
    }
}
