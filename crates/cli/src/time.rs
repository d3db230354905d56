//! Durations on the command line.

use std::time::Duration;

/// A day, in times that are meant in days: no clock is moved by it.
const DAY: Duration = Duration::from_hours(24);

/// Reads `90s`, `10m`, `1h30m`, `500ms`, `30d`, `1d12h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string());
    }
    if let Some((days, rest)) = text.split_once('d')
        && let Ok(days) = days.parse::<u32>()
    {
        let rest = if rest.is_empty() {
            Duration::ZERO
        } else {
            duration(rest)?
        };
        return Ok(DAY * days + rest);
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    Duration::try_from(signed).map_err(|_| "a time that is not negative is taken".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        let cases = [
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("2", 2_000),
            ("0.5", 500),
            ("30d", 30 * 86_400_000),
            ("1d12h", 129_600_000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "-1", "soon", "-5s", "1e400", "d", "-1d", "1dx"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
