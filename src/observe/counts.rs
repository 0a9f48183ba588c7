//! Counts over objects.

use std::collections::BTreeMap;

/// Sums over digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    fields: BTreeMap<&'static str, i64>,
    /// What counts in a field only for some time, or only after some, by field and second.
    dated: BTreeMap<(&'static str, u32), i64>,
    /// Pieces per field and resource, and how many objects have it.
    offered: BTreeMap<(&'static str, String), (i64, i64)>,
}

impl Counts {
    /// Adds to a field.
    pub(super) fn add(&mut self, field: &'static str, amount: i64) {
        *self.fields.entry(field).or_default() += amount;
    }

    /// Adds to a field what is dated to this second.
    pub(super) fn add_dated(&mut self, field: &'static str, date: u32, amount: i64) {
        let place = self.dated.entry((field, date)).or_default();
        *place += amount;
        if *place == 0 {
            self.dated.remove(&(field, date));
        }
    }

    /// Drops the oldest of what is dated in a field, as long as it is void. The kind ignores what is void, so it is
    /// harmless if an object takes away later what is dropped here.
    pub(super) fn forget(&mut self, field: &'static str, is_void: impl Fn(u32) -> bool) {
        let oldest = |counts: &Self| counts.dated(field).map(|(date, _)| date).next();
        while let Some(date) = oldest(self).filter(|date| is_void(*date)) {
            self.dated.remove(&(field, date));
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

    /// What is dated in a field, as the second and how much; the oldest first.
    pub(super) fn dated(&self, field: &'static str) -> impl Iterator<Item = (u32, i64)> {
        self.dated.range((field, 0)..=(field, u32::MAX)).map(|((_, date), amount)| (*date, *amount))
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
        for ((field, date), amount) in &other.dated {
            self.add_dated(field, *date, *amount);
        }
        for (key, (sum, objects)) in &other.offered {
            let (own_sum, own_objects) = self.offered.get(key).copied().unwrap_or_default();
            self.offered.insert(key.clone(), (own_sum.saturating_add(*sum), own_objects + objects));
        }
    }
}
