//! How much may run at a time.

/// How much may run at a time, in one namespace and in all together. `None` is no bound.
///
/// A job runs from its first published task to its end, but not while it is suspended; a task while it is published or
/// a worker has it. Quotas are asked before a task is published, so a smaller one ends nothing that runs already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Jobs of one namespace.
    pub namespace_jobs: Option<u32>,
    /// Tasks of one namespace.
    pub namespace_tasks: Option<u32>,
    /// Jobs of all namespaces.
    pub total_jobs: Option<u32>,
    /// Tasks of all namespaces.
    pub total_tasks: Option<u32>,
}

/// What runs, counted against [`Quotas`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that have begun and not ended.
    pub jobs: u64,
    /// Tasks that are published or that workers have.
    pub tasks: u64,
}

/// The quota that holds a task back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// [`Quotas::total_jobs`] or [`Quotas::total_tasks`].
    Total,
    /// [`Quotas::namespace_jobs`].
    NamespaceJobs,
    /// [`Quotas::namespace_tasks`].
    NamespaceTasks,
}

impl Quotas {
    /// Whether anything is bounded.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether the number of jobs is bounded. Only then may what a quota holds stand before what it does not: tasks of
    /// jobs that have begun.
    #[must_use]
    pub fn bound_jobs(&self) -> bool {
        self.namespace_jobs.is_some() || self.total_jobs.is_some()
    }

    /// What holds one more task back, beside what runs in its namespace and in all. One whose job has `begun` needs no
    /// room among the jobs: were it held, its job would never end and make room for another.
    #[must_use]
    pub fn hold(&self, begun: bool, namespace: Load, total: Load) -> Option<Held> {
        let full = |quota: Option<u32>, runs: u64| quota.is_some_and(|most| runs >= most.into());
        if full(self.total_tasks, total.tasks) || (!begun && full(self.total_jobs, total.jobs)) {
            Some(Held::Total)
        } else if !begun && full(self.namespace_jobs, namespace.jobs) {
            Some(Held::NamespaceJobs)
        } else if full(self.namespace_tasks, namespace.tasks) {
            Some(Held::NamespaceTasks)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn load(jobs: u64, tasks: u64) -> Load {
        Load { jobs, tasks }
    }

    #[test]
    fn a_task_is_held_by_the_first_quota_that_is_used_up() {
        let all = Quotas {
            namespace_jobs: Some(2),
            namespace_tasks: Some(3),
            total_jobs: Some(4),
            total_tasks: Some(5),
        };
        let cases = [
            (false, load(1, 2), load(3, 4), None),
            (false, load(2, 2), load(3, 4), Some(Held::NamespaceJobs)),
            (false, load(1, 3), load(3, 4), Some(Held::NamespaceTasks)),
            (false, load(1, 2), load(4, 4), Some(Held::Total)),
            (false, load(1, 2), load(3, 5), Some(Held::Total)),
            (true, load(2, 2), load(4, 4), None),
            (true, load(2, 3), load(4, 4), Some(Held::NamespaceTasks)),
            (true, load(2, 2), load(4, 5), Some(Held::Total)),
            // More than was allowed runs already: the quota has become smaller.
            (false, load(9, 9), load(3, 4), Some(Held::NamespaceJobs)),
        ];
        for (begun, namespace, total, held) in cases {
            let got = all.hold(begun, namespace, total);
            assert_eq!(got, held, "{begun} {namespace:?} {total:?}");
        }
    }

    #[test]
    fn without_quotas_nothing_is_held() {
        let none = Quotas::default();
        let much = load(u64::MAX, u64::MAX);
        assert_eq!(none.hold(false, much, much), None);
        assert!(!none.any() && !none.bound_jobs());
    }

    #[test]
    fn a_quota_of_nothing_holds_everything() {
        let none = Quotas {
            namespace_jobs: Some(0),
            ..Quotas::default()
        };
        assert_eq!(
            none.hold(false, load(0, 0), load(0, 0)),
            Some(Held::NamespaceJobs)
        );
        assert!(none.any() && none.bound_jobs());
    }
}
