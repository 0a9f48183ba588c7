//! Alerts that are sent to Firebreak: what the policy knows of them counts, from its status and from messages that are about to
//! be recorded there.

use firebreak_engine::alerts::{ReceivedAlerts, never_heard};
use firebreak_engine::facts::Reading;
use firebreak_engine::signal::Hearing;
use jiff::Timestamp;

use super::source::unknown;

/// What is known of the alerts of a signal.
pub(super) struct Pushed {
    hearing: Hearing,
    known: Known,
}

enum Known {
    /// Nobody has looked into the status yet.
    NotRead,
    /// Nothing was ever sent.
    Never,
    /// This was sent.
    Sent(ReceivedAlerts),
}

impl Pushed {
    /// Of a signal of which nobody has looked into the status yet.
    pub(super) fn new(hearing: Hearing) -> Self {
        Self { hearing, known: Known::NotRead }
    }

    /// Takes what is known now; none if nothing was ever sent.
    pub(super) fn hear(&mut self, sent: Option<ReceivedAlerts>) {
        self.known = sent.map_or(Known::Never, Known::Sent);
    }

    /// Nobody has looked into the status since.
    pub(super) fn forget(&mut self) {
        self.known = Known::NotRead;
    }

    /// The reading at this moment, and when it changes by time alone.
    pub(super) fn reading(&self, now: Timestamp) -> (Reading, Option<Timestamp>) {
        match &self.known {
            Known::NotRead => (unknown(Reading::NOT_SYNCED, "it has not been read yet"), None),
            Known::Never => (never_heard(), None),
            Known::Sent(sent) => sent.reading(self.hearing, now),
        }
    }
}
