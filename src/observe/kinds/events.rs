//! Events of Kubernetes: how often something was reported within a window.
//!
//! One Event object stands for many occurrences: its count grows. What an object says when it is first seen is only its
//! first and its last occurrence, and how many there were; so if the first was before the window, nobody knows how
//! many are in it. Then the others are `undated`: the count may be higher by so many. From then on, each growth
//! is dated to when it is seen.
//!
//! # Series
//! A component that uses `events.k8s.io`, such as the scheduler, counts in its memory. It writes the second occurrence at once, as
//! a `series`, and the count after that only every 30 minutes, or 6 to 12 minutes after the last one (`refreshTime` and `finishTime` of
//! client-go's tools/events). So for that long, nobody knows an upper bound; and what a series has grown by is between the last
//! occurrence before and the one that it names now.
//!
//! # Time
//! What is first seen is dated by the clock of the component that reports it. If that is ahead, one occurrence is dated to now, and
//! the others are undated. Growth has the time of the operator, except in a series. Dates are rounded up to a sixtieth of the window.

use std::borrow::Cow;
use std::collections::BTreeSet;

use firebreak_engine::expression::{FieldValue, UNBOUNDED, UNDATED};
use firebreak_engine::signal::{self, EventType};
use jiff::Timestamp;
use serde::Deserialize;

use crate::kubernetes::events::REPORTING_CONTROLLER;
use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};
use crate::observe::window::{Window, moment, second};

/// How long a component may hold back in seconds how often a series has occurred: `refreshTime` of client-go's tools/events.
const FLUSHED_WITHIN: u32 = 30 * 60;

/// Events, and how long an occurrence counts.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Events {
    window: Window,
    fields: String,
}

/// What is kept of one Event.
#[derive(Debug, Default, PartialEq)]
pub(in crate::observe) struct EventDigest {
    /// Its occurrences so far.
    occurrences: u32,
    /// When they were, rounded up, and how many; the oldest first.
    dates: Vec<(u32, u32)>,
    /// Occurrences at unknown times: since when, until when, and how many; the newest last.
    between: Vec<(u32, u32, u32)>,
    /// When it last occurred, rounded up.
    last: u32,
    /// Of a series: until when more may have occurred than it says.
    open_until: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimEvent<'a> {
    metadata: SlimMetadata,
    #[serde(default)]
    count: Option<u32>,
    first_timestamp: Option<Timestamp>,
    last_timestamp: Option<Timestamp>,
    event_time: Option<Timestamp>,
    series: Option<SlimSeries>,
    #[serde(borrow)]
    reporting_component: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<SlimSource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata {
    creation_timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSeries {
    count: Option<u32>,
    last_observed_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct SlimSource<'a> {
    #[serde(borrow)]
    component: Option<Cow<'a, str>>,
}

impl SlimEvent<'_> {
    /// Whether Firebreak wrote it: a response must not feed the signal that started it.
    fn is_ours(&self) -> bool {
        let of_source = self.source.as_ref().and_then(|source| source.component.as_deref());
        [self.reporting_component.as_deref(), of_source].contains(&Some(REPORTING_CONTROLLER))
    }

    fn occurrences(&self) -> u32 {
        let series = self.series.as_ref().and_then(|series| series.count);
        series.max(self.count).unwrap_or(1).max(1)
    }

    fn first(&self) -> Option<Timestamp> {
        self.first_timestamp.or(self.event_time).or(self.metadata.creation_timestamp)
    }

    fn last(&self) -> Option<Timestamp> {
        let of_series = self.series.as_ref().and_then(|series| series.last_observed_time);
        of_series.max(self.last_timestamp).max(self.event_time).or(self.metadata.creation_timestamp)
    }
}

impl Kind for Events {
    type Digest = EventDigest;

    const MOST: usize = 10_000;

    fn digest(&mut self, object: &str, at: Timestamp) -> Result<(EventDigest, Option<String>), String> {
        let event: SlimEvent<'_> = serde_json::from_str(object).map_err(|error| error.to_string())?;
        if event.is_ours() {
            return Ok((EventDigest::default(), None));
        }
        let now = second(at);
        let (first, last) = (event.first().map_or(now, second), event.last().map_or(now, second));
        let is_ahead = first.max(last) > now;
        let last = self.window.rounded(last.min(now));
        // If the clock of the component is ahead, all but the last one may have been at any time before.
        let first = if is_ahead { 0 } else { self.window.rounded(first).min(last) };
        let occurrences = event.occurrences();
        let (dates, between) = match occurrences {
            1 => (vec![(last, 1)], vec![]),
            more if is_ahead => (vec![(last, 1)], vec![(first, last, more - 1)]),
            _ if first == last => (vec![(last, occurrences)], vec![]),
            2 => (vec![(first, 1), (last, 1)], vec![]),
            more => (vec![(first, 1), (last, 1)], vec![(first, last, more - 2)]),
        };
        let open_until = event.series.is_some().then(|| last.saturating_add(FLUSHED_WITHIN));
        Ok((EventDigest { occurrences, dates, between, last, open_until }, None))
    }

    fn succeed(&self, before: &EventDigest, now: &mut EventDigest, at: Timestamp) {
        let more = now.occurrences.saturating_sub(before.occurrences);
        now.between.clone_from(&before.between);
        now.dates.clone_from(&before.dates);
        if now.open_until.is_none() || more == 0 {
            self.window.date(&mut now.dates, more, at);
            return;
        }
        // The last one has the date of the series, and the others are somewhere between it and the one before.
        let (since, until) = (before.last.min(now.last), now.last);
        let dated = if since == until { more } else { 1 };
        self.window.date(&mut now.dates, dated, moment(until));
        now.between.retain(|(_, until, _)| self.window.counts_still(*until, at));
        if more > dated {
            now.between.push((since, until, more - dated));
        }
    }

    fn count(event: &EventDigest, times: i64, counts: &mut Counts) {
        for (date, occurrences) in &event.dates {
            counts.add_dated(COUNT, *date, i64::from(*occurrences) * times);
        }
        // All of them are within the window until the first one leaves it, and none once the last one has.
        for (first, last, occurrences) in &event.between {
            counts.add_dated(SINCE_FIRST, *first, i64::from(*occurrences) * times);
            counts.add_dated(UNTIL_LAST, *last, i64::from(*occurrences) * times);
        }
        if let Some(until) = event.open_until {
            counts.add_dated(UNTIL_LAST, until, UNBOUNDED * times);
        }
    }

    fn left_out(&self, counts: &mut Counts, at: Timestamp) {
        counts.add_dated(UNTIL_LAST, self.window.rounded(second(at)), UNBOUNDED);
    }

    fn forget(&self, counts: &mut Counts, at: Timestamp) {
        for field in [COUNT, SINCE_FIRST, UNTIL_LAST] {
            counts.forget(field, |date| !self.window.counts_still(date, at));
        }
    }

    fn unjudged(&self, _: &Counts) -> i64 {
        0
    }

    fn values(&self, counts: &Counts, now: Timestamp) -> Values {
        let within = |field: &'static str| {
            let dated = counts.dated(field).filter(|(date, _)| self.window.counts_still(*date, now));
            dated.map(|(_, amount)| amount).sum::<i64>().max(0)
        };
        let surely = within(SINCE_FIRST);
        let undated = (within(UNTIL_LAST) - surely).min(UNBOUNDED);
        let mut values = Values::from([(COUNT.to_owned(), FieldValue::Int(within(COUNT) + surely))]);
        if undated > 0 {
            values.insert(UNDATED.to_owned(), FieldValue::Int(undated));
        }
        values
    }

    fn changes_at(&self, counts: &Counts, read: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp> {
        if !read.contains(COUNT) {
            return None;
        }
        let dated = [COUNT, SINCE_FIRST, UNTIL_LAST].into_iter().flat_map(|field| counts.dated(field));
        dated.map(|(date, _)| self.window.counts_until(date)).filter(|due| *due > now).min()
    }

    fn fields(&self) -> String {
        self.fields.clone()
    }

    fn identity(&self) -> Option<String> {
        Some(self.window.0.to_string())
    }
}

const COUNT: &str = "count";
/// Occurrences between the first and the last, dated to the first.
const SINCE_FIRST: &str = "sinceFirst";
/// The same, dated to the last; and those for which there was no room, or which a series may hold back.
const UNTIL_LAST: &str = "untilLast";

impl Events {
    /// The Events of a signal.
    pub(in crate::observe) fn of(events: &signal::Events) -> Self {
        let type_ = events.type_.map(|type_| match type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        });
        let selected = [
            ("reason", events.reason.as_deref()),
            ("type", type_),
            ("involvedObject.kind", events.kind.as_deref()),
        ];
        let selected = selected.into_iter().filter_map(|(field, value)| Some(format!("{field}={}", value?)));
        Self { window: Window(events.window), fields: selected.collect::<Vec<_>>().join(",") }
    }
}

#[cfg(test)]
mod tests;
