//! Durations as they are written on the command line and in policies: `15s`, `1m30s`.

use std::time::Duration;

/// Parses `^([0-9]{1,5}(ms|s|m|h)){1,4}$`.
///
/// # Errors
/// A text that says what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration such as 15s, 500ms or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return Err(bad());
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        // `ms` before `m`, because one begins with the other.
        let (each, tail) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find_map(|(unit, each)| tail.strip_prefix(unit).map(|tail| (each, tail)))
            .ok_or_else(bad)?;
        total += Duration::from_millis(number * each);
        rest = tail;
        if rest.is_empty() {
            return Ok(total);
        }
    }
    Err(bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1h2m3s4ms", 3_723_004),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "15", "100000s", "1.5s", "-1s", "1d", "1 s", "1s1s1s1s1s", "1s ", "١s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
