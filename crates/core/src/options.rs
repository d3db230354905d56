//! How one file is to be read: what its sender overrides of what would be detected.

use serde::{Deserialize, Serialize};

/// The `options` of an upload: flat, and closed to unknown keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Between cells: `,`, `;`, a tab, `|` or another single ASCII character. Detected when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Around cells; `"` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<char>,
    /// A WHATWG encoding label such as `utf-8` or `windows-1252`. Detected when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Whether the first line that is not empty holds the labels; true when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// A sheet's name, or its number from 1. The first visible sheet with data when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<Sheet>,
    /// The job fails as soon as more rows than this have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<u64>,
    /// The job fails when, at the end, more than this share (0 to 1) of the rows have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_ratio: Option<f64>,
}

/// Which sheet of a workbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Sheet {
    /// From 1, hidden sheets counted.
    Number(u32),
    /// By its exact name.
    Name(String),
}

/// An option that cannot be used, with what would be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{option}`: {problem}")]
pub struct InvalidOption {
    /// The option's key.
    pub option: &'static str,
    /// What is wrong and what is taken.
    pub problem: &'static str,
}

/// Whether a character can stand between cells: ASCII, no letter, digit or control character, or a tab.
#[must_use]
pub fn is_separator(c: char) -> bool {
    c == '\t' || (c.is_ascii() && !c.is_ascii_alphanumeric() && !c.is_ascii_control())
}

impl Options {
    /// Checks what the types alone do not: every problem, not only the first.
    #[must_use]
    pub fn problems(&self) -> Vec<InvalidOption> {
        let mut problems = Vec::new();
        let mut refuse = |option, problem| problems.push(InvalidOption { option, problem });
        if self.delimiter.is_some_and(|c| !is_separator(c)) {
            refuse(
                "delimiter",
                "one ASCII character that is no letter, digit or control character is taken, or a tab",
            );
        }
        if self.quote.is_some_and(|c| !is_separator(c) || c == '\t') {
            refuse(
                "quote",
                "one ASCII character that is no letter, digit, tab or control character is taken",
            );
        }
        if self.delimiter.unwrap_or(',') == self.quote.unwrap_or('"') {
            refuse("quote", "must differ from `delimiter`");
        }
        if self.sheet == Some(Sheet::Number(0)) {
            refuse("sheet", "sheets are numbered from 1");
        }
        if self
            .max_error_ratio
            .is_some_and(|r| !(0.0..=1.0).contains(&r))
        {
            refuse("max_error_ratio", "a number from 0 to 1 is taken");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"delimeter": ";"}"#).is_err());
    }

    #[test]
    fn a_sheet_is_a_name_or_a_number() {
        let parse = |text| serde_json::from_str::<Options>(text).unwrap().sheet;
        assert_eq!(parse(r#"{"sheet": 2}"#), Some(Sheet::Number(2)));
        assert_eq!(
            parse(r#"{"sheet": "2"}"#),
            Some(Sheet::Name("2".to_owned()))
        );
    }

    #[test]
    fn every_problem_is_told() {
        let options: Options =
            serde_json::from_str(r#"{"delimiter": "a", "sheet": 0, "max_error_ratio": 2}"#)
                .unwrap();
        let names: Vec<_> = options.problems().iter().map(|p| p.option).collect();
        assert_eq!(names, ["delimiter", "sheet", "max_error_ratio"]);
    }
}
