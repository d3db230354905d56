//! Which waiting tasks go to the queue next, and how many.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use filejobs_core::quotas::Load;
use filejobs_core::waiting::{AGING, level};
use filejobs_core::{JobId, Namespace, Quotas, TaskId};
use filejobs_store::{Running, Waiting};
use jiff::Timestamp;

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
        Self { aging: AGING }
    }
}

/// How many tasks may be published and unclaimed at a time, for workers with `slots` together.
///
/// Short, so that a change of priority still reaches nearly every job that waits.
#[must_use]
pub fn window(slots: u32) -> u32 {
    slots.saturating_mul(4).max(SMALLEST_WINDOW)
}

/// Which of `waiting` go to the queue now, in this order, and at most `room`.
///
/// First by level: the priority, raised by age up to the highest one. Within a level the namespace that has the fewest
/// tasks on their way or running goes first, what this call has let through before counted in. Within a namespace, and
/// between two that are equally busy, the one that has waited longest; at last the one that was made first.
///
/// What a quota holds, beside what runs already and what was let through before, is passed over, and what comes behind
/// it has its turn. So what is `running` must be no older than `waiting`, or be counted before it; and `waiting` must
/// hold the tasks of jobs that have begun, however many others that a quota holds wait before them.
#[must_use]
pub fn admit(
    waiting: &[Waiting],
    running: &[Running],
    quotas: &Quotas,
    room: usize,
    now: Timestamp,
    policy: &Policy,
) -> Vec<TaskId> {
    let mut gate = Gate::new(waiting, running, quotas, room);
    let mut levels: BTreeMap<u8, BTreeMap<&Namespace, Vec<&Waiting>>> = BTreeMap::new();
    for task in waiting {
        let level = level(task.priority, task.queued_at, now, policy.aging);
        let level = levels.entry(level).or_default();
        level.entry(&task.namespace).or_default().push(task);
    }
    for (_, namespaces) in levels.into_iter().rev() {
        admit_level(namespaces, &mut gate);
    }
    gate.admitted
}

/// Takes from the least busy namespace until none has any left.
fn admit_level<'a>(namespaces: BTreeMap<&'a Namespace, Vec<&'a Waiting>>, gate: &mut Gate<'a>) {
    let mut lines: BTreeMap<_, VecDeque<&Waiting>> = BTreeMap::new();
    for (namespace, mut tasks) in namespaces {
        tasks.sort_by_key(|task| (task.queued_at, task.task));
        if let Some(first) = tasks.first() {
            let key = (gate.busy(namespace), first.queued_at, first.task);
            lines.insert(key, tasks.into());
        }
    }
    while let Some((_, mut line)) = lines.pop_first() {
        let Some(first) = line.pop_front() else {
            continue;
        };
        gate.ask(first);
        if let Some(next) = line.front() {
            let key = (gate.busy(&next.namespace), next.queued_at, next.task);
            lines.insert(key, line);
        }
    }
}

/// Lets tasks through while there is room and no quota holds them.
#[derive(Debug)]
struct Gate<'a> {
    quotas: &'a Quotas,
    room: usize,
    /// Tasks on their way or running, which is what namespaces are compared by.
    busy: HashMap<&'a Namespace, u64>,
    namespaces: HashMap<&'a Namespace, Load>,
    total: Load,
    /// Jobs that begin with this call.
    beginning: HashSet<JobId>,
    admitted: Vec<TaskId>,
}

impl<'a> Gate<'a> {
    fn new(
        waiting: &'a [Waiting],
        running: &'a [Running],
        quotas: &'a Quotas,
        room: usize,
    ) -> Self {
        let mut total = Load::default();
        for one in running {
            total.jobs += one.load.jobs;
            total.tasks += one.load.tasks;
        }
        Self {
            quotas,
            room,
            busy: (waiting.iter())
                .map(|task| (&task.namespace, task.namespace_busy.into()))
                .collect(),
            namespaces: running.iter().map(|r| (&r.namespace, r.load)).collect(),
            total,
            beginning: HashSet::new(),
            admitted: Vec::with_capacity(waiting.len().min(room)),
        }
    }

    fn busy(&self, namespace: &Namespace) -> u64 {
        self.busy.get(namespace).copied().unwrap_or(0)
    }

    fn ask(&mut self, task: &'a Waiting) {
        let load = self.namespaces.entry(&task.namespace).or_default();
        let begun = task.begun || self.beginning.contains(&task.job);
        let held = self.quotas.hold(begun, *load, self.total).is_some();
        if held || self.admitted.len() >= self.room {
            return;
        }
        let jobs = u64::from(!begun && self.beginning.insert(task.job));
        for load in [load, &mut self.total] {
            load.jobs += jobs;
            load.tasks += 1;
        }
        *self.busy.entry(&task.namespace).or_default() += 1;
        self.admitted.push(task.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::sources::Fixed;

    const NOW: &str = "2026-01-01T12:00:00Z";

    const POLICY: Policy = Policy {
        aging: Duration::from_mins(1),
    };

    /// `(name, namespace, busy, priority, seconds waited)` in the order of their making.
    fn order(tasks: &[(&'static str, &str, u32, u8, u64)]) -> Vec<&'static str> {
        let now: Timestamp = NOW.parse().unwrap();
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
                    begun: false,
                    namespace_busy,
                }
            })
            .collect();
        let admitted = admit(&waiting, &[], &Quotas::default(), 100, now, &POLICY);
        admitted.iter().map(|task| names[task]).collect()
    }

    /// Which tasks go, of these `namespace job` in the order in which they wait. A job with a `+` has begun; `running`
    /// are namespaces with their jobs and tasks.
    fn admitted(
        quotas: Quotas,
        running: &[(&str, u64, u64)],
        room: usize,
        tasks: &[&'static str],
    ) -> Vec<&'static str> {
        let now: Timestamp = NOW.parse().unwrap();
        let sources = Fixed::new(now, 0.0).sources();
        let running: Vec<Running> = running
            .iter()
            .map(|&(namespace, jobs, tasks)| Running {
                namespace: namespace.parse().unwrap(),
                load: Load { jobs, tasks },
            })
            .collect();
        let mut jobs = HashMap::new();
        let mut names = HashMap::new();
        let waiting: Vec<Waiting> = (0..)
            .zip(tasks)
            .map(|(place, &text)| {
                let (namespace, job) = text.split_once(' ').unwrap();
                let task = sources.task_id();
                names.insert(task, text);
                Waiting {
                    task,
                    job: *jobs.entry(job).or_insert_with(|| sources.job_id()),
                    namespace: namespace.parse().unwrap(),
                    priority: 0,
                    queued_at: now - Duration::from_secs(50 - place),
                    begun: job.ends_with('+'),
                    namespace_busy: 0,
                }
            })
            .collect();
        let admitted = admit(&waiting, &running, &quotas, room, now, &POLICY);
        admitted.iter().map(|task| names[task]).collect()
    }

    #[test]
    fn no_more_go_than_there_is_room_for() {
        let none = Quotas::default();
        assert_eq!(
            admitted(none, &[], 2, &["a 1", "a 2", "a 3"]),
            ["a 1", "a 2"]
        );
        assert_eq!(admitted(none, &[], 0, &["a 1"]), [""; 0]);
    }

    #[test]
    fn a_namespace_has_no_more_jobs_than_its_quota_and_others_pass() {
        let quotas = Quotas {
            namespace_jobs: Some(2),
            ..Quotas::default()
        };
        let running = [("a", 1, 1)];
        let tasks = ["a 1", "a 2", "b 3", "b 4", "b 5", "a 6"];
        assert_eq!(admitted(quotas, &running, 9, &tasks), ["a 1", "b 3", "b 4"]);
    }

    #[test]
    fn all_namespaces_together_have_no_more_jobs_than_the_total_quota() {
        let quotas = Quotas {
            total_jobs: Some(3),
            ..Quotas::default()
        };
        let tasks = ["a 1", "b 2", "a 3", "b 4"];
        assert_eq!(admitted(quotas, &[("c", 1, 4)], 9, &tasks), ["a 1", "b 2"]);
        assert_eq!(admitted(quotas, &[("c", 4, 4)], 9, &tasks), [""; 0]);
    }

    #[test]
    fn jobs_that_have_begun_go_on_behind_older_ones_that_a_quota_holds() {
        let quotas = Quotas {
            namespace_jobs: Some(1),
            total_jobs: Some(1),
            ..Quotas::default()
        };
        let tasks = ["a 1", "b 2", "a 3+", "a 3+"];
        assert_eq!(
            admitted(quotas, &[("a", 1, 0)], 9, &tasks),
            ["a 3+", "a 3+"]
        );
    }

    #[test]
    fn a_job_that_begins_counts_once_however_many_tasks_it_has() {
        let quotas = Quotas {
            namespace_jobs: Some(1),
            ..Quotas::default()
        };
        let tasks = ["a 1", "a 1", "a 2", "a 1"];
        assert_eq!(admitted(quotas, &[], 9, &tasks), ["a 1", "a 1", "a 1"]);
    }

    #[test]
    fn tasks_are_counted_one_by_one_those_of_jobs_under_way_too() {
        let quotas = Quotas {
            namespace_tasks: Some(2),
            total_tasks: Some(4),
            ..Quotas::default()
        };
        let tasks = ["a 1+", "a 1+", "a 1+", "b 2", "b 3", "c 4"];
        let running = [("b", 1, 1)];
        assert_eq!(
            admitted(quotas, &running, 9, &tasks),
            ["a 1+", "b 2", "c 4"]
        );
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
    fn the_window_is_four_times_the_slots_and_never_small() {
        assert_eq!(
            [0, 2, 8, 9, u32::MAX].map(window),
            [32, 32, 32, 36, u32::MAX]
        );
    }
}
