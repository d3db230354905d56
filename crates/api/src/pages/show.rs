//! How values are written on pages.

use std::fmt::Write;

use filejobs_core::file::is_invisible;
use filejobs_core::{JobState, Outcome};
use jiff::Timestamp;

/// A word and a tone for a job's state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    pub(super) tone: &'static str,
}

/// The badge of a job.
pub(super) fn badge(state: JobState, outcome: Option<Outcome>) -> Badge {
    let (word, tone) = match state {
        JobState::Queued => ("Waiting", "still"),
        JobState::Processing => ("Processing", ""),
        JobState::Suspended => ("Suspended", "still"),
        JobState::Completed if outcome == Some(Outcome::CompletedWithErrors) => {
            ("Completed with errors", "warn")
        }
        JobState::Completed => ("Completed", "good"),
        JobState::Failed => ("Failed", "bad"),
        JobState::Cancelled => ("Cancelled", "still"),
    };
    Badge { word, tone }
}

/// A time for machines and for people.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) machine: String,
    pub(super) people: String,
}

/// A time, to the second; UTC is said where it stands.
pub(super) fn moment(at: Timestamp) -> Moment {
    Moment {
        machine: at.to_string(),
        people: at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    }
}

/// Text from a file: what would be unseen or would steer what is seen is spelled out.
pub(super) fn text(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    for c in raw.chars() {
        if is_invisible(c) && c != '\n' {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A whole number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 row`, `2 rows`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    let word = if number == 1 { one } else { many };
    format!("{} {word}", count(number))
}

/// A size in bytes.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return plural(bytes, "byte", "bytes");
    }
    let mut shown = bytes as f64 / 1024.0;
    let mut unit = 0;
    while shown >= 1024.0 && unit < UNITS.len() - 1 {
        shown /= 1024.0;
        unit += 1;
    }
    // Whole sizes, as limits usually are, need no fraction.
    let digits = usize::from(shown.fract() > 0.05);
    format!("{shown:.digits$} {}", UNITS[unit])
}

/// A span of time.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_sign_loss, reason = "more than 59 here")]
    let whole = seconds.round() as u64;
    rest(whole)
}

/// A span of whole seconds, as an estimate.
pub(super) fn rest(seconds: u64) -> String {
    let (hours, minutes, left) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{left} s"),
        (0, _) => format!("{minutes} min {left} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 7, 999, 1_000, 65_536, 1_000_000].map(count);
        assert_eq!(shown, ["0", "7", "999", "1,000", "65,536", "1,000,000"]);
    }

    #[test]
    fn sizes_and_spans_are_in_units_that_fit() {
        let sizes = [0, 1, 1023, 1024, 5 << 20, 500 << 20].map(size);
        assert_eq!(
            sizes,
            [
                "0 bytes",
                "1 byte",
                "1,023 bytes",
                "1 KiB",
                "5 MiB",
                "500 MiB"
            ]
        );
        let spans = [0.0421, 0.9999, 1.25, 59.99, 61.0, 7_320.0].map(span);
        assert_eq!(
            spans,
            [
                "42 ms",
                "1.0 s",
                "1.2 s",
                "1 min 0 s",
                "1 min 1 s",
                "2 h 2 min"
            ]
        );
    }

    #[test]
    fn what_steers_the_eye_is_spelled_out() {
        assert_eq!(text("a\u{202e}b\0c\td\ne"), "a\\u{202e}b\\u{0}c\\u{9}d\ne");
    }
}
