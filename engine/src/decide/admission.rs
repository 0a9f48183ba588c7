//! What admission or the schema of a kind stores in place of what was sent: in the write that applies a change, and in
//! the one that reverts it. Such a value is nobody's edit.

use serde_json::Value;

use super::Deciding;
use crate::change::Change;
use crate::path::FieldPath;
use crate::undo;

impl Deciding<'_> {
    /// Names the fields in which the API server stored another value than was sent.
    pub(super) fn tell_of_admission(&mut self, change: &Change, fields: &[FieldPath]) {
        if fields.is_empty() {
            return;
        }
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        let message = format!(
            "{}: admission (a webhook, a policy or the schema of the kind) stored another value than was sent: {}",
            change.target,
            fields.join(", ")
        );
        self.happen("StoredDifferently", &message);
    }

    /// Cedes the fields in which the reply to the revert does not have the old value. Nobody else has written in between.
    pub(super) fn hear_of_admission(&mut self, change: &mut Change, object: &Value) {
        let is_lent = undo::loan(object, &change.id, &self.facts.incident).is_some();
        let is_reverted = !is_lent || self.is_half_returned(change, object);
        if is_reverted && !self.is_kept(change) {
            let ceded = undo::cede_to_admission(object, change);
            self.tell_of_admission(change, &ceded);
        }
    }
}
