//! What a message of Alertmanager says about the signals of a policy.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::scope_of;
use crate::id::digest;
use crate::policy::Severity;
use crate::rules::Rules;
use crate::signal::{Alertmanager, AlertsFrom, SignalKind};

/// The identity of an alert, which Alertmanager derives from all of its labels: 64 bits, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(u64);

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 16 hexadecimal digits")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let is_one = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_one.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(NotAFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(text: String) -> Result<Self, NotAFingerprint> {
        text.parse()
    }
}

impl Fingerprint {
    /// The identity of an alert of which only the text is known.
    pub fn of_text(text: &str) -> Self {
        let digest = digest(&[text]);
        Self(digest.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Fingerprint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fingerprint".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 16, "pattern": "^[0-9a-f]{16}$"})
    }
}

/// One message of Alertmanager.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its alerts, in their order.
    pub alerts: Vec<SentAlert>,
    /// Whether it has all alerts of its group.
    pub extent: Extent,
}

/// Whether a message has all alerts of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It has.
    Whole,
    /// Alertmanager has left some out, see its `max_alerts`.
    Truncated,
    /// It was too long to be read, so none of its alerts is known.
    Oversized,
}

/// One alert of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct SentAlert {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// Whether it fires.
    pub state: AlertState,
    /// Its labels; none if they cannot be read, so that nobody knows to which signals it belongs.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It does.
    Firing,
    /// It does not any more.
    Resolved,
}

/// What is new for one signal. It belongs to the signal with this scope and no other.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// See [`super::ReceivedAlerts::scope`].
    pub(super) scope: String,
    /// The alerts of the signal, each with its last state.
    pub(super) alerts: BTreeMap<Fingerprint, Told>,
    pub(super) extent: Extent,
}

/// The last state of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It fires, with this level if it has one.
    Firing(Option<Severity>),
    /// It fires, and may belong to the signal or not.
    Unreadable,
    /// It does not.
    Resolved,
}

impl News {
    /// What a message says, by the name of the signal. Signals to which nothing is sent are left out. A message without an
    /// alert that matches is news, too: Alertmanager was heard.
    pub fn of(message: &Message, rules: &Rules) -> BTreeMap<String, Self> {
        let of_signal = |kind: &Alertmanager| {
            let AlertsFrom::Sent { matchers } = &kind.from else { return None };
            let told = message.alerts.iter().filter_map(|alert| {
                let told = match (alert.state, &alert.labels) {
                    (_, Some(labels)) if !matchers.iter().all(|one| one.matches(labels)) => return None,
                    // If it never belonged to the signal, nothing ends.
                    (AlertState::Resolved, _) => Told::Resolved,
                    (AlertState::Firing, Some(labels)) => Told::Firing(kind.level(labels)),
                    (AlertState::Firing, None) => Told::Unreadable,
                };
                Some((alert.fingerprint, told))
            });
            Some(Self { scope: scope_of(kind)?, alerts: told.collect(), extent: message.extent })
        };
        let named = rules.signals.iter().filter_map(|signal| match &signal.kind {
            SignalKind::Alertmanager(kind) => Some((signal.name.clone(), of_signal(kind)?)),
            SignalKind::Http(_)
            | SignalKind::Metrics(_)
            | SignalKind::Nodes(_)
            | SignalKind::Objects(_)
            | SignalKind::Events(_)
            | SignalKind::Pods(_)
            | SignalKind::Prometheus(_)
            | SignalKind::Workloads(_) => None,
        });
        named.collect()
    }

    /// Adds what came later.
    pub fn absorb(&mut self, later: Self) {
        if self.scope != later.scope {
            *self = later;
            return;
        }
        self.alerts.extend(later.alerts);
        if later.extent != Extent::Whole {
            self.extent = later.extent;
        }
    }

    /// How many alerts it names.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }
}
