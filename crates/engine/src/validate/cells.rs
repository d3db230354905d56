//! Types and checks the cells of one column.

use filejobs_core::schema::TextRules;
use filejobs_core::schema::value::{Parse, TextSet};
use filejobs_core::schema::{Kind, Typed};

use super::column::Column;
use super::problem::{Problem, What};
use super::survey::Survey;
use crate::batch::RawBatch;

/// The typed values of one column, a slot for each row of the batch; slots of failed rows hold anything.
#[derive(Debug)]
pub(crate) enum Slots {
    /// Text stays where it is.
    Text,
    Integer(Vec<i64>),
    Number(Vec<f64>),
    Boolean(Vec<bool>),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Datetime(Vec<i64>),
}

impl Slots {
    /// Empty slots for values of `kind`.
    pub(crate) fn new(kind: Option<&Kind>) -> Self {
        match kind {
            None | Some(Kind::Text(_)) => Self::Text,
            Some(Kind::Integer(_)) => Self::Integer(Vec::new()),
            Some(Kind::Number(_)) => Self::Number(Vec::new()),
            Some(Kind::Boolean(_)) => Self::Boolean(Vec::new()),
            Some(Kind::Date(_)) => Self::Date(Vec::new()),
            Some(Kind::Time(_)) => Self::Time(Vec::new()),
            Some(Kind::Datetime(_)) => Self::Datetime(Vec::new()),
        }
    }
}

/// Which rows of a column have no value. Costs nothing as long as there is none.
#[derive(Debug, Default)]
pub(crate) struct Nulls {
    any: bool,
    rows: Vec<bool>,
}

impl Nulls {
    pub(crate) fn clear(&mut self) {
        self.any = false;
    }

    /// `row` counts from the first row of the survey, which has `rows`.
    #[inline]
    fn set(&mut self, row: usize, rows: usize) {
        if !self.any {
            self.any = true;
            self.rows.clear();
            self.rows.resize(rows, false);
        }
        self.rows[row] = true;
    }

    /// A flag for each row, or `None` when every row has a value.
    pub(crate) fn rows(&self) -> Option<&[bool]> {
        self.any.then_some(&self.rows)
    }
}

/// What one column's pass over a batch gives.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// Cells that are empty or a missing value.
    pub(crate) empty: u64,
    /// Rows without a value.
    pub(crate) nulls: &'a mut Nulls,
    /// What is wrong.
    pub(crate) problems: &'a mut Vec<Problem>,
}

/// The pass of one column over the surveyed rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) raw: &'a RawBatch,
    pub(crate) survey: &'a Survey,
    pub(crate) column: &'a Column,
    /// Its place in the file, from 0, and how many columns there are.
    pub(crate) index: u32,
    pub(crate) width: usize,
    /// Whether the rows are a sheet's: an absent cell is an empty one, and cells may hold more than text.
    pub(crate) in_sheet: bool,
}

impl Pass<'_> {
    /// Types and checks every cell of the column.
    pub(crate) fn run(self, slots: &mut Slots, found: &mut Found<'_>) {
        let kind = self.column.rules.as_ref().map(|rules| &rules.kind);
        match (kind, slots) {
            (Some(Kind::Integer(typed)), Slots::Integer(slots)) => self.typed(typed, slots, found),
            (Some(Kind::Number(typed)), Slots::Number(slots)) => self.typed(typed, slots, found),
            (Some(Kind::Boolean(typed)), Slots::Boolean(slots)) => self.typed(typed, slots, found),
            (Some(Kind::Date(typed)), Slots::Date(slots)) => self.typed(typed, slots, found),
            (Some(Kind::Time(typed)), Slots::Time(slots)) => self.typed(typed, slots, found),
            (Some(Kind::Datetime(typed)), Slots::Datetime(slots)) => {
                self.typed(typed, slots, found);
            }
            (Some(Kind::Text(rules)), _) => self.text(rules, found),
            // A column that the schema does not know holds what it likes.
            _ => self.text(&TextRules::default(), found),
        }
    }

    fn typed<P: Parse>(self, typed: &Typed<P>, slots: &mut Vec<P::Value>, found: &mut Found<'_>)
    where
        P::Value: Default,
    {
        let from = self.survey.from;
        slots.clear();
        slots.resize(self.rows(), P::Value::default());
        let missing = &self.column.missing;
        // Where nothing that parses can be missing, only what does not parse needs a look.
        let missing_first = !missing.is_only_empty() || typed.text.parse(b"").is_some();
        let free = typed.is_free();
        for span in &self.survey.spans {
            let first = (span.row - from) as usize;
            let mut cell = span.cell as usize + self.index as usize;
            for (row, slot) in (span.row..).zip(&mut slots[first..first + span.rows as usize]) {
                let text = trimmed(self.raw.text(cell));
                let value = if missing_first && self.is_missing(cell, text) {
                    None
                } else {
                    self.parse(typed, cell, text)
                };
                match value {
                    Some(value) => {
                        *slot = value;
                        if !free {
                            self.constraints(typed, row, value, found);
                        }
                    }
                    None => self.no_value(row, cell, found),
                }
                cell += self.width;
            }
        }
        self.irregular(found, |row, cell, found| {
            let text = trimmed(self.raw.text(cell));
            if self.is_missing(cell, text) {
                return self.no_value(row, cell, found);
            }
            match self.parse(typed, cell, text) {
                Some(value) => {
                    slots[(row - from) as usize] = value;
                    self.constraints(typed, row, value, found);
                }
                None => self.no_value(row, cell, found),
            }
        });
    }

    #[inline]
    fn parse<P: Parse>(self, typed: &Typed<P>, cell: usize, text: &[u8]) -> Option<P::Value> {
        if self.in_sheet {
            typed.text.parse_native(text, self.raw.native(cell))
        } else {
            typed.text.parse(text)
        }
    }

    #[inline]
    fn is_missing(self, cell: usize, trimmed: &[u8]) -> bool {
        let missing: &TextSet = &self.column.missing;
        missing.contains(self.raw.text(cell)) || missing.contains(trimmed)
    }

    /// A cell that holds no value of its type: empty, a missing value, or something else.
    #[cold]
    fn no_value(self, row: u32, cell: usize, found: &mut Found<'_>) {
        if self.is_missing(cell, trimmed(self.raw.text(cell))) {
            self.empty(row, found);
        } else {
            found
                .problems
                .push(Problem::new(row, self.index, What::Type));
        }
    }

    fn empty(self, row: u32, found: &mut Found<'_>) {
        found.empty += 1;
        found
            .nulls
            .set((row - self.survey.from) as usize, self.rows());
        if self.column.required() {
            found
                .problems
                .push(Problem::new(row, self.index, What::Required));
        }
    }

    #[inline]
    fn constraints<P: Parse>(
        self,
        typed: &Typed<P>,
        row: u32,
        value: P::Value,
        found: &mut Found<'_>,
    ) {
        let mut broken = |what| found.problems.push(Problem::new(row, self.index, what));
        if typed.too_small(value) {
            broken(What::Minimum);
        }
        if typed.too_large(value) {
            broken(What::Maximum);
        }
        if typed.unlisted(value) {
            broken(What::Enum);
        }
    }

    fn text(self, rules: &TextRules, found: &mut Found<'_>) {
        let free = rules.is_free();
        let missing = &self.column.missing;
        let check = |row: u32, cell: usize, found: &mut Found<'_>| {
            let text = self.raw.text(cell);
            if missing.contains(text) {
                self.empty(row, found);
            } else if !free {
                self.text_rules(rules, row, text, found);
            }
        };
        for span in &self.survey.spans {
            let mut cell = span.cell as usize + self.index as usize;
            for row in span.row..span.row + span.rows {
                check(row, cell, found);
                cell += self.width;
            }
        }
        self.irregular(found, check);
    }

    fn text_rules(self, rules: &TextRules, row: u32, text: &[u8], found: &mut Found<'_>) {
        let mut broken = |what| found.problems.push(Problem::new(row, self.index, what));
        if !rules.format.accepts(text) {
            broken(What::Type);
        }
        if rules.min_length.is_some() || rules.max_length.is_some() {
            // Bytes that do not go on with a character are its first ones.
            let characters = text.iter().filter(|b| **b & 0xc0 != 0x80).count() as u64;
            if rules.min_length.is_some_and(|least| characters < least) {
                broken(What::MinLength);
            }
            if rules.max_length.is_some_and(|most| characters > most) {
                broken(What::MaxLength);
            }
        }
        if rules.pattern.as_ref().is_some_and(|p| !p.is_match(text)) {
            broken(What::Pattern);
        }
        if rules.one_of.as_ref().is_some_and(|set| !set.contains(text)) {
            broken(What::Enum);
        }
    }

    /// Visits the column's cell in each irregular row that has one to be typed.
    fn irregular(self, found: &mut Found<'_>, mut visit: impl FnMut(u32, usize, &mut Found<'_>)) {
        for row in &self.survey.irregular {
            let cell = row.cell + self.index;
            if self.index >= row.cells {
                if self.in_sheet {
                    self.empty(row.row, found);
                }
            } else if !self.survey.dirty.contains(cell) {
                visit(row.row, cell as usize, found);
            }
        }
    }

    fn rows(self) -> usize {
        (self.survey.to - self.survey.from) as usize
    }
}

/// `text` without surrounding blanks.
#[inline]
pub(crate) fn trimmed(text: &[u8]) -> &[u8] {
    match (text.first(), text.last()) {
        (Some(first), Some(last)) if *first <= b' ' || *last <= b' ' => text.trim_ascii(),
        _ => text,
    }
}
