//! Counts over objects.

use std::collections::BTreeMap;

/// Sums over digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    fields: BTreeMap<&'static str, i64>,
    /// Pieces per resource, and how many objects offer it.
    offered: BTreeMap<String, (i64, i64)>,
}

impl Counts {
    /// Adds to a field.
    pub(super) fn add(&mut self, field: &'static str, amount: i64) {
        *self.fields.entry(field).or_default() += amount;
    }

    /// Adds the resources of one object.
    pub(super) fn offer(&mut self, resource: &str, pieces: i64, times: i64) {
        let (sum, objects) = self.offered.get(resource).copied().unwrap_or_default();
        let (sum, objects) = (sum.saturating_add(pieces.saturating_mul(times)), objects + times);
        if objects == 0 {
            self.offered.remove(resource);
        } else {
            self.offered.insert(resource.to_owned(), (sum, objects));
        }
    }

    /// A field; 0 if nothing was added.
    pub(super) fn of(&self, field: &str) -> i64 {
        self.fields.get(field).copied().unwrap_or_default()
    }

    /// One field over the sum of others; none over nothing.
    pub(super) fn ratio(&self, part: &str, whole: &[&str]) -> Option<f64> {
        let whole: i64 = whole.iter().map(|field| self.of(field)).sum();
        (whole > 0).then(|| self.of(part) as f64 / whole as f64)
    }

    /// Pieces per resource.
    pub(super) fn offered(&self) -> BTreeMap<String, i64> {
        self.offered.iter().map(|(resource, (sum, _))| (resource.clone(), *sum)).collect()
    }

    /// Adds the counts of another scope.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (field, amount) in &other.fields {
            self.add(field, *amount);
        }
        for (resource, (sum, objects)) in &other.offered {
            let (own_sum, own_objects) = self.offered.get(resource).copied().unwrap_or_default();
            self.offered.insert(resource.clone(), (own_sum.saturating_add(*sum), own_objects + objects));
        }
    }
}
