//! Valid rows of a column as an Arrow array.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use filejobs_core::schema::FieldType;

use super::cells::{Nulls, Slots};
use super::survey::Survey;
use crate::batch::RawBatch;

/// Consecutive valid rows, counted from the first row of the survey.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValidRun {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl ValidRun {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The Arrow type of a column.
pub(crate) fn data_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::String | FieldType::Any => DataType::Utf8,
        FieldType::Integer => DataType::Int64,
        FieldType::Number => DataType::Float64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::Date => DataType::Date32,
        FieldType::Time => DataType::Time64(TimeUnit::Microsecond),
        FieldType::Datetime => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
    }
}

const UTC: &str = "UTC";

/// Gathers the valid rows of one column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather<'a> {
    pub(crate) raw: &'a RawBatch,
    pub(crate) survey: &'a Survey,
    pub(crate) runs: &'a [ValidRun],
    /// How many rows are in `runs`.
    pub(crate) valid: usize,
}

impl Gather<'_> {
    /// The array of the column at `index` of the file.
    pub(crate) fn array(self, slots: &Slots, nulls: &Nulls, index: u32) -> ArrayRef {
        match slots {
            Slots::Text => self.text(nulls, index),
            Slots::Integer(slots) => Arc::new(self.primitive::<Int64Type>(slots, nulls)),
            Slots::Number(slots) => Arc::new(self.primitive::<Float64Type>(slots, nulls)),
            Slots::Date(slots) => Arc::new(self.primitive::<Date32Type>(slots, nulls)),
            Slots::Time(slots) => Arc::new(self.primitive::<Time64MicrosecondType>(slots, nulls)),
            Slots::Datetime(slots) => Arc::new(
                self.primitive::<TimestampMicrosecondType>(slots, nulls)
                    .with_timezone(UTC),
            ),
            Slots::Boolean(slots) => {
                let values = BooleanBuffer::from(self.gathered(slots));
                Arc::new(BooleanArray::new(values, self.nulls(nulls)))
            }
        }
    }

    fn gathered<T: Copy>(self, slots: &[T]) -> Vec<T> {
        let mut values = Vec::with_capacity(self.valid);
        for run in self.runs {
            values.extend_from_slice(&slots[run.range()]);
        }
        values
    }

    fn nulls(self, nulls: &Nulls) -> Option<NullBuffer> {
        let rows = self.gathered(nulls.rows()?);
        let buffer = BooleanBuffer::collect_bool(rows.len(), |i| !rows[i]);
        Some(NullBuffer::new(buffer)).filter(|nulls| nulls.null_count() > 0)
    }

    fn primitive<T: ArrowPrimitiveType>(
        self,
        slots: &[T::Native],
        nulls: &Nulls,
    ) -> PrimitiveArray<T> {
        PrimitiveArray::new(ScalarBuffer::from(self.gathered(slots)), self.nulls(nulls))
    }

    fn text(self, nulls: &Nulls, index: u32) -> ArrayRef {
        let null_rows = nulls.rows();
        let mut offsets: Vec<i32> = Vec::with_capacity(self.valid + 1);
        // An average cell of the batch for each row; grows where this column's are longer.
        let cells = self.raw.cells.len().max(1);
        let mut values: Vec<u8> = Vec::with_capacity(self.raw.bytes.len() / cells * self.valid);
        offsets.push(0);
        for run in self.runs {
            for row in run.range() {
                if !null_rows.is_some_and(|nulls| nulls[row]) {
                    let cell = self.survey.first_cell[row] + index;
                    values.extend_from_slice(self.raw.text(cell as usize));
                }
                let end = i32::try_from(values.len());
                offsets.push(
                    end.expect("a batch is checked to be smaller than 2 GiB before it comes here"),
                );
            }
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(StringArray::new(
            offsets,
            Buffer::from(values),
            self.nulls(nulls),
        ))
    }
}
