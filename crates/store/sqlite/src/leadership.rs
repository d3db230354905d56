//! Which scheduler leads: one row, taken and kept by guarded updates.

use std::time::Duration;

use filejobs_core::SchedulerId;
use filejobs_store::Leadership;
use filejobs_store::rows::Reading;
use jiff::Timestamp;

use crate::database::Unit;
use crate::problem::{Result, micros};

/// Takes or keeps the lead. `None` while another has it.
pub(crate) async fn lead(
    unit: &mut Unit,
    holder: &SchedulerId,
    term: Duration,
) -> Result<Option<Leadership>> {
    let holder = holder.as_str();
    let now = micros(unit.now);
    let until = micros(unit.now.checked_add(term).unwrap_or(Timestamp::MAX));
    let epoch = sqlx::query_scalar!(
        "UPDATE leadership SET epoch = epoch + (holder IS NOT ?1), holder = ?1, until = ?2
        WHERE id = 1 AND (holder IS NULL OR holder = ?1 OR until <= ?3) RETURNING epoch",
        holder,
        until,
        now
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    let row = Reading {
        table: "leadership",
        row: &1,
    };
    let epoch = epoch.map(|epoch| row.number("epoch", epoch)).transpose()?;
    Ok(epoch.map(|epoch| Leadership { epoch }))
}

/// Lets another lead.
pub(crate) async fn step_down(unit: &mut Unit, holder: &SchedulerId) -> Result<()> {
    let holder = holder.as_str();
    sqlx::query!(
        "UPDATE leadership SET holder = NULL, until = NULL WHERE id = 1 AND holder = ?",
        holder
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}
