//! How many objects of a signal are expected, without anybody saying so: the highest number that was there at one time
//! within a window.
//!
//! The window is kept in the status of the policy, as a staircase of peaks: each number that was there, and when it was
//! there last, the highest and oldest first. The last peak is the present number. It is there as long as nothing lower is
//! recorded, so a number that stays the same is written once. A loss during the downtime of the operator is dated to the
//! moment when somebody sees it.
//!
//! - A rise is recorded at once, a fall at most once in a bucket of a fifteenth of the window, and a peak leaves the
//!   window only at the end of a bucket.
//! - The window stands still while the number is not known, and while a rule that reads the signal is true. Otherwise
//!   a loss would end by itself while it lasts.
//! - An object that somebody parks is not expected any more: the peaks fall with it, but at most as far as the present
//!   number falls with it. One that is new, was sick all along or is being deleted is not parked.
//! - It never stands still for ever because of a rule: a day after the loss, the present number is accepted. Only the time
//!   in which somebody watched and the number was known counts for that day.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::period::{Period, after};
use crate::severity::earliest;

/// How long the highest number counts, unless the signal says otherwise.
pub const DEFAULT_WITHIN: Period = Period::seconds(15 * 60);
/// The longest that it can count.
pub const LONGEST_WITHIN: Period = Period::seconds(24 * 3600);
/// The shortest that it can count.
pub const SHORTEST_WITHIN: Period = Period::seconds(1);
/// How long after a loss the present number is accepted.
pub const ACCEPTED_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// The entry of the timeline, and the reason of the Event, when a number is accepted.
pub const EXPECTED_ACCEPTED: &str = "ExpectedAccepted";
/// Buckets of a window.
const BUCKETS: i64 = 15;
/// The maximum number of peaks.
const MOST: usize = 16;

/// The expected number of objects of a signal that sets no `expect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// The name of the signal.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 40)))]
    pub signal: String,
    /// Which objects the signal counts, as a short digest. Other objects under the same name begin anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub scope: Option<String>,
    /// The numbers that were there within `expectWithin`, the highest and oldest first. The last one is the present number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub peaks: Vec<Peak>,
    /// How many were off on purpose when that was last noted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle: i64,
    /// How many others were there at that time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub there: i64,
    /// When that was last noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted_at: Option<Timestamp>,
    /// Since when the window stands still: the number is not known, or a rule that reads the signal is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_since: Option<Timestamp>,
    /// Since when the number is not known after a loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<Timestamp>,
    /// Since when fewer are there than expected while such a rule is true, without the time in which nobody watched or the
    /// number was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Timestamp>,
    /// The number that was accepted last, by a person or after a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// The expected number when this was last written. Earlier releases have stored nothing else.
    #[serde(default)]
    pub value: i64,
}

/// A number that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Peak {
    /// How many.
    pub value: i64,
    /// When so many were last seen. Of the present number: since when so many are there.
    pub last_seen: Timestamp,
}

/// A number that is expected from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub value: i64,
    /// The request of a person, by its time; none if it was accepted after a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Timestamp>,
}

impl Accepted {
    /// For people.
    pub fn explain(&self, signal: &str) -> String {
        let value = self.value;
        match self.request {
            Some(_) => format!("signal {signal}: a person expects {value} from now on"),
            None => format!(
                "signal {signal}: fewer were there than expected for a day, so {value} are expected from now on. If more should \
                 be there, set expect"
            ),
        }
    }
}

/// What a person expects of a signal, as `firebreak expect` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectRequest {
    /// How many.
    pub value: i64,
    /// When. It counts once, and only if it is newer than the policy and the last request that was counted.
    pub at: Timestamp,
}

impl ExpectRequest {
    /// The highest number that a person can expect.
    pub const MOST: i64 = 1_000_000;
}

/// What is seen of a signal in one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// How many are there; none if that is not known.
    pub present: Option<i64>,
    /// How many others are off on purpose.
    pub idle: i64,
    /// The clock of a rule that reads the signal runs, or such a rule holds, or it is Unknown after a loss.
    pub kept_by_rule: bool,
    /// A change of the policy's response is in force.
    pub in_force: bool,
    /// What a person has asked for and was not counted yet.
    pub asked: Option<&'a ExpectRequest>,
    /// How long the highest number counts.
    pub within: SignedDuration,
    /// The moment.
    pub now: Timestamp,
}

impl Sight<'_> {
    /// Nothing is seen at this moment.
    pub fn at(now: Timestamp) -> Self {
        Self {
            present: None,
            idle: 0,
            kept_by_rule: false,
            in_force: false,
            asked: None,
            within: DEFAULT_WITHIN.length(),
            now,
        }
    }
}

impl Expected {
    /// Of a signal of which nothing was seen.
    pub fn of(signal: &str) -> Self {
        Self { signal: signal.to_owned(), ..Self::default() }
    }

    /// Whether this is about the objects that the signal counts now. Earlier releases have not stored that.
    pub fn is_of(&self, scope: &str) -> bool {
        self.scope.as_deref().is_none_or(|own| own == scope)
    }

    /// The highest number within the window, while so many are there and so many others are off on purpose; none if
    /// nothing was ever there.
    pub fn highest(
        &self,
        within: SignedDuration,
        present: Option<i64>,
        idle: i64,
        now: Timestamp,
    ) -> Option<i64> {
        let clock = self.clock(now);
        let last = self.peaks.len().checked_sub(1);
        let counts = |at: usize, peak: &Peak| Some(at) == last || leaves_at(peak, within) > clock;
        let counted = self.peaks.iter().enumerate().filter(|(at, peak)| counts(*at, peak));
        let parked = present.map(|present| (present, self.parked(present, idle)));
        let highest = counted.map(|(_, peak)| without(peak.value, parked)).max();
        // Earlier releases have stored the objects that were off together with the others.
        highest.or(Some(self.value - idle).filter(|value| *value > 0 && self.peaks.is_empty()))
    }

    /// When the highest number changes by time alone.
    pub fn changes_at(&self, within: SignedDuration) -> Option<Timestamp> {
        let oldest = self.peaks.first().filter(|_| self.peaks.len() > 1 && self.frozen_since.is_none());
        oldest.map(|peak| leaves_at(peak, within))
    }

    /// The same after nobody has watched for this long: the window did not age.
    #[must_use]
    pub fn after_absence(&self, unwatched: SignedDuration, now: Timestamp) -> Self {
        let mut expected = self.clone();
        // The present number does not age, so a restart writes nothing about one that stays the same.
        if expected.frozen_since.is_none() && expected.peaks.len() > 1 {
            expected.shift(unwatched, now);
        }
        if expected.blind_since.is_none() {
            expected.put_off(unwatched, now);
        }
        expected
    }

    /// Takes in what is seen. Returns when to look again although nothing changes.
    pub fn follow(&mut self, sight: &Sight<'_>) -> Option<Timestamp> {
        let Sight { within, now, .. } = *sight;
        self.adopt(sight);
        self.freeze_or_thaw(sight);
        if let Some(asked) = sight.asked {
            self.accept(asked.value, Some(asked.at), sight);
        }
        let clock = self.clock(now);
        while self.peaks.len() > 1 && leaves_at(&self.peaks[0], within) <= clock {
            self.peaks.remove(0);
        }
        let note_at = sight.present.and_then(|present| self.note(present, sight));
        let fall_at = sight.present.and_then(|present| self.record(present, sight, clock));
        self.note_loss(sight);
        if let (Some(until), Some(present)) = (self.lost_until(), sight.present)
            && until <= now
            && !sight.in_force
        {
            self.accept(present, None, sight);
        }
        if sight.present.is_some() || !self.peaks.is_empty() {
            self.value = self.highest(within, None, self.idle, now).unwrap_or_default();
        }
        let moving = self.frozen_since.is_none();
        let due = [self.changes_at(within), note_at, fall_at.filter(|_| moving), self.lost_until()];
        due.into_iter().flatten().filter(|due| *due > now).map(Some).fold(None, earliest)
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.peaks.is_empty() && self.accepted.is_none() && self.value == 0
    }

    /// Goes on from what an earlier release has stored.
    fn adopt(&mut self, sight: &Sight<'_>) {
        if self.peaks.is_empty()
            && let Some(present) = sight.present
            && let Some(value) = self.highest(sight.within, None, sight.idle, sight.now)
        {
            self.peaks = vec![Peak { value, last_seen: sight.now }];
            (self.there, self.idle, self.noted_at) = (present, sight.idle, Some(sight.now));
        }
    }

    /// When the present number is accepted; none while there is no loss, or the number is not known.
    fn lost_until(&self) -> Option<Timestamp> {
        self.lost_since.filter(|_| self.blind_since.is_none()).map(|since| after(since, ACCEPTED_AFTER))
    }

    /// The time of the window.
    fn clock(&self, now: Timestamp) -> Timestamp {
        self.frozen_since.map_or(now, |since| since.min(now))
    }

    fn freeze_or_thaw(&mut self, sight: &Sight<'_>) {
        let freezes = !self.peaks.is_empty() && (sight.present.is_none() || sight.kept_by_rule);
        match (self.frozen_since, freezes) {
            (None, true) => self.frozen_since = Some(sight.now),
            (Some(since), false) => {
                self.frozen_since = None;
                self.shift(sight.now.duration_since(since), sight.now);
            }
            (None, false) | (Some(_), true) => {}
        }
        match self.blind_since {
            None if sight.present.is_none() && self.lost_since.is_some() => {
                self.blind_since = Some(sight.now);
            }
            Some(since) if sight.present.is_some() => {
                self.blind_since = None;
                self.put_off(sight.now.duration_since(since), sight.now);
            }
            None | Some(_) => {}
        }
    }

    /// This time does not count for the day after a loss.
    fn put_off(&mut self, length: SignedDuration, now: Timestamp) {
        if length > SignedDuration::ZERO {
            self.lost_since = self.lost_since.map(|since| after(since, length).min(now));
        }
    }

    /// The window did not age for this long.
    fn shift(&mut self, length: SignedDuration, now: Timestamp) {
        if length > SignedDuration::ZERO {
            self.peaks.iter_mut().for_each(|peak| peak.last_seen = after(peak.last_seen, length).min(now));
        }
    }

    /// Records the present number. A fall that is not recorded yet is due at the time that is returned.
    fn record(&mut self, present: i64, sight: &Sight<'_>, clock: Timestamp) -> Option<Timestamp> {
        let now = Peak { value: present, last_seen: clock };
        let within = sight.within;
        let is_full = self.peaks.len() >= MOST;
        match self.peaks.last_mut() {
            None if present > 0 => self.peaks.push(now),
            Some(last) if present > last.value => {
                self.peaks.retain(|peak| peak.value > present);
                self.peaks.push(now);
            }
            Some(last) if present < last.value => {
                let due = bucket_end(last.last_seen, within);
                if due > clock || is_full {
                    return Some(due.max(bucket_end(clock, within)));
                }
                last.last_seen = clock;
                self.peaks.push(now);
            }
            None | Some(_) => {}
        }
        None
    }

    /// How many were parked since that was last noted: at most as many as are missing among the others.
    fn parked(&self, present: i64, idle: i64) -> i64 {
        (idle - self.idle).min(self.there - present).max(0)
    }

    /// Notes how many are there and how many are off on purpose. If that is not due yet, it is at the time that is
    /// returned: at once if more are there or fewer are off, else once in a bucket. The window may stand still meanwhile.
    fn note(&mut self, present: i64, sight: &Sight<'_>) -> Option<Timestamp> {
        if (present, sight.idle) == (self.there, self.idle) {
            return None;
        }
        let due = self.noted_at.map(|at| bucket_end(at, sight.within)).filter(|due| *due > sight.now);
        if due.is_some() && present <= self.there && sight.idle >= self.idle {
            return due;
        }
        let parked = Some((present, self.parked(present, sight.idle)));
        (self.there, self.idle, self.noted_at) = (present, sight.idle, Some(sight.now));
        self.peaks.iter_mut().for_each(|peak| peak.value = without(peak.value, parked));
        // The newest of equal ones stays.
        self.peaks.reverse();
        self.peaks.dedup_by_key(|peak| peak.value);
        self.peaks.reverse();
        None
    }

    fn note_loss(&mut self, sight: &Sight<'_>) {
        let Some(present) = sight.present else { return };
        let is_lost = self
            .highest(sight.within, sight.present, sight.idle, sight.now)
            .is_some_and(|highest| present < highest);
        self.lost_since = match sight.kept_by_rule && is_lost {
            true => self.lost_since.or(Some(sight.now)),
            false => None,
        };
    }

    /// From now on this number is expected, whatever was there before.
    fn accept(&mut self, value: i64, request: Option<Timestamp>, sight: &Sight<'_>) {
        let now = sight.now;
        self.peaks = vec![Peak { value, last_seen: now }];
        self.frozen_since = self.frozen_since.map(|_| now);
        (self.lost_since, self.blind_since) = (None, None);
        self.accepted = Some(Accepted { at: now, value, request });
        if let Some(present) = sight.present {
            (self.there, self.idle, self.noted_at) = (present, sight.idle, Some(now));
        }
    }
}

/// This number without those that were parked, of which as many as are present stay.
fn without(value: i64, parked: Option<(i64, i64)>) -> i64 {
    parked.map_or(value, |(present, parked)| (value - parked).max(value.min(present)))
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// When a peak leaves the window: at the end of a bucket.
fn leaves_at(peak: &Peak, within: SignedDuration) -> Timestamp {
    after(bucket_end(peak.last_seen, within), within)
}

/// The end of the bucket of this moment.
fn bucket_end(at: Timestamp, within: SignedDuration) -> Timestamp {
    let length = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).saturating_div(BUCKETS).max(1);
    let past = at.as_millisecond().rem_euclid(length);
    let start = Timestamp::from_millisecond(at.as_millisecond().saturating_sub(past)).unwrap_or(at);
    after(start, SignedDuration::from_millis(length))
}

#[cfg(test)]
mod tests;
