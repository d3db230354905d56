//! What a job's page says about it in words and numbers.

use filejobs_core::{JobState, Outcome};
use filejobs_store::Job;

use crate::jobs::view;
use crate::pages::show::{self, Badge};

/// A number that matters.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) bad: bool,
}

/// The whole story in one sentence.
pub(super) fn sentence(job: &Job) -> String {
    let rows = show::plural(job.rows_processed, "row", "rows");
    let failed = show::count(job.rows_failed);
    match job.status {
        JobState::Queued => "Waits for a worker.".to_owned(),
        JobState::Suspended => "Held back; what is done is kept.".to_owned(),
        JobState::Processing => format!("{rows} read so far, {failed} with errors."),
        JobState::Completed if job.outcome == Some(Outcome::Completed) => {
            match job.rows_processed {
                0 => "The file has a header and no rows.".to_owned(),
                _ => format!("{rows} read; every one is valid."),
            }
        }
        JobState::Completed if job.rows_failed == 0 => {
            format!("{rows} read; all are valid, but there are findings about the header.")
        }
        JobState::Completed => {
            let valid = show::count(job.rows_processed.saturating_sub(job.rows_failed));
            format!("{rows} read: {valid} valid, {failed} with errors.")
        }
        JobState::Failed if job.rows_processed == 0 => "Failed before a row was read.".to_owned(),
        JobState::Failed => format!("{rows} read before it failed."),
        JobState::Cancelled if job.rows_processed == 0 => {
            "Cancelled before a row was read.".to_owned()
        }
        JobState::Cancelled => format!("Cancelled after {rows}."),
    }
}

/// What a screen reader says: each state, and every quarter of the way.
pub(super) fn announcement(job: &Job, badge: Badge, sentence: &str) -> String {
    match job.status {
        JobState::Processing => match job.progress() / 25 * 25 {
            0 => badge.word.to_owned(),
            quarter => format!("{}: {quarter} percent", badge.word),
        },
        _ => format!("{}. {sentence}", badge.word),
    }
}

/// Words beside the bar of a job that is under way.
pub(super) fn live(job: &Job) -> Option<Vec<String>> {
    if job.status.is_terminal() {
        return None;
    }
    let mut words = Vec::new();
    let speed = view::Speed::of(job);
    if job.status == JobState::Processing {
        words.extend(
            speed
                .rows_per_second
                .filter(|speed| *speed >= 1.0)
                .map(|speed| format!("{} rows/s", whole(speed))),
        );
        words.extend(
            speed
                .eta_seconds
                .map(|eta| format!("about {} left", show::rest(eta.max(1)))),
        );
        if job.tasks.total > 1 {
            words.push(format!(
                "{} of {} parts done",
                job.tasks.done, job.tasks.total
            ));
        }
    }
    Some(words)
}

#[expect(clippy::cast_sign_loss, reason = "a speed is never negative")]
fn whole(speed: f64) -> String {
    show::count(speed.round() as u64)
}

pub(super) fn figures(job: &Job) -> Vec<Figure> {
    let figure = |name, value| Figure {
        name,
        value,
        bad: false,
    };
    let valid = job.rows_processed.saturating_sub(job.rows_failed);
    let mut figures = vec![
        figure("Rows read", show::count(job.rows_processed)),
        figure("Valid", show::count(valid)),
        Figure {
            bad: job.rows_failed > 0,
            ..figure("With errors", show::count(job.rows_failed))
        },
    ];
    // Counted when parts are done, so that the number would lag behind the one before it.
    if job.status.is_terminal() {
        figures.push(figure("Findings", show::count(job.errors_by_code.total())));
    }
    if let (Some(start), Some(end)) = (job.started_at, job.completed_at) {
        let seconds = end.duration_since(start).as_secs_f64().max(0.0);
        figures.push(figure("Took", show::span(seconds)));
        let speed = view::Speed::of(job).rows_per_second;
        figures.extend(speed.map(|speed| figure("Rows a second", whole(speed))));
    }
    figures
}
