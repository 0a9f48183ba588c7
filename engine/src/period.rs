//! A duration as users write it: `90s`, `1h30m`, `250ms`.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The pattern that the API server checks, in the schema of every duration.
pub const PATTERN: &str = "^([0-9]{1,5}(ms|s|m|h)){1,4}$";

/// A duration. It keeps only the length: `60s` is written as `1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(SignedDuration);

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a duration: write it like 30s, 5m or 1h30m")]
pub struct NotAPeriod(String);

impl Period {
    /// A whole number of seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }

    /// The length.
    pub const fn length(self) -> SignedDuration {
        self.0
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 32, "pattern": PATTERN})
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let error = || NotAPeriod(text.chars().take(40).collect());
        let mut rest = text;
        let mut total: i64 = 0;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 {
                return Err(error());
            }
            let number: i64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let (millis, unit) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
                .into_iter()
                .find(|(unit, _)| rest.starts_with(unit))
                .map(|(unit, millis)| (millis, unit))
                .ok_or_else(error)?;
            total += number * millis;
            rest = &rest[unit.len()..];
            if rest.is_empty() {
                return Ok(Self(SignedDuration::from_millis(total)));
            }
        }
        Err(error())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Period {
    type Error = NotAPeriod;
    fn try_from(text: String) -> Result<Self, NotAPeriod> {
        text.parse()
    }
}

impl From<SignedDuration> for Period {
    fn from(length: SignedDuration) -> Self {
        Self(length)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

/// The moment `length` after `at`. Anyone with permission may edit the times of a
/// status, so a sum beyond the calendar yields its end and does not panic.
pub fn after(at: Timestamp, length: SignedDuration) -> Timestamp {
    at.checked_add(length).unwrap_or(if length.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

/// A moment in a message: a time of day, so that the text does not change while one waits for it.
pub fn clock_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, millis, printed) in [
            ("30s", 30_000, "30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            ("1h2m3s4ms", 3_723_004, "1h2m3s4ms"),
            ("99999h", 359_996_400_000, "99999h"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.length(), SignedDuration::from_millis(millis));
            assert_eq!(period.to_string(), printed);
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused() {
        for text in ["", "5", "s", "1d", "-1s", "1.5h", "100000s", "1s1s1s1s1s", " 1s", "1s ", "1 s", "١s"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
