//! Tells by a number format whether its numbers are moments or durations.

use calamine::ExcelDateTimeType;

/// What a format that stands in no list shows, by its number.
pub(super) fn built_in(number: u16) -> Option<ExcelDateTimeType> {
    match number {
        14..=22 | 27..=36 | 45 | 47 | 50..=58 => Some(ExcelDateTimeType::DateTime),
        46 => Some(ExcelDateTimeType::TimeDelta),
        _ => None,
    }
}

/// What a format code shows: the first of its sections decides.
pub(super) fn of_code(code: &str) -> Option<ExcelDateTimeType> {
    let mut letters = code.chars();
    while let Some(letter) = letters.next() {
        match letter.to_ascii_lowercase() {
            ';' => return None,
            '\\' | '_' | '*' => {
                letters.next();
            }
            '"' => {
                letters.by_ref().find(|c| *c == '"');
            }
            '[' => {
                let inside: String = letters.by_ref().take_while(|c| *c != ']').collect();
                let first = inside.chars().next().map(|c| c.to_ascii_lowercase());
                // `[h]`, `[mm]`: hours and minutes that go on counting; colours and locales are other words.
                if let Some(unit @ ('h' | 'm' | 's')) = first
                    && inside.chars().all(|c| c.eq_ignore_ascii_case(&unit))
                {
                    return Some(ExcelDateTimeType::TimeDelta);
                }
            }
            'd' | 'm' | 'y' | 'h' | 's' => return Some(ExcelDateTimeType::DateTime),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_from_numbers() {
        let moment = Some(ExcelDateTimeType::DateTime);
        let cases = [
            ("General", None),
            ("#,##0.00 \"days\"", None),
            ("0.00E+00", None),
            ("[Red]0;dd", None),
            ("\\d0", None),
            ("_d0", None),
            ("yyyy\\-mm\\-dd", moment),
            ("[$-409]d/m/yy h:mm AM/PM", moment),
            ("[h]:mm:ss", Some(ExcelDateTimeType::TimeDelta)),
            ("[mm]:ss", Some(ExcelDateTimeType::TimeDelta)),
        ];
        for (code, expected) in cases {
            assert_eq!(of_code(code), expected, "{code}");
        }
    }
}
