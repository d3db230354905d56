//! Which scheduler leads: one row, taken and kept by guarded updates on the database's clock.

use std::time::Duration;

use filejobs_core::SchedulerId;
use filejobs_store::Leadership;
use filejobs_store::rows::Reading;

use crate::database::Unit;
use crate::problem::Result;
use crate::time::Time;

/// Takes or keeps the lead. `None` while another has it.
pub(crate) async fn lead(
    unit: &mut Unit,
    holder: &SchedulerId,
    term: Duration,
) -> Result<Option<Leadership>> {
    let epoch = sqlx::query_scalar!(
        "UPDATE leadership SET epoch = epoch + (holder IS DISTINCT FROM $1)::integer, holder = $1, until = $2
        WHERE id = 1 AND (holder IS NULL OR holder = $1 OR until <= $3) RETURNING epoch",
        holder.as_str(),
        Time::from(unit.after(term)),
        Time::from(unit.now)
    )
    .fetch_optional(&mut *unit.connection)
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
    sqlx::query!(
        "UPDATE leadership SET holder = NULL, until = NULL WHERE id = 1 AND holder = $1",
        holder.as_str()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}
