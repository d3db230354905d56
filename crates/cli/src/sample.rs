//! Makes CSV files of any size whose bad rows are known in advance: for trials, tests and benchmarks.
//!
//! Rows are `id,name,value`: a running number, a name from a list, a number with two decimals. The same arguments
//! always give the same bytes. Each bad row has exactly one finding, so that the counts of a run can be predicted.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::exit::{Exit, Outcome, Stop};
use crate::terminal;

/// Bytes collected before they are written.
const CHUNK: usize = 1 << 18;

const NAMES: &[&str] = &[
    "Amara Okafor",
    "Bjarne Holm",
    "Chen Wei",
    "Dolores Ruiz",
    "Emil Novak",
    "Fatima Zahra",
    "Greta Lindt",
    "Hiro Tanaka",
    "Ines Duarte",
    "Jonas Weber",
    "Kavita Rao",
    "Liam Byrne",
    "Maja Kowalska",
    "Noor Haddad",
    "Otto Braun",
    "Priya Nair",
];

/// Write a CSV file of id, name and value, some rows of it bad on purpose
#[derive(Debug, Clone, Args)]
pub struct Sample {
    /// Rows below the header
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub rows: u64,

    /// Where to write it; `-` is standard output
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub out: PathBuf,

    /// Least value
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub min: f64,

    /// Greatest value
    #[arg(
        long,
        default_value_t = 1_000.0,
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub max: f64,

    /// Names to choose from, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub names: Vec<String>,

    /// Another number gives another file, the same number the same file
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Share of bad rows in percent: wrong type, empty cell, row too short, row too long
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub bad: f64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            rows: 1_000,
            out: PathBuf::from("-"),
            min: 0.0,
            max: 1_000.0,
            names: Vec::new(),
            seed: 1,
            bad: 0.0,
        }
    }
}

impl Sample {
    /// Runs `filejobs sample`.
    pub(crate) fn run(&self) -> Outcome {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(Stop::usage(&problems));
        }
        if self.out.as_os_str() == "-" {
            self.write(io::stdout().lock())
                .context("writing the sample failed")?;
            return Ok(Exit::Clean);
        }
        let file = std::fs::File::create(&self.out)
            .with_context(|| format!("{} cannot be written", self.out.display()))?;
        self.write(file)
            .with_context(|| format!("writing {} failed", self.out.display()))?;
        let (rows, bad) = (
            terminal::counted(self.rows, "row"),
            terminal::count(self.bad_rows()),
        );
        let out = self.out.display();
        terminal::note(format_args!("{out}: {rows}, {bad} of them bad"));
        Ok(Exit::Clean)
    }

    /// What cannot be used, each problem with what is taken.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(0.0..=100.0).contains(&self.bad) {
            problems.push("--bad: a percentage from 0 to 100 is taken".to_owned());
        }
        if !(self.min.abs() <= 1e12 && self.max.abs() <= 1e12 && self.min <= self.max) {
            let problem = "--min and --max: numbers within ±1e12 are taken, the least first";
            problems.push(problem.to_owned());
        }
        let breaks_rows = |name: &String| name.is_empty() || name.contains(['"', '\n', '\r', ',']);
        if self.names.iter().any(breaks_rows) {
            problems.push(
                "--names: names without quotes and line ends are taken, none empty".to_owned(),
            );
        }
        problems
    }

    /// How many of the rows are bad; each has exactly one finding.
    #[must_use]
    pub fn bad_rows(&self) -> u64 {
        bad_before(self.rows, self.bad)
    }

    /// The schema that the good rows keep.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        json!({"fields": [
            {"name": "id", "type": "integer", "constraints": {"required": true}},
            {"name": "name", "type": "string", "constraints": {"required": true}},
            {"name": "value", "type": "number", "constraints": {"required": true}},
        ]})
    }

    /// Writes the file.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        // Whole chunks are handed over; the writer only spares the last one a system call of its own.
        let mut out = BufWriter::with_capacity(CHUNK, out);
        let names: Vec<&str> = if self.names.is_empty() {
            NAMES.to_vec()
        } else {
            self.names.iter().map(String::as_str).collect()
        };
        let mut random = SplitMix(self.seed);
        let (low, high) = (
            (self.min * 100.0).round() as i64,
            (self.max * 100.0).round() as i64,
        );
        let span = high.abs_diff(low) + 1;
        let mut digits = itoa::Buffer::new();
        let mut chunk = Vec::with_capacity(CHUNK + 256);
        chunk.extend_from_slice(b"id,name,value\n");
        let mut bad_so_far = 0;
        for row in 1..=self.rows {
            let draw = random.next();
            let name = names[(draw >> 32) as usize % names.len()];
            let cents = low.saturating_add_unsigned(random.next() % span);
            let bad = bad_before(row, self.bad);
            let flaw = (bad > bad_so_far).then(|| Flaw::nth(bad_so_far));
            bad_so_far = bad;

            chunk.extend_from_slice(digits.format(row).as_bytes());
            if flaw == Some(Flaw::WordInId) {
                chunk.push(b'x');
            }
            chunk.push(b',');
            if flaw != Some(Flaw::EmptyName) {
                chunk.extend_from_slice(name.as_bytes());
            }
            match flaw {
                Some(Flaw::MissingValue) => {}
                Some(Flaw::WordInValue) => chunk.extend_from_slice(b",unknown"),
                _ => push_cents(&mut chunk, cents, &mut digits),
            }
            if flaw == Some(Flaw::ExtraCell) {
                chunk.extend_from_slice(b",extra");
            }
            chunk.push(b'\n');
            if chunk.len() >= CHUNK {
                out.write_all(&chunk)?;
                chunk.clear();
            }
        }
        out.write_all(&chunk)?;
        out.flush()
    }
}

/// Bad rows among the first `rows`: spread evenly, so that every part of a file has its share.
fn bad_before(rows: u64, percent: f64) -> u64 {
    // Percent are taken to a millionth, as a whole number, so that no rounding adds up.
    let share = u128::from(terminal::whole((percent * 1e6).round()));
    (u128::from(rows) * share / 100_000_000) as u64
}

fn push_cents(chunk: &mut Vec<u8>, cents: i64, digits: &mut itoa::Buffer) {
    chunk.push(b',');
    if cents < 0 {
        chunk.push(b'-');
    }
    let cents = cents.unsigned_abs();
    chunk.extend_from_slice(digits.format(cents / 100).as_bytes());
    let rest = (cents % 100) as u8;
    chunk.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10]);
}

/// What is wrong with a bad row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    WordInValue,
    EmptyName,
    MissingValue,
    ExtraCell,
    WordInId,
}

impl Flaw {
    fn nth(n: u64) -> Self {
        match n % 5 {
            0 => Self::WordInValue,
            1 => Self::EmptyName,
            2 => Self::MissingValue,
            3 => Self::ExtraCell,
            _ => Self::WordInId,
        }
    }
}

/// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>): the bytes must stay the same for ever, which no random
/// number crate promises across its versions.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sample: &Sample) -> String {
        let mut bytes = Vec::new();
        sample.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes() {
        let sample = Sample {
            rows: 500,
            bad: 10.0,
            ..Sample::default()
        };
        assert_eq!(text(&sample), text(&sample));
        let other = Sample {
            seed: 2,
            ..sample.clone()
        };
        assert_ne!(text(&sample), text(&other));
        assert_eq!(
            text(&Sample {
                rows: 3,
                ..Sample::default()
            }),
            FIRST_ROWS
        );
    }

    const FIRST_ROWS: &str =
        "id,name,value\n1,Maja Kowalska,286.19\n2,Otto Braun,318.96\n3,Ines Duarte,790.91\n";

    #[test]
    fn bad_rows_are_as_many_as_predicted_and_of_every_kind() {
        let sample = Sample {
            rows: 1_000,
            bad: 5.0,
            ..Sample::default()
        };
        assert_eq!(sample.bad_rows(), 50);
        let text = text(&sample);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|l| l.split(',').collect())
            .collect();
        let of = |test: &dyn Fn(&[&str]) -> bool| rows.iter().filter(|r| test(r)).count();
        assert_eq!(rows.len(), 1_000);
        assert_eq!(of(&|r| r.len() == 2), 10);
        assert_eq!(of(&|r| r.len() == 4), 10);
        assert_eq!(of(&|r| r[1].is_empty()), 10);
        assert_eq!(of(&|r| r[0].parse::<u64>().is_err()), 10);
        assert_eq!(of(&|r| r.get(2) == Some(&"unknown")), 10);
    }

    #[test]
    fn values_stay_within_their_bounds() {
        let sample = Sample {
            rows: 2_000,
            min: -1.5,
            max: 0.5,
            ..Sample::default()
        };
        for line in text(&sample).lines().skip(1) {
            let value: f64 = line.rsplit(',').next().unwrap().parse().unwrap();
            assert!((-1.5..=0.5).contains(&value), "{line}");
        }
    }

    #[test]
    fn every_unusable_argument_is_told() {
        let sample = Sample {
            bad: 101.0,
            min: 2.0,
            max: 1.0,
            names: vec![String::new()],
            ..Sample::default()
        };
        assert_eq!(sample.problems().len(), 3);
    }
}
