//! What the sick objects have in common, for the people who look for the cause.

use super::Deciding;
use crate::common::{Compared, compare};
use crate::expression::SignalShape;
use crate::incident::IncidentState;
use crate::signal::count;

impl Deciding<'_> {
    /// Notes what the objects have in common that the signals report as sick, while a rule holds or a person says that
    /// there is an emergency. It stays as it was when too few are sick to tell.
    pub(super) fn note_common(&mut self) {
        let Some(rules) = self.rules.filter(|_| self.next.severity.is_some()) else { return };
        if !self.assessment.holds() && self.facts.intent.pinned.is_none() {
            return;
        }
        let reason = self.next.severity_reason.as_ref();
        let rule = rules.severity.iter().find(|rule| Some(&rule.reason) == reason);
        let is_read = |signal: &String| rule.is_none_or(|rule| rule.reads().contains(signal));
        let read = rules.signals.iter().filter(|signal| is_read(&signal.name));
        let compared = read.filter_map(|signal| {
            let census = self.facts.censuses.get(&signal.name)?;
            let values = self.assessment.values.get(&signal.name)?;
            let missing = count(values, SignalShape::MISSING).unwrap_or_default();
            Some(compare(signal.kind.name(), census, usize::try_from(missing).unwrap_or_default()))
        });
        // What is shared tells more than that nothing is.
        match compared.max() {
            None | Some(Compared::TooFew) => {}
            Some(Compared::Nothing) => (self.next.common, self.next.common_labels) = (None, Vec::new()),
            Some(Compared::Unclear { text }) => {
                (self.next.common, self.next.common_labels) = (Some(text), Vec::new());
            }
            Some(Compared::Shared { labels, text }) => {
                (self.next.common, self.next.common_labels) = (Some(text), labels);
            }
        }
    }
}

/// Keeps the old text if only numbers have changed, so that nothing is written for them.
pub(super) fn keep_common(old: &IncidentState, new: &mut IncidentState) {
    if old.common.is_some() == new.common.is_some() && old.common_labels == new.common_labels {
        new.common.clone_from(&old.common);
    }
}
