//! Types and checks a whole batch, column by column, and renders what is wrong with its rows.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use filejobs_core::report::{Facts, Layout};
use filejobs_core::schema::value::{Native, TextSet};
use filejobs_core::schema::{Rules, SchemaProblem};
use filejobs_core::{Failure, FailureCode, Limits, TableSchema};

use crate::batch::{RawBatch, RowKind};
use crate::unique::{Keys, Repeats};

mod arrays;
mod cells;
mod checked;
mod column;
mod dirty;
mod problem;
mod render;
mod survey;

pub use checked::Checked;

use arrays::Gather;
pub(crate) use cells::trimmed;
use cells::{Found, Nulls, Pass, Slots};
use checked::Scratch;
pub(crate) use column::Column;
pub(crate) use dirty::Dirty;
use problem::{Problem, WHOLE_ROW, What};
use render::Render;

/// What the places in a [`RawBatch`] mean for the sender of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Text whose byte offsets are those of the upload.
    Text,
    /// Text that was transcoded: no byte offsets.
    Transcoded,
    /// A sheet: no byte offsets, cells by the sheet's own rows ([`crate::batch::RawRow::line`]) and
    /// columns; absent cells of a short row are empty, and empty cells behind the last column are none.
    Sheet {
        /// The sheet's column (from 0) in which the table's first column stands.
        first_column: u32,
    },
}

impl Places {
    /// What a cell holds, by its index in [`RawBatch::cells`]: only sheets know more than text.
    #[inline]
    pub(crate) fn native(self, raw: &RawBatch, cell: usize) -> Native {
        match self {
            Self::Sheet { .. } => raw.native(cell),
            Self::Text | Self::Transcoded => Native::Text,
        }
    }
}

/// A schema laid over a file's columns, ready to check batches.
///
/// Shared by every thread of a run: [`Validator::check`] is pure and batches may be checked in any order.
#[derive(Debug)]
pub struct Validator {
    columns: Arc<[Column]>,
    /// Columns of the file that go into the results, in its order.
    outputs: Vec<u32>,
    places: Places,
    /// What stands above the first data row in a spreadsheet's count.
    rows_above: u64,
    arrow: SchemaRef,
    keys: Option<Arc<Keys>>,
    /// The sentence about records over the limit.
    too_long: String,
}

impl Validator {
    /// Compiles `schema` for the columns of `layout`.
    ///
    /// Fails with `MISSING_COLUMN` when the layout lacks a field, with `WRONG_OPTIONS` when the schema was
    /// not checked by [`TableSchema::from_json`] and cannot be applied.
    pub fn new(
        schema: &TableSchema,
        layout: &Layout,
        places: Places,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let rules = schema
            .rules(limits)
            .map_err(|problems| unusable(&problems))?;
        Self::with_rules(rules, schema, layout, places, limits)
    }

    /// The same for a schema that may have been inferred from the file's first rows. Then a cell further down is of its
    /// column's type only if nothing of its text is lost: see [`Rules::only_kept`].
    pub(crate) fn of(facts: &Facts, places: Places, limits: &Limits) -> Result<Self, Failure> {
        let (Some(layout), Some(schema)) = (&facts.layout, &facts.schema) else {
            return Err(Failure::new(
                FailureCode::InvariantBroken,
                "A file is to be checked without a layout or a schema; please report this as a defect.",
            ));
        };
        let mut rules = schema
            .rules(limits)
            .map_err(|problems| unusable(&problems))?;
        if facts.schema_inferred {
            rules = rules.into_iter().map(Rules::only_kept).collect();
        }
        Self::with_rules(rules, schema, layout, places, limits)
    }

    fn with_rules(
        rules: Vec<Rules>,
        schema: &TableSchema,
        layout: &Layout,
        places: Places,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let mut rules: Vec<_> = rules.into_iter().map(Some).collect();
        let missing = TextSet::new(&schema.missing_values);
        let first_column = match places {
            Places::Text | Places::Transcoded => 0,
            Places::Sheet { first_column } => first_column,
        };
        let mut outputs = Vec::new();
        let mut fields = Vec::new();
        let mut columns = Vec::with_capacity(layout.columns.len());
        for (index, laid_out) in (0u32..).zip(&layout.columns) {
            let rules = laid_out
                .field
                .and_then(|field| rules.get_mut(field as usize)?.take());
            if let Some(rules) = &rules {
                let kind = arrays::data_type(rules.field.kind);
                let nullable = !rules.field.constraints.required;
                fields.push(ArrowField::new(&laid_out.name, kind, nullable));
                outputs.push(index);
            }
            let sheet_column = first_column + index;
            columns.push(Column::new(
                laid_out,
                index as usize,
                sheet_column,
                rules,
                &missing,
            ));
        }
        if let Some(lacking) = rules.iter().flatten().next() {
            return Err(Failure::new(
                FailureCode::MissingColumn,
                format!(
                    "The file has no column `{}`; the schema asks for it.",
                    lacking.field.name
                ),
            ));
        }
        let columns: Arc<[Column]> = columns.into();
        Ok(Self {
            keys: Keys::new(schema, &columns, places).map(Arc::new),
            columns,
            outputs,
            places,
            rows_above: u64::from(layout.header),
            arrow: Arc::new(ArrowSchema::new(fields)),
            too_long: format!(
                "the record is longer than the {} bytes allowed",
                limits.record_bytes
            ),
        })
    }

    /// Checks rows of `raw` from index `from` on and puts valid rows, findings, rejected rows and counters
    /// into `checked`, whose earlier content is dropped and whose memory is used again.
    ///
    /// Returns the index to go on from: nearly always `raw.rows.len()`. Less when more is wrong than should
    /// wait in memory at once; then `checked` is to be written before the next call.
    ///
    /// `repeats` are those of the whole batch: see [`crate::unique::RepeatSource::next`].
    #[must_use = "rows from the returned index on are not checked yet"]
    pub fn check(
        &self,
        raw: &RawBatch,
        from: usize,
        repeats: &Repeats,
        checked: &mut Checked,
    ) -> usize {
        let mut end = raw.rows.len();
        while let Some(earlier) = self.find_problems(raw, from..end, repeats, checked) {
            end = earlier;
        }
        let rows = (checked.scratch.survey.to - checked.scratch.survey.from) as usize;
        checked.first_row = raw.first_row + from as u64;
        checked.settle(rows, from as u32);
        let gather = Gather {
            raw,
            survey: &checked.scratch.survey,
            runs: &checked.runs,
            valid: checked.valid as usize,
        };
        checked.columns.extend(self.outputs.iter().map(|column| {
            let index = *column as usize;
            gather.array(
                &checked.scratch.slots[index],
                &checked.scratch.nulls[index],
                *column,
            )
        }));
        if !checked.scratch.problems.is_empty() {
            let render = Render {
                validator: self,
                raw,
            };
            render.all(checked);
        }
        from + rows
    }

    /// Types and checks `rows`. Returns an earlier end when they are to be checked again without those that
    /// are too many.
    fn find_problems(
        &self,
        raw: &RawBatch,
        rows: Range<usize>,
        repeats: &Repeats,
        checked: &mut Checked,
    ) -> Option<usize> {
        let width = self.columns.len();
        checked.clear(width);
        let mut survey = std::mem::take(&mut checked.scratch.survey);
        survey.take(raw, rows, &self.columns, self.places, checked);
        checked.scratch.survey = survey;
        self.type_cells(raw, checked);
        self.empty_keys(raw, checked);
        self.repeated_keys(raw, repeats, checked);
        checked.overflow()
    }

    fn type_cells(&self, raw: &RawBatch, checked: &mut Checked) {
        let Scratch {
            survey,
            problems,
            slots,
            nulls,
            ..
        } = &mut checked.scratch;
        if slots.len() != self.columns.len() {
            slots.clear();
            nulls.clear();
            for column in self.columns.iter() {
                slots.push(Slots::new(column.rules.as_ref().map(|rules| &rules.kind)));
                nulls.push(Nulls::default());
            }
        }
        for (index, column) in self.columns.iter().enumerate() {
            let nulls = &mut nulls[index];
            nulls.clear();
            let mut found = Found {
                empty: 0,
                nulls,
                problems,
            };
            let pass = Pass {
                raw,
                survey,
                column,
                index: index as u32,
                width: self.columns.len(),
                in_sheet: matches!(self.places, Places::Sheet { .. }),
            };
            pass.run(&mut slots[index], &mut found);
            checked.tallies[index].empty += found.empty;
        }
    }

    /// Rows whose primary key has no value in any of its columns.
    fn empty_keys(&self, raw: &RawBatch, checked: &mut Checked) {
        let Some(columns) = self.keys.as_ref().and_then(|keys| keys.primary()) else {
            return;
        };
        let Scratch {
            survey,
            problems,
            nulls,
            ..
        } = &mut checked.scratch;
        let nulls: Option<Vec<&[bool]>> =
            columns.iter().map(|c| nulls[*c as usize].rows()).collect();
        let Some(nulls) = nulls else {
            return;
        };
        let column = key_column(columns);
        for row in survey.from..survey.to {
            let empty = nulls.iter().all(|rows| rows[(row - survey.from) as usize]);
            if empty && raw.rows[row as usize].kind == RowKind::Cells {
                problems.push(Problem::new(row, column, What::EmptyKey));
            }
        }
    }

    fn repeated_keys(&self, raw: &RawBatch, repeats: &Repeats, checked: &mut Checked) {
        let Some(keys) = &self.keys else {
            return;
        };
        let Scratch {
            survey, problems, ..
        } = &mut checked.scratch;
        let number = |index: u32| raw.first_row + u64::from(index);
        for repeat in repeats.within(number(survey.from)..number(survey.to)) {
            let row = (repeat.row - raw.first_row) as u32;
            let (column, what) = match keys.columns(repeat.key) {
                Some((columns, true)) => (key_column(columns), What::RepeatedKey),
                Some((columns, false)) => (key_column(columns), What::Unique),
                None => continue,
            };
            problems.push(Problem::repeated(row, column, what, repeat.first_row));
        }
    }

    /// The keys that must not repeat; `None` when the schema has neither `unique` nor `primaryKey`.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        self.keys.as_ref()
    }

    /// The columns of the valid rows: those the schema knows, in the file's order.
    #[must_use]
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The names of the file's columns in the results.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The place of the column at `index` as a spreadsheet counts, from 0.
    fn sheet_column(&self, index: u32) -> u32 {
        match self.places {
            Places::Text | Places::Transcoded => index,
            Places::Sheet { first_column } => first_column + index,
        }
    }

    /// The place of a row as a spreadsheet counts, from 1.
    fn sheet_row(&self, row_number: u64, line: u64) -> u64 {
        match self.places {
            Places::Text | Places::Transcoded => row_number + self.rows_above,
            Places::Sheet { .. } => line,
        }
    }
}

/// Where findings about a key stand: at its column, or at the whole row when it has several.
fn key_column(columns: &[u32]) -> u32 {
    match columns {
        [only] => *only,
        _ => WHOLE_ROW,
    }
}

fn unusable(problems: &[SchemaProblem]) -> Failure {
    let first = problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    Failure::new(
        FailureCode::WrongOptions,
        format!("The schema cannot be applied: {first}."),
    )
}

#[cfg(test)]
pub(crate) mod tests;
