//! Counts over objects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use firebreak_engine::common::{Alike, Census, Labels};

/// The most objects that are gone of which the labels are remembered.
const GONE: usize = 512;

/// Sums over digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    fields: BTreeMap<&'static str, i64>,
    /// What counts in a field only for some time, or only after some, by field and second.
    dated: BTreeMap<(&'static str, u32), i64>,
    /// Pieces per field and resource, and how many objects have it.
    offered: BTreeMap<(&'static str, String), (i64, i64)>,
    /// How many objects with these labels are in this state; with a second, only from then on.
    placed: BTreeMap<(Arc<Labels>, Standing, Option<u32>), i64>,
    /// The labels of objects that are gone, with the second, the newest last.
    gone: VecDeque<(u32, Arc<Labels>)>,
}

/// How an object is, where objects are counted by label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It works.
    Healthy,
    /// It does not.
    Sick,
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

    /// Adds to the objects with these labels that are in this state; with a date, only from that second on.
    pub(super) fn place(&mut self, labels: &Arc<Labels>, standing: Standing, from: Option<u32>, times: i64) {
        let key = (Arc::clone(labels), standing, from);
        let place = self.placed.entry(key.clone()).or_default();
        *place += times;
        if *place == 0 {
            self.placed.remove(&key);
        }
    }

    /// An object with these labels is gone.
    pub(super) fn lose(&mut self, labels: &Arc<Labels>, at: u32) {
        self.gone.push_back((at, Arc::clone(labels)));
        if self.gone.len() > GONE {
            self.gone.pop_front();
        }
    }

    /// Takes over the objects that were gone before a new list.
    pub(super) fn remember_gone(&mut self, before: &Self) {
        self.gone.clone_from(&before.gone);
    }

    /// Drops the objects that were gone before this second.
    pub(super) fn forget_gone(&mut self, before: u32) {
        while self.gone.front().is_some_and(|(at, _)| *at < before) {
            self.gone.pop_front();
        }
    }

    /// The objects by label. What is dated counts if it `is_due`.
    pub(super) fn census(&self, is_due: impl Fn(u32) -> bool) -> Census {
        let mut present: BTreeMap<&Arc<Labels>, (i64, i64)> = BTreeMap::new();
        for ((labels, standing, from), amount) in &self.placed {
            if from.is_none_or(&is_due) {
                let (sick, healthy) = present.entry(labels).or_default();
                match standing {
                    Standing::Sick => *sick += amount,
                    Standing::Healthy => *healthy += amount,
                }
            }
        }
        let number = |amount: i64| usize::try_from(amount).unwrap_or_default();
        let alike = |(labels, (sick, healthy)): (&Arc<Labels>, _)| Alike {
            labels: Arc::clone(labels),
            sick: number(sick),
            healthy: number(healthy),
        };
        let gone = self.gone.iter().rev().map(|(_, labels)| Arc::clone(labels)).collect();
        Census { present: present.into_iter().map(alike).collect(), gone }
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
        for ((labels, standing, from), amount) in &other.placed {
            self.place(labels, *standing, *from, *amount);
        }
        for (at, labels) in &other.gone {
            self.lose(labels, *at);
        }
    }
}
