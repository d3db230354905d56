//! The table of findings and the links around it.

use filejobs_core::{FindingCode, JobId};
use filejobs_store::{Job, StoredFinding};

use crate::pages::list::Filter;
use crate::pages::show;

/// A line of the table of findings.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) row: String,
    pub(super) cell: String,
    pub(super) column: String,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) value: Option<String>,
}

/// The address of a page of the findings, all of them or those with a code.
pub(super) fn href(id: JobId, code: Option<FindingCode>, page: u64) -> String {
    let mut query = Vec::new();
    query.extend(code.map(|code| format!("code={}", code.as_str())));
    query.extend((page > 1).then(|| format!("page={page}")));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/jobs/{id}{mark}{}", query.join("&"))
}

/// How many there are, and how many can be read.
pub(super) fn summary(job: &Job) -> String {
    match job.errors_by_code.total() {
        0 => String::new(),
        total if job.errors_truncated => format!(
            "{}, of which {} are kept",
            show::plural(total, "finding", "findings"),
            show::count(job.errors_stored)
        ),
        total => show::plural(total, "finding", "findings"),
    }
}

/// A link for each code that was found.
pub(super) fn codes(job: &Job, current: Option<FindingCode>) -> Vec<Filter> {
    if job.errors_by_code.total() == 0 {
        return Vec::new();
    }
    let all = Filter {
        label: "All".to_owned(),
        href: href(job.id, None, 1),
        current: current.is_none(),
    };
    let each = job.errors_by_code.iter().map(|(code, n)| Filter {
        label: format!("{} {}", code.as_str(), show::count(n)),
        href: href(job.id, Some(code), 1),
        current: current == Some(code),
    });
    std::iter::once(all).chain(each).collect()
}

pub(super) fn finding(stored: StoredFinding) -> Finding {
    let finding = stored.finding;
    Finding {
        row: match finding.row_number {
            0 => "header".to_owned(),
            row => show::count(row),
        },
        cell: finding.cell.unwrap_or_default(),
        column: match (&finding.column_name, finding.column_number) {
            (Some(name), _) if !name.is_empty() => show::text(name),
            (_, Some(number)) => format!("column {number}"),
            _ => String::new(),
        },
        code: finding.code.as_str(),
        message: show::text(&finding.message),
        value: finding.raw_value.as_deref().map(show::text),
    }
}
