//! Details of a job.

use filejobs_core::waiting::Wait;
use filejobs_store::Job;

use crate::pages::show::{self, Moment};

/// A detail of the job.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) moment: Option<Moment>,
}

pub(super) fn facts(job: &Job) -> Vec<Fact> {
    let fact = |name, value: String| Fact {
        name,
        value,
        moment: None,
    };
    let time = |name, at| Fact {
        name,
        value: String::new(),
        moment: Some(show::moment(at)),
    };
    let mut facts = vec![
        fact("Job", job.id.to_string()),
        fact("Type", job.file_type.as_str().to_uppercase()),
        fact("Size", show::size(job.file_size)),
        fact("SHA-256", job.sha256.clone()),
        fact("Namespace", job.namespace.to_string()),
        fact("Priority", job.priority.to_string()),
    ];
    facts.extend(layout(job));
    if job.attempt > 1 {
        facts.push(fact("Attempts", job.attempt.to_string()));
    }
    if job.generation > 0 {
        let times = u64::from(job.generation);
        facts.push(fact("Started over", show::plural(times, "time", "times")));
    }
    facts.extend(
        job.webhook_url
            .as_deref()
            .map(|url| fact("Webhook", show::text(url))),
    );
    facts.push(time("Handed in", job.created_at));
    facts.extend(job.started_at.map(|at| time("Started", at)));
    facts.extend(job.completed_at.map(|at| time("Ended", at)));
    facts
}

/// Why a job waits, where it stands, and for how long about.
pub(super) fn waiting(wait: Option<Wait>) -> Vec<Fact> {
    let Some(wait) = wait else {
        return Vec::new();
    };
    let fact = |name, value: String| Fact {
        name,
        value,
        moment: None,
    };
    let mut facts = vec![fact("Waiting", wait.reason.sentence().to_owned())];
    facts.extend(wait.place.map(|place| {
        let least = if place.at_least { "at least " } else { "" };
        fact(
            "Place in line",
            format!("{least}{}", show::count(place.position)),
        )
    }));
    facts.extend(wait.seconds.map(|seconds| match seconds {
        0 => fact("Starts", "at once".to_owned()),
        seconds => fact("Starts", format!("in about {}", show::rest(seconds))),
    }));
    facts
}

/// How the table was found to be laid out.
fn layout(job: &Job) -> Vec<Fact> {
    let Some(layout) = job.facts.as_ref().and_then(|facts| facts.layout.as_ref()) else {
        return Vec::new();
    };
    let fact = |name, value| Fact {
        name,
        value,
        moment: None,
    };
    let mut facts = vec![fact("Columns", show::count(layout.columns.len() as u64))];
    facts.extend(
        layout
            .sheet
            .as_deref()
            .map(|sheet| fact("Sheet", show::text(sheet))),
    );
    if let Some(dialect) = &layout.dialect {
        let delimiter = match dialect.delimiter {
            '\t' => "tab".to_owned(),
            other => show::text(&other.to_string()),
        };
        facts.push(fact("Delimiter", delimiter));
        facts.push(fact("Encoding", show::text(&dialect.encoding)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use filejobs_core::waiting::{Place, WaitingReason};

    use super::*;

    #[test]
    fn a_job_that_waits_says_where_it_stands() {
        let told = |wait| {
            let facts = waiting(wait).into_iter();
            facts.map(|f| f.value).collect::<Vec<_>>()
        };
        assert_eq!(told(None), [""; 0]);
        let reason = WaitingReason::Queued;
        let wait = Wait {
            reason,
            place: Some(Place {
                position: 10_001,
                at_least: true,
            }),
            seconds: Some(130),
        };
        assert_eq!(
            told(Some(wait)),
            [reason.sentence(), "at least 10,001", "in about 2 min 10 s"]
        );
    }
}
