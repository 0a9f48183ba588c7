//! The values before the first loan of the Incident, of which factors and percentages are taken.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, ChangeState, FieldChange};
use crate::path::FieldPath;
use crate::value::same;

/// The value of a field before the first loan of the Incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FirstValue {
    /// The path of the field in the object.
    pub path: FieldPath,
    /// Its value; absent if the field did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub value: Option<Value>,
}

impl Change {
    /// Whether its fields may have had our values in some round: it was lent, or it is not known that it was not.
    pub fn was_lent(&self) -> bool {
        let Some(loan) = self.loan() else { return false };
        let is_first_try = self.round == 1 && loan.applied_at.is_none();
        match self.state {
            ChangeState::Planned | ChangeState::Skipped | ChangeState::Failed => {
                self.round > 0 && !is_first_try
            }
            _ => self.round > 0,
        }
    }

    /// The values before the first loan of the Incident, as far as this change shows them.
    pub fn first_values(&self) -> impl Iterator<Item = FirstValue> + '_ {
        let loan = self.loan().into_iter();
        loan.flat_map(|loan| {
            let is_noted = |field: &&FieldChange| !loan.first.iter().any(|first| first.path == field.path);
            let own = loan.fields.iter().filter(is_noted);
            let own = own.map(|field| FirstValue { path: field.path.clone(), value: field.before.clone() });
            loan.first.iter().cloned().chain(own)
        })
    }

    /// Notes these values for the fields in which something else is before this change.
    pub fn note_first_values(&mut self, values: &[FirstValue]) {
        let Some(loan) = self.work.loan_mut() else { return };
        for field in &loan.fields {
            let first = values.iter().find(|first| first.path == field.path);
            let is_noted = loan.first.iter().any(|noted| noted.path == field.path);
            if let Some(first) = first.filter(|_| !is_noted)
                && !same(&field.path, first.value.as_ref(), field.before.as_ref())
            {
                loan.first.push(first.clone());
            }
        }
    }
}
