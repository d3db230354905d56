//! The flags that say how a file is to be read; the same for `check`, `submit` and `dev`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use filejobs_core::Options;
use filejobs_core::options::Sheet;

/// How the file is to be read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How the file is read")]
pub(crate) struct FileOptions {
    /// Table Schema (JSON) that the rows must keep; inferred when absent
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// Between cells: `,` `;` `tab` `|` or another character; detected when absent
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    delimiter: Option<char>,

    /// Around cells [default: `"`]
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    quote: Option<char>,

    /// WHATWG label such as `utf-8` or `windows-1252`; detected when absent
    #[arg(long, value_name = "LABEL")]
    encoding: Option<String>,

    /// The first line holds data, not labels
    #[arg(long)]
    no_header: bool,

    /// Sheet of a workbook by name, or by number from 1; the first one with data when absent
    #[arg(long, value_name = "SHEET")]
    sheet: Option<String>,

    /// Fail as soon as more rows than this are bad
    #[arg(long, value_name = "N")]
    max_errors: Option<u64>,

    /// Fail when more than this share (0 to 1) of the rows is bad
    #[arg(long, value_name = "RATIO")]
    max_error_ratio: Option<f64>,
}

impl FileOptions {
    /// The options as the contract has them, or every problem with them.
    pub(crate) fn options(&self) -> Result<Options, Vec<String>> {
        let options = Options {
            delimiter: self.delimiter,
            quote: self.quote,
            encoding: self.encoding.clone(),
            header: self.no_header.then_some(false),
            sheet: self.sheet.as_deref().map(sheet),
            max_errors: self.max_errors,
            max_error_ratio: self.max_error_ratio,
        };
        let problems = options.problems();
        if problems.is_empty() {
            Ok(options)
        } else {
            Err(problems.iter().map(ToString::to_string).collect())
        }
    }

    /// The schema's text, when one is given.
    pub(crate) fn schema_text(&self) -> anyhow::Result<Option<String>> {
        self.schema.as_deref().map(read_text).transpose()
    }

    /// Takes `path` as the schema unless one is given already.
    pub(crate) fn schema_or(mut self, path: Option<PathBuf>) -> Self {
        self.schema = self.schema.or(path);
        self
    }

    /// Where the schema comes from.
    pub(crate) fn schema_path(&self) -> Option<&Path> {
        self.schema.as_deref()
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn sheet(text: &str) -> Sheet {
    text.parse()
        .map_or_else(|_| Sheet::Name(text.to_owned()), Sheet::Number)
}

/// One character, or a name for one that is hard to type.
fn separator(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(c), None) => Ok(c),
        _ => Err("a single character is taken, or the word `tab`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_one_character_or_a_word_for_it() {
        assert_eq!(separator(";"), Ok(';'));
        assert_eq!(separator("tab"), Ok('\t'));
        assert_eq!(separator("\\t"), Ok('\t'));
        assert!(separator("").is_err());
        assert!(separator(";;").is_err());
    }

    #[test]
    fn flags_become_the_options_of_the_contract() {
        let flags = FileOptions {
            no_header: true,
            sheet: Some("2".to_owned()),
            max_errors: Some(3),
            ..FileOptions::default()
        };
        let options = serde_json::to_value(flags.options().unwrap()).unwrap();
        assert_eq!(
            options,
            serde_json::json!({"header": false, "sheet": 2, "max_errors": 3})
        );
        let bad = FileOptions {
            max_error_ratio: Some(2.0),
            delimiter: Some('a'),
            ..FileOptions::default()
        };
        assert_eq!(bad.options().unwrap_err().len(), 2);
    }
}
