//! Alerts that Alertmanager sends: which of them fire, according to the messages so far.
//!
//! What is known is kept in the status of the policy and nowhere else, so a restart and another leader change nothing. Each
//! signal has its own list, because only the labels of an alert say whether it matches, and labels are not kept.
//!
//! - An alert is known by its fingerprint, so a message that comes twice says nothing new.
//! - An alert fires until a message says that it is resolved. Alertmanager repeats what fires; an alert that it has not
//!   repeated for `maxAge` may fire or not, and is no resolved one.
//! - What does not fit, or was left out of a message, may fire. It is known again after `maxAge`, when Alertmanager has
//!   repeated everything that fires and all of it fitted.
//! - An alert that cannot be read may belong to any signal. It is in doubt like one that was not repeated, until `maxAge` after it
//!   was last heard of, or until it is resolved.
//! - A repetition is recorded once in a sixteenth of `maxAge`, so that Alertmanager can repeat as often as it likes. An alert
//!   counts as heard at most so much earlier than it was.

mod news;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::news::Told;
pub use self::news::{AlertState, Extent, Fingerprint, Message, News, NotAFingerprint, SentAlert};
use crate::expression::{FieldValue, MAY_BE_MORE};
use crate::facts::Reading;
use crate::id::digest;
use crate::period::after;
use crate::policy::Severity;
use crate::rules::{Rules, Signal};
use crate::signal::{Alertmanager, AlertsFrom, Hearing, SignalKind};

/// The maximum number of alerts of one signal that fire.
pub const MOST: usize = 256;
/// The maximum number of signals of a policy to which alerts are sent: the status of a policy has room for their alerts.
pub const MOST_SIGNALS: usize = 8;
/// The maximum number of alerts of one signal that cannot be read: with more, hardly any rule has a truth.
const MOST_UNREADABLE: usize = 16;
/// A repetition is recorded once in this part of `maxAge`.
const PARTS: i32 = 16;
/// Characters of the digest of a scope.
const SCOPE: usize = 12;

/// What Alertmanager has told of the alerts of one signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReceivedAlerts {
    /// The name of the signal.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 40)))]
    pub signal: String,
    /// Which alerts belong to the signal and how they are classified, as a short digest. After an edit of the signal, what was
    /// told before counts no more.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub scope: String,
    /// When Alertmanager was last heard, to within a sixteenth of `maxAge`.
    pub heard_at: Timestamp,
    /// The alerts that fire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256)))]
    pub firing: Vec<FiringAlert>,
    /// Alerts that fire and cannot be read, so that they may belong to the signal or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub unreadable: Vec<FiringAlert>,
    /// Why there may be others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<PartialAlerts>,
}

/// An alert that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FiringAlert {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// Its level; absent if its label has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Severity>,
    /// When Alertmanager last said that it fires, to within a sixteenth of `maxAge`.
    pub heard_at: Timestamp,
}

/// Since when, and why, other alerts than those that are known may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PartialAlerts {
    /// Why.
    pub reason: PartialReason,
    /// When this was last the case.
    pub at: Timestamp,
}

/// Why other alerts than those that are known may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PartialReason {
    /// More than 256 fire.
    TooManyAlerts,
    /// Alertmanager has left alerts out of a message.
    TruncatedAlerts,
    /// A message was longer than the operator reads.
    OversizedMessage,
    /// The signal was edited while alerts fired, and only their labels say whether they still belong to it.
    SignalEdited,
    /// The first message came while an Incident was open, and what fired before may not have been repeated since.
    HeardSinceShortly,
}

/// Whether an Incident of the policy is open. It must not end because of what nobody has been told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emergency {
    /// It is.
    Open,
    /// None is.
    None,
}

impl PartialReason {
    /// All reasons, in the order in which they are documented.
    pub const ALL: &'static [Self] = &[
        Self::TooManyAlerts,
        Self::TruncatedAlerts,
        Self::OversizedMessage,
        Self::SignalEdited,
        Self::HeardSinceShortly,
    ];

    /// The reason of the reading.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyAlerts => "TooManyAlerts",
            Self::TruncatedAlerts => "TruncatedAlerts",
            Self::OversizedMessage => "OversizedMessage",
            Self::SignalEdited => "SignalEdited",
            Self::HeardSinceShortly => "HeardSinceShortly",
        }
    }

    /// For people.
    fn explain(self, max_age: SignedDuration) -> String {
        let again = format!("it is known again {max_age:#} (maxAge) after this was last the case");
        match self {
            Self::TooManyAlerts => {
                format!(
                    "more than {MOST} alerts fire, or more than {MOST_UNREADABLE} cannot be read; narrow receive.matchers, or send fewer alerts; {again}"
                )
            }
            Self::TruncatedAlerts => format!(
                "Alertmanager has left alerts out of a message; set max_alerts of its webhook to 0; {again}"
            ),
            Self::OversizedMessage => format!(
                "a message of Alertmanager was too long to be read; group alerts by more labels, or send fewer; {again}"
            ),
            Self::SignalEdited => format!(
                "the signal was edited, and nobody knows whether the alerts that fired still belong to it; {again}"
            ),
            Self::HeardSinceShortly => format!(
                "the signal is new and an Incident is open, and alerts that fired before may not have been repeated yet; \
                 {again}"
            ),
        }
    }
}

/// The scope of a signal to which alerts are sent; none if it is asked.
fn scope_of(kind: &Alertmanager) -> Option<String> {
    let AlertsFrom::Sent { matchers } = &kind.from else { return None };
    let levels = kind.severities.iter().map(|(value, level)| format!("{value}={level}"));
    let texts = matchers.iter().map(|matcher| matcher.text().to_owned());
    let parts: Vec<String> = [kind.severity_label.clone()].into_iter().chain(texts).chain(levels).collect();
    let mut digest = digest(&parts.iter().map(String::as_str).collect::<Vec<_>>());
    digest.truncate(SCOPE);
    Some(digest)
}

/// What is known of the alerts of a policy after this news, by what was recorded before. What no signal of the policy
/// needs any more is left out.
pub fn take_in(
    recorded: &[ReceivedAlerts],
    rules: &Rules,
    news: &BTreeMap<String, News>,
    emergency: Emergency,
    now: Timestamp,
) -> Vec<ReceivedAlerts> {
    let of_signal = |signal: &Signal| {
        let (SignalKind::Alertmanager(kind), Some(hearing)) = (&signal.kind, signal.hearing) else {
            return None;
        };
        let scope = scope_of(kind)?;
        let before = recorded.iter().find(|known| known.signal == signal.name);
        let news = news.get(&signal.name).filter(|news| news.scope == scope);
        ReceivedAlerts::follow(before, signal, scope, news, hearing, emergency, now)
    };
    rules.signals.iter().filter_map(of_signal).collect()
}

impl ReceivedAlerts {
    /// What is known of a signal after this news.
    fn follow(
        before: Option<&Self>,
        signal: &Signal,
        scope: String,
        news: Option<&News>,
        hearing: Hearing,
        emergency: Emergency,
        now: Timestamp,
    ) -> Option<Self> {
        let step = hearing.max_age / PARTS;
        // The API server and people need no fractions of a second.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut known = match before {
            Some(before) if before.scope == scope => before.clone(),
            Some(before) => before.edited(scope, emergency, now),
            None => {
                news?;
                let signal = signal.name.clone();
                let reason = PartialReason::HeardSinceShortly;
                let partial = (emergency == Emergency::Open).then_some(PartialAlerts { reason, at: now });
                Self { signal, scope, heard_at: now, firing: Vec::new(), unreadable: Vec::new(), partial }
            }
        };
        let counts_still = |at: Timestamp| after(at, hearing.max_age) > now;
        known.partial = known.partial.filter(|partial| counts_still(partial.at));
        known.unreadable.retain(|alert| counts_still(alert.heard_at));
        if let Some(news) = news {
            known.hear(news, step, now);
        }
        Some(known)
    }

    /// What is known when the signal has another scope from now on.
    fn edited(&self, scope: String, emergency: Emergency, now: Timestamp) -> Self {
        let is_clear = [&self.firing, &self.unreadable].into_iter().all(Vec::is_empty)
            && self.partial.is_none()
            && emergency == Emergency::None;
        let edited = PartialAlerts { reason: PartialReason::SignalEdited, at: now };
        Self { scope, firing: Vec::new(), partial: (!is_clear).then_some(edited), ..self.clone() }
    }

    fn hear(&mut self, news: &News, step: SignedDuration, now: Timestamp) {
        let is_due = |at: Timestamp| at > now || after(at, step) <= now;
        if is_due(self.heard_at) {
            self.heard_at = now;
        }
        let told = |known: &FiringAlert| news.alerts.get(&known.fingerprint);
        self.firing.retain(|known| told(known) != Some(&Told::Resolved));
        self.unreadable.retain(|known| matches!(told(known), None | Some(Told::Unreadable)));
        let mut missed = match news.extent {
            Extent::Whole => None,
            Extent::Truncated => Some(PartialReason::TruncatedAlerts),
            Extent::Oversized => Some(PartialReason::OversizedMessage),
        };
        let (mut fires, mut is_unreadable) = (places(&self.firing), places(&self.unreadable));
        for (fingerprint, told) in &news.alerts {
            let (level, list, at, most) = match *told {
                Told::Resolved => continue,
                Told::Firing(level) => (level, &mut self.firing, &mut fires, MOST),
                Told::Unreadable => match fires.get(fingerprint) {
                    // It was read before, and its level cannot have changed for the better.
                    Some(at) => (self.firing[*at].level, &mut self.firing, &mut fires, MOST),
                    None => (None, &mut self.unreadable, &mut is_unreadable, MOST_UNREADABLE),
                },
            };
            match at.get(fingerprint) {
                Some(at) => {
                    let known = &mut list[*at];
                    known.level = level;
                    if is_due(known.heard_at) {
                        known.heard_at = now;
                    }
                }
                None if list.len() < most => {
                    at.insert(*fingerprint, list.len());
                    list.push(FiringAlert { fingerprint: *fingerprint, level, heard_at: now });
                }
                None => missed = Some(PartialReason::TooManyAlerts),
            }
        }
        if let Some(reason) = missed
            && self.partial.is_none_or(|partial| partial.reason != reason || is_due(partial.at))
        {
            self.partial = Some(PartialAlerts { reason, at: now });
        }
    }

    /// The reading of the signal, and when it changes by time alone.
    pub fn reading(&self, hearing: Hearing, now: Timestamp) -> (Reading, Option<Timestamp>) {
        let until = |at: Timestamp| after(at, hearing.max_age);
        let partial = self.partial.filter(|partial| until(partial.at) > now);
        let ends = [Some(self.heard_at), partial.map(|partial| partial.at)].into_iter().flatten();
        let ends = ends.chain(self.firing.iter().chain(&self.unreadable).map(|alert| alert.heard_at));
        let changes_at = ends.map(until).filter(|end| *end > now).min();
        let max_age = hearing.max_age;
        let unknown = |reason: &str, detail: String| Reading::Unknown { reason: reason.to_owned(), detail };
        let reading = if until(self.heard_at) <= now {
            let detail = format!(
                "Alertmanager has sent nothing for {max_age:#} (maxAge); see whether it can still reach the operator"
            );
            unknown(STALE, detail)
        } else if let Some(partial) = partial {
            unknown(partial.reason.name(), partial.reason.explain(max_age))
        } else {
            Reading::Known { values: self.values(|alert| until(alert.heard_at) > now) }
        };
        (reading, changes_at)
    }

    /// The numbers of alerts that fire. One that was neither repeated nor resolved for too long may fire or not: it may be
    /// silenced, and may have ended meanwhile. One that cannot be read may have any level, or belong to other signals only.
    fn values(&self, is_fresh: impl Fn(&FiringAlert) -> bool) -> BTreeMap<String, FieldValue> {
        let mut values = BTreeMap::new();
        for (level, (field, doubtful)) in LEVELS.into_iter().zip(MAY_BE_MORE) {
            let (fresh, stale) = self
                .firing
                .iter()
                .filter(|alert| level.is_none() || alert.level == level)
                .partition::<Vec<&FiringAlert>, _>(|alert| is_fresh(alert));
            let unreadable = self.unreadable.iter().filter(|alert| is_fresh(alert)).count();
            let value = |alerts: usize| FieldValue::Int(i64::try_from(alerts).unwrap_or(i64::MAX));
            values.insert(field.to_owned(), value(fresh.len()));
            if stale.len() + unreadable > 0 {
                values.insert(doubtful.to_owned(), value(stale.len() + unreadable));
            }
        }
        values
    }
}

/// Where each alert is in a list.
fn places(alerts: &[FiringAlert]) -> BTreeMap<Fingerprint, usize> {
    alerts.iter().enumerate().map(|(at, known)| (known.fingerprint, at)).collect()
}

/// The levels that are counted, in the order of [`MAY_BE_MORE`]; none is all.
const LEVELS: [Option<Severity>; 5] =
    [None, Some(Severity::P0), Some(Severity::P1), Some(Severity::P2), Some(Severity::P3)];

/// What was told is too old.
const STALE: &str = "Stale";

/// The reading of a signal to which nothing was ever sent.
pub fn never_heard() -> Reading {
    let detail = "Alertmanager has sent nothing to this policy yet: the operator must run with --alerts-listen, and a receiver \
                  of Alertmanager must have the policy's URL";
    Reading::Unknown { reason: "NotHeard".to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
