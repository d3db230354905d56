//! Chooses the sheet to read.

use calamine::{SheetType, SheetVisible};
use filejobs_core::options::Sheet;
use filejobs_core::{Failure, FailureCode};

use crate::reader::ReadError;

/// Sheets that a sentence names before it stops.
const NAMED: usize = 10;

/// The names of the sheets that may be read, the one to be tried first at the beginning.
///
/// With a wish there is one; without, all that are visible: the first that has data is read.
pub(super) fn candidates(
    sheets: &[calamine::Sheet],
    wish: Option<&Sheet>,
) -> Result<Vec<String>, ReadError> {
    if sheets.is_empty() {
        return Err(unknown("The workbook has no sheet".to_owned()));
    }
    let found = match wish {
        None => {
            let mut visible: Vec<_> = sheets
                .iter()
                .filter(|s| s.visible == SheetVisible::Visible && s.typ == SheetType::WorkSheet)
                .map(|s| s.name.clone())
                .collect();
            visible.dedup();
            return Ok(visible);
        }
        Some(Sheet::Number(number)) => (*number as usize)
            .checked_sub(1)
            .and_then(|i| sheets.get(i)),
        Some(Sheet::Name(name)) => sheets.iter().find(|s| s.name == *name),
    };
    match found {
        Some(sheet) if sheet.typ == SheetType::WorkSheet => Ok(vec![sheet.name.clone()]),
        Some(sheet) => Err(unknown(format!(
            "The sheet {:?} holds a chart or a dialogue and no cells",
            sheet.name
        ))),
        None => Err(unknown(format!(
            "The workbook has no sheet {}; it has {}",
            match wish {
                Some(Sheet::Name(name)) => format!("{name:?}"),
                Some(Sheet::Number(number)) => number.to_string(),
                None => String::new(),
            },
            list(sheets)
        ))),
    }
}

/// No sheet that may be read has a value.
pub(super) fn no_data(sheets: &[calamine::Sheet]) -> ReadError {
    unknown(format!(
        "No visible sheet of the workbook holds data; it has {}",
        list(sheets)
    ))
}

fn unknown(message: String) -> ReadError {
    Failure::new(FailureCode::UnknownSheet, message).into()
}

fn list(sheets: &[calamine::Sheet]) -> String {
    let named: Vec<_> = sheets
        .iter()
        .take(NAMED)
        .map(|s| format!("{:?}", s.name))
        .collect();
    let more = sheets.len() - named.len();
    if more > 0 {
        format!("{} and {more} more", named.join(", "))
    } else {
        named.join(", ")
    }
}
