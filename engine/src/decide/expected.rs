//! What the policy expects of its signals, as far as the Incident tells of it.

use super::Deciding;
use crate::expected::EXPECTED_ACCEPTED;

impl Deciding<'_> {
    /// Tells which numbers of objects are no longer missed, since the policy accepted what there is.
    pub(super) fn tell_of_accepted(&mut self) {
        let told = self.next.expected_accepted_at.or(self.next.opened_at);
        let accepted = self.facts.expected.iter().filter_map(|it| Some((&it.signal, it.accepted.as_ref()?)));
        let mut news: Vec<_> = accepted.filter(|(_, it)| told.is_none_or(|told| it.at > told)).collect();
        news.sort_by_key(|(_, it)| it.at);
        for (signal, it) in news {
            self.next.expected_accepted_at = Some(it.at);
            self.happen(EXPECTED_ACCEPTED, &it.explain(signal));
        }
    }
}
