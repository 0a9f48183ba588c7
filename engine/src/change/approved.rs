//! What a person has approved of a change, so that a later round of it asks about everything else.

use serde::{Deserialize, Serialize};

use super::{Change, FieldChange};
use crate::id::digest;
use crate::path::FieldPath;
use crate::value::canonical;

/// The length of a digest in characters: 128 bits.
const LENGTH: usize = 32;

/// The fields of a change as a person has approved them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Approved {
    /// A digest of each field with its values before and after.
    #[cfg_attr(feature = "schema", schemars(length(max = 64), inner(length(max = 32))))]
    pub fields: Vec<String>,
    /// The number of objects that the step might have changed without approval at that time. While the guardrails allow
    /// as many, a change that was approved above them is applied again.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 65_535)))]
    pub allowed: u16,
    /// The number of objects that the step changes with this plan, as the person saw it. What was approved beside others
    /// is not applied again beside more. If it is absent, as many as `allowed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 65_535)))]
    pub in_all: Option<u16>,
}

/// How many objects a step may change, and changes with a plan that a person approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Without an approval, by the guardrails.
    pub allowed: u16,
    /// With the plan.
    pub in_all: u16,
}

impl Change {
    /// Notes that a person has approved the change as it is planned, in a plan of this extent.
    pub fn approve(&mut self, Extent { allowed, in_all }: Extent) {
        if let Some(loan) = self.work.loan_mut() {
            let fields = loan.fields.iter().map(digest_of).collect();
            loan.approved = Some(Approved { fields, allowed, in_all: Some(in_all) });
        }
    }

    /// Notes that nobody was asked about the change as it is planned.
    pub fn approve_nothing(&mut self) {
        if let Some(loan) = self.work.loan_mut() {
            loan.approved = None;
        }
    }

    /// What a person has approved of it, in this round or an earlier one.
    pub fn approved(&self) -> Option<&Approved> {
        self.loan()?.approved.as_ref()
    }

    /// The first field of which nobody has approved these values.
    pub fn beyond_approval(&self) -> Option<&FieldPath> {
        let loan = self.loan()?;
        let approved = loan.approved.as_ref();
        let is_approved =
            |field: &&FieldChange| approved.is_some_and(|it| it.fields.contains(&digest_of(field)));
        loan.fields.iter().find(|field| !is_approved(field)).map(|field| &field.path)
    }
}

fn digest_of(field: &FieldChange) -> String {
    let value = |value: &Option<serde_json::Value>| canonical(&field.path, value.as_ref()).to_string();
    let mut digest = digest(&[&field.path.to_string(), &value(&field.before), &value(&field.after)]);
    digest.truncate(LENGTH);
    digest
}
