//! The closed sets of what a status and the events of a `FileJob` can say. Each name has its row in
//! `docs/operator.md`; a test fails while one is missing.

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as users see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// The one with a name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What a condition is about.
    ConditionType {
        /// The spec can be carried out, and its job exists.
        Accepted,
        /// A worker may have the job, or has had it.
        Admitted,
        /// Every row was read.
        Succeeded,
        /// The job has ended, in whatever way.
        Finished,
        /// The job is held back.
        Suspended,
        /// The object tells what the database says.
        Synced,
        /// The controller still works towards the spec; only there while that is true.
        Reconciling,
        /// The controller cannot carry the spec out; only there while that is true.
        Stalled,
    }
}

names! {
    /// Why a condition is as it is.
    Reason {
        /// The job exists.
        JobCreated,
        /// The file is on its way into the service's storage.
        Fetching,
        /// The ConfigMap, its key, or the file at the address is not there.
        SourceNotFound,
        /// The file's place does not answer as it should.
        SourceUnavailable,
        /// The file's place may not be read from.
        SourceRefused,
        /// The file is larger than is taken.
        SourceTooLarge,
        /// The file has another SHA-256 than the spec says.
        ChecksumMismatch,
        /// No storage has the name.
        UnknownStore,
        /// Name or content of the file are of no kind that is taken.
        UnsupportedFile,
        /// The schema cannot be used.
        InvalidSchema,
        /// An option cannot be used.
        InvalidOptions,
        /// No processor has the name.
        UnknownProcessor,
        /// The webhook's address cannot be used.
        InvalidWebhook,
        /// The Secret that signs the webhook is not there, cannot be used, or may not be read.
        WebhookSecretUnavailable,
        /// The upload's job does not exist in this namespace.
        UploadNotFound,
        /// The upload's job belongs to another object.
        UploadTaken,
        /// Too many jobs wait in the namespace.
        QueueFull,
        /// Database or storage of the service do not answer.
        BackendUnavailable,
        /// The job waits for its turn.
        Queued,
        /// The job waits, because its namespace runs as many jobs as it may.
        NamespaceJobQuota,
        /// The job waits, because its namespace runs as many tasks as it may.
        NamespaceTaskQuota,
        /// The job waits, because all namespaces together run as much as they may.
        TotalQuota,
        /// The job waits, because no worker is there.
        NoWorkers,
        /// The job waits for the pause before its next attempt to be over.
        BackingOff,
        /// The job waits, because Redis does not answer.
        QueueUnavailable,
        /// A worker has had the job.
        Started,
        /// The job is held back by its owner.
        SuspendedByOwner,
        /// The job is not held back.
        NotSuspended,
        /// The job has not ended yet.
        InProgress,
        /// Every row was read and none has an error.
        Completed,
        /// Every row was read and some have errors.
        CompletedWithErrors,
        /// The file is not what it should be.
        ValidationFailed,
        /// The file passes a limit.
        LimitExceeded,
        /// The parser crashed, or the attempts are used up.
        ProcessingFailed,
        /// The service's database, queue or storage stayed away for too long.
        InfrastructureFailed,
        /// A deadline of the spec has passed.
        DeadlineExceeded,
        /// The stored file is gone or has changed.
        SourceFailed,
        /// The job's owner ended it.
        Cancelled,
        /// There will be no job for this spec.
        Rejected,
        /// The object tells what the database says.
        InSync,
        /// The job was removed by the API or by retention.
        JobRemoved,
    }
}

names! {
    /// The reason of an event.
    EventReason {
        /// The job was made for this object, or found for it.
        JobCreated,
        /// A worker has the job.
        Started,
        /// Every row was read.
        Completed,
        /// The job failed.
        Failed,
        /// The job was ended by its owner.
        Cancelled,
        /// The job is held back.
        Suspended,
        /// The job goes on.
        Resumed,
        /// The job starts over.
        Retried,
        /// A retry was asked for of a job that has neither failed nor been cancelled.
        RetryRefused,
        /// The priority was to be changed of a job that no longer waits.
        PriorityRefused,
        /// The spec cannot be carried out.
        Rejected,
        /// The file cannot be fetched now; it is tried again.
        SourceUnavailable,
        /// The object cannot be read by this version.
        Undecodable,
        /// The controller lacks a right that it needs for the object.
        Forbidden,
        /// The job was removed by the API or by retention; the object stays.
        JobRemoved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kubernetes_wants_them() {
        let types = ConditionType::ALL.iter().map(|t| t.as_str());
        let reasons = Reason::ALL.iter().map(|r| r.as_str());
        let events = EventReason::ALL.iter().map(|r| r.as_str());
        for name in types.chain(reasons).chain(events) {
            assert!(name.len() <= 63, "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        }
    }

    /// What is told of names under a heading of docs/operator.md: the first column of its table.
    fn rows(heading: &str) -> Vec<&'static str> {
        let page = include_str!("../../../docs/operator.md");
        let part = page.split("\n## ").find(|part| part.starts_with(heading));
        let lines = part.unwrap_or_default().lines();
        let names = lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        names.collect()
    }

    #[test]
    fn the_operators_page_has_a_row_for_each_and_for_no_other() {
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names
        };
        let types = ConditionType::ALL.iter().map(|t| t.as_str()).collect();
        let reasons = Reason::ALL.iter().map(|r| r.as_str()).collect();
        let events = EventReason::ALL.iter().map(|r| r.as_str()).collect();
        for (heading, names) in [
            ("Conditions", types),
            ("Reasons", reasons),
            ("Events", events),
        ] {
            assert_eq!(sorted(rows(heading)), sorted(names), "{heading}");
        }
    }
}
