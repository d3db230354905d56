//! Times as Postgres has them.

use filejobs_store::rows::StoredTime;
use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// A `timestamptz`: microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(i64);

/// From 1970 to 2000, where Postgres begins to count, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;
/// The earliest time that Postgres knows, 4714 BC, as it counts.
const EARLIEST: i64 = -211_813_488_000_000_000;

/// `timestamptz` and `timestamptz[]` in every Postgres.
const OID: Oid = Oid(1184);
const ARRAY_OID: Oid = Oid(1185);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time.as_microsecond())
    }
}

impl StoredTime for Time {
    fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.0).ok()
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(OID)
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(ARRAY_OID)
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let counted = self.0.saturating_sub(EPOCH).max(EARLIEST);
        Encode::<Postgres>::encode(counted, buffer)
    }

    fn size_hint(&self) -> usize {
        size_of::<i64>()
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("times are read in binary form only".into());
        }
        let counted: i64 = Decode::<Postgres>::decode(value)?;
        Ok(Self(counted.saturating_add(EPOCH)))
    }
}
