//! Which columns make a key, and what of a row is compared.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use filejobs_core::TableSchema;
use filejobs_core::schema::value::{Native, Parse};
use filejobs_core::schema::{Kind, Typed};

use crate::batch::{RawBatch, RowKind};
use crate::validate::{Column, Dirty, Places, trimmed};

/// The columns whose values must not repeat, and how their cells become comparable.
///
/// Two cells are the same when their typed values are: `007` and `7` in an integer column, not in a string
/// column. A key without a value in one of its columns equals no other.
#[derive(Debug)]
pub struct Keys {
    columns: Arc<[Column]>,
    all: Vec<Key>,
    places: Places,
    /// Two hash functions with keys of this process: nobody can prepare cells that collide.
    hashers: [RandomState; 2],
}

#[derive(Debug)]
struct Key {
    columns: Vec<u32>,
    primary: bool,
}

/// Memory for [`Keys::visit`]. Reusable.
#[derive(Debug, Default)]
pub(crate) struct KeyScratch {
    dirty: Dirty,
    bytes: Vec<u8>,
}

impl Keys {
    /// The keys of `schema`; `None` when it has none. Unique columns come first, in the file's order, the
    /// primary key last.
    pub(crate) fn new(
        schema: &TableSchema,
        columns: &Arc<[Column]>,
        places: Places,
    ) -> Option<Self> {
        let mut by_name = HashMap::new();
        let mut keys = Vec::new();
        for (index, column) in (0u32..).zip(columns.iter()) {
            let Some(rules) = &column.rules else {
                continue;
            };
            by_name.insert(rules.field.name.as_str(), index);
            if rules.field.constraints.unique {
                keys.push(Key {
                    columns: vec![index],
                    primary: false,
                });
            }
        }
        let primary: Vec<u32> = schema
            .primary_key
            .iter()
            .filter_map(|name| by_name.get(name.as_str()).copied())
            .collect();
        if !primary.is_empty() {
            keys.push(Key {
                columns: primary,
                primary: true,
            });
        }
        (!keys.is_empty()).then(|| Self {
            columns: columns.clone(),
            all: keys,
            places,
            hashers: [RandomState::new(), RandomState::new()],
        })
    }

    /// The columns of a key, by its place, and whether it is the primary key.
    pub(crate) fn columns(&self, key: u32) -> Option<(&[u32], bool)> {
        let key = self.all.get(key as usize)?;
        Some((&key.columns, key.primary))
    }

    /// The columns of the primary key.
    pub(crate) fn primary(&self) -> Option<&[u32]> {
        self.all
            .iter()
            .find(|key| key.primary)
            .map(|key| key.columns.as_slice())
    }

    /// Visits every key with a value, row by row: row number, key, and a hash that stands for key and value.
    pub(crate) fn visit<E>(
        &self,
        raw: &RawBatch,
        scratch: &mut KeyScratch,
        mut visit: impl FnMut(u64, u32, u128) -> Result<(), E>,
    ) -> Result<(), E> {
        scratch.dirty.find(raw, self.places);
        let mut first = 0;
        for (row_number, row) in (raw.first_row..).zip(&raw.rows) {
            let cells = first..row.cells_end;
            first = row.cells_end;
            if row.kind != RowKind::Cells {
                continue;
            }
            for (index, key) in (0u32..).zip(&self.all) {
                scratch.bytes.clear();
                scratch.bytes.extend_from_slice(&index.to_le_bytes());
                let complete = key.columns.iter().all(|column| {
                    let cell = cells.start + column;
                    cell < cells.end
                        && !scratch.dirty.contains(cell)
                        && self.push_value(*column, raw, cell as usize, &mut scratch.bytes)
                });
                if complete {
                    visit(row_number, index, self.hash(&scratch.bytes))?;
                }
            }
        }
        Ok(())
    }

    fn hash(&self, bytes: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(bytes)) << 64 | u128::from(low.hash_one(bytes))
    }

    /// Appends what is compared of a cell; false when it has no value.
    fn push_value(&self, column: u32, raw: &RawBatch, cell: usize, out: &mut Vec<u8>) -> bool {
        let column = &self.columns[column as usize];
        let text = raw.text(cell);
        let native = self.places.native(raw, cell);
        if column.missing.contains(text) {
            return false;
        }
        let Some(rules) = &column.rules else {
            return false;
        };
        match &rules.kind {
            Kind::Text(rules) => {
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text);
                rules.format.accepts(text)
            }
            Kind::Integer(typed) => {
                push_typed(column, typed, (text, native), out, i64::to_le_bytes)
            }
            Kind::Number(typed) => push_typed(column, typed, (text, native), out, |value| {
                // Both zeros are one value, and so is every NaN.
                let value = if value == 0.0 { 0.0 } else { value };
                let value = if value.is_nan() { f64::NAN } else { value };
                value.to_bits().to_le_bytes()
            }),
            Kind::Boolean(typed) => {
                push_typed(column, typed, (text, native), out, |v| [u8::from(v)])
            }
            Kind::Date(typed) => push_typed(column, typed, (text, native), out, i32::to_le_bytes),
            Kind::Time(typed) => push_typed(column, typed, (text, native), out, i64::to_le_bytes),
            Kind::Datetime(typed) => {
                push_typed(column, typed, (text, native), out, i64::to_le_bytes)
            }
        }
    }
}

fn push_typed<P: Parse, const N: usize>(
    column: &Column,
    typed: &Typed<P>,
    (text, native): (&[u8], Native),
    out: &mut Vec<u8>,
    bytes: impl Fn(P::Value) -> [u8; N],
) -> bool {
    let text = trimmed(text);
    if column.missing.contains(text) {
        return false;
    }
    let value = typed.text.parse_native(text, native);
    out.extend(value.map(bytes).into_iter().flatten());
    value.is_some()
}
