//! What a person has approved of a change, so that a later round of it asks about everything else.

use serde_json::Value;

use super::{Change, FieldChange};
use crate::id::digest;
use crate::path::FieldPath;
use crate::value::canonical;

/// The length of a digest in characters: 128 bits.
const LENGTH: usize = 32;

impl Change {
    /// Notes that a person has approved the change as it is planned.
    pub fn approve(&mut self) {
        let Some(loan) = self.work.loan_mut() else { return };
        loan.approved = loan.fields.iter().map(digest_of).collect();
    }

    /// Notes that nobody was asked about the change as it is planned.
    pub fn approve_nothing(&mut self) {
        if let Some(loan) = self.work.loan_mut() {
            loan.approved.clear();
        }
    }

    /// Whether a person has approved an earlier round of the change.
    pub fn was_approved(&self) -> bool {
        self.loan().is_some_and(|loan| !loan.approved.is_empty())
    }

    /// The first field of which nobody has approved these values.
    pub fn beyond_approval(&self) -> Option<&FieldPath> {
        let loan = self.loan()?;
        let is_approved = |field: &&FieldChange| loan.approved.contains(&digest_of(field));
        loan.fields.iter().find(|field| !is_approved(field)).map(|field| &field.path)
    }
}

fn digest_of(field: &FieldChange) -> String {
    let value = |value: &Option<Value>| canonical(&field.path, value.as_ref()).to_string();
    let mut digest = digest(&[&field.path.to_string(), &value(&field.before), &value(&field.after)]);
    digest.truncate(LENGTH);
    digest
}
