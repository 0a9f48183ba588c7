//! Counts over objects.

use std::collections::BTreeMap;

/// Sums over digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    fields: BTreeMap<&'static str, i64>,
    /// Objects that count in a field only some time after their creation, by its second.
    late: BTreeMap<(u32, &'static str), i64>,
    /// Pieces per field and resource, and how many objects have it.
    offered: BTreeMap<(&'static str, String), (i64, i64)>,
}

impl Counts {
    /// Adds to a field.
    pub(super) fn add(&mut self, field: &'static str, amount: i64) {
        *self.fields.entry(field).or_default() += amount;
    }

    /// Adds to a field that counts some time after this second.
    pub(super) fn add_late(&mut self, created: u32, field: &'static str, amount: i64) {
        let place = self.late.entry((created, field)).or_default();
        *place += amount;
        if *place == 0 {
            self.late.remove(&(created, field));
        }
    }

    /// Adds the resources of one object.
    pub(super) fn offer(&mut self, field: &'static str, resource: &str, pieces: i64, times: i64) {
        let key = (field, resource.to_owned());
        let (sum, objects) = self.offered.get(&key).copied().unwrap_or_default();
        let (sum, objects) = (sum.saturating_add(pieces.saturating_mul(times)), objects + times);
        if objects == 0 {
            self.offered.remove(&key);
        } else {
            self.offered.insert(key, (sum, objects));
        }
    }

    /// A field; 0 if nothing was added.
    pub(super) fn of(&self, field: &str) -> i64 {
        self.fields.get(field).copied().unwrap_or_default()
    }

    /// What counts late, as the second of creation, the field, and how many.
    pub(super) fn late(&self) -> impl Iterator<Item = (u32, &'static str, i64)> {
        self.late.iter().map(|((created, field), amount)| (*created, *field, *amount))
    }

    /// One field over the sum of others; none over nothing.
    pub(super) fn ratio(&self, part: &str, whole: &[&str]) -> Option<f64> {
        let whole: i64 = whole.iter().map(|field| self.of(field)).sum();
        (whole > 0).then(|| self.of(part) as f64 / whole as f64)
    }

    /// Pieces per resource.
    pub(super) fn offered(&self, field: &str) -> BTreeMap<String, i64> {
        let of_field = self.offered.iter().filter(|((of, _), _)| *of == field);
        of_field.map(|((_, resource), (sum, _))| (resource.clone(), *sum)).collect()
    }

    /// Adds the counts of another scope.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (field, amount) in &other.fields {
            self.add(field, *amount);
        }
        for ((created, field), amount) in &other.late {
            self.add_late(*created, field, *amount);
        }
        for (key, (sum, objects)) in &other.offered {
            let (own_sum, own_objects) = self.offered.get(key).copied().unwrap_or_default();
            self.offered.insert(key.clone(), (own_sum.saturating_add(*sum), own_objects + objects));
        }
    }
}
