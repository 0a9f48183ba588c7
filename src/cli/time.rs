//! Times as people read them.

use jiff::{SignedDuration, Timestamp};

/// The time of day, with its date unless it is today's.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%F").to_string();
    let format = if day(at) == day(now) { "%TZ" } else { "%F %TZ" };
    at.strftime(format).to_string()
}

/// How long ago, in the format of kubectl.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    short(now.duration_since(since))
}

/// A duration in at most two units, without the second one if the first is large.
pub fn short(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: i64, unit: &str, second: i64, smaller: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_as_short_as_kubectls() {
        for (seconds, expected) in [
            (-5, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (180, "3m"),
            (700, "11m"),
            (11_100, "3h5m"),
            (40_000, "11h"),
            (180_000, "2d2h"),
            (900_000, "10d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn only_another_day_is_named() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        assert_eq!(clock("2026-03-01T09:59:30.5Z".parse().unwrap(), now), "09:59:30Z");
        assert_eq!(clock("2026-02-28T09:59:30Z".parse().unwrap(), now), "2026-02-28 09:59:30Z");
    }
}
