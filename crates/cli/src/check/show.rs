//! What `check` prints.

use serde_json::Value;

use super::Checked;
use super::files::{ErrorObject, findings};
use crate::client::job::{FINDINGS_HEADER, findings_row};
use crate::terminal;

/// The first findings as a table, then the verdict.
pub(super) fn table(checked: &Checked<'_>) -> anyhow::Result<()> {
    let mut table = terminal::table(&FINDINGS_HEADER);
    let mut shown = 0;
    for finding in findings(&checked.outputs)?.take(checked.show) {
        table.add_row(findings_row(&serde_json::to_value(finding?)?));
        shown += 1;
    }
    if shown > 0 {
        terminal::print(&table)?;
    }
    let more = checked.report.errors_total.saturating_sub(shown);
    if shown > 0 && more > 0 {
        let more = terminal::count(more);
        terminal::line(format!(
            "… and {more} more: --show N shows N, --out DIR keeps all"
        ))?;
    }
    if shown > 0 {
        terminal::line("")?;
    }
    terminal::line(checked.verdict())?;
    Ok(())
}

/// The report with the first findings.
pub(super) fn json(checked: &Checked<'_>) -> anyhow::Result<()> {
    let mut report = serde_json::to_value(&checked.report)?;
    let first = findings(&checked.outputs)?.take(checked.show);
    let first = first
        .map(|f| Ok(serde_json::to_value(ErrorObject::new(&f?, checked.now))?))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    if let Value::Object(report) = &mut report {
        report.insert("errors".to_owned(), Value::Array(first));
    }
    terminal::json(&report)?;
    Ok(())
}
