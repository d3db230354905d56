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
    let epoch = match keep(unit, holder, term).await? {
        Some(epoch) => Some(epoch),
        None => take(unit, holder, term).await?,
    };
    let row = Reading {
        table: "leadership",
        row: &1,
    };
    let epoch = epoch.map(|epoch| row.number("epoch", epoch)).transpose()?;
    Ok(epoch.map(|epoch| Leadership { epoch }))
}

/// Goes on leading. Units that the lead fences are not waited for: under many of them, one always under way, the leader
/// would lose what they are fenced by.
async fn keep(unit: &mut Unit, holder: &SchedulerId, term: Duration) -> Result<Option<i64>> {
    let epoch = sqlx::query_scalar!(
        "UPDATE leadership SET until = $2 WHERE id = 1 AND holder = $1 RETURNING epoch",
        holder.as_str(),
        Time::from(unit.after(term))
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(epoch)
}

/// Takes the lead when it is free, once the units are over that are fenced by who had it.
async fn take(unit: &mut Unit, holder: &SchedulerId, term: Duration) -> Result<Option<i64>> {
    let epoch = sqlx::query_scalar!(
        "WITH free AS (
            SELECT id FROM leadership WHERE id = 1 AND (holder IS NULL OR until <= $3) FOR UPDATE
        )
        UPDATE leadership l SET epoch = l.epoch + 1, holder = $1, until = $2 FROM free WHERE l.id = free.id
        RETURNING l.epoch",
        holder.as_str(),
        Time::from(unit.after(term)),
        Time::from(unit.now)
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(epoch)
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
