//! Whether a revert that was sent may have removed the record from the object, or may still do so.

use super::{Change, ChangeState};
use crate::id::ResourceVersion;

impl Change {
    /// Whether a write of Firebreak may have removed the record. If not, someone else did.
    pub fn may_have_removed_record(&self) -> bool {
        self.state == ChangeState::Reverting && self.sent_at.is_some()
    }

    /// The newest revert has not removed the record, as its answer says. Neither has an earlier one, unless it carried the
    /// same version and had no clear answer.
    pub fn return_did_nothing(&mut self) {
        if !self.loan().is_some_and(|loan| loan.may_be_late) {
            self.sent_at = None;
        }
    }

    /// A revert with this version is about to be sent. An earlier one with another version can take effect no more.
    pub(super) fn note_what_may_be_late(&mut self, base: &ResourceVersion) {
        let is_repeated = self.may_have_removed_record() && self.base() == Some(base);
        if let Some(loan) = self.work.loan_mut() {
            loan.may_be_late = is_repeated;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChangeState, FieldChange};
    use super::*;
    use crate::change::Change;
    use crate::id::{ChangeId, TargetId};
    use jiff::Timestamp;

    fn version(text: &str) -> ResourceVersion {
        ResourceVersion::try_from(text.to_owned()).unwrap()
    }

    fn returning() -> Change {
        let target = TargetId {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "serving".to_owned(),
            name: "a".to_owned(),
            uid: "uid-a".to_owned(),
        };
        let id = ChangeId::of("incident", "one", "uid-a");
        let mut change = Change::planned(id, "one", target, Vec::<FieldChange>::new());
        change.state = ChangeState::Applied;
        change.begin_return(version("1"), Timestamp::UNIX_EPOCH);
        change
    }

    #[test]
    fn a_clear_answer_counts_unless_an_earlier_revert_of_the_same_version_had_none() {
        for (next, may_have) in [("1", true), ("2", false)] {
            let mut change = returning();
            assert!(change.may_have_removed_record(), "it was sent");
            change.begin_return(version(next), Timestamp::UNIX_EPOCH); // the first one had no clear answer
            change.return_did_nothing();
            assert_eq!(change.may_have_removed_record(), may_have, "{next}");
        }
        let mut change = returning();
        change.return_did_nothing();
        assert!(!change.may_have_removed_record());
        change.begin_return(version("1"), Timestamp::UNIX_EPOCH);
        change.return_did_nothing();
        assert!(!change.may_have_removed_record(), "both had a clear answer");
    }
}
