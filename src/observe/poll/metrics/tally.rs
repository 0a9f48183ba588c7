//! Usage in relation to sizes: the fields of a signal, and their bounds where some objects were not measured.
//!
//! An object without a metric uses something from nothing to its limit. It counts with that in both bounds of each field, so
//! that a rule is True or False as long as the object cannot make a difference. The lower bound stands in the field.

use std::time::Duration;

use firebreak_engine::expression::{AT_MOST, FieldValue};
use firebreak_engine::signal::MetricsOf;
use jiff::Timestamp;

use super::sizes::{Share, Size, second};
use super::usage::{Fresh, Usages, Used};
use crate::endpoints::Unanswered;
use crate::observe::doubt::Doubts;
use crate::observe::kind::Values;
use crate::observe::poll::question::Read;

/// How long an object may have no metric before people are told: metrics-server needs two rounds for one.
const SETTLES_WITHIN: u32 = 120;

/// What is known of all objects that were added.
#[derive(Debug, Default)]
pub(super) struct Tally {
    cpu: Sum,
    memory: Sum,
    /// The most memory that one object uses, of those that were measured, and of the others at most.
    most_memory: Option<u64>,
    most_memory_unmeasured: Option<u64>,
    objects: usize,
    unmeasured: usize,
    /// Of those without a metric, the first one that should have one, and why it has none.
    doubtful: usize,
    example: Option<(Box<str>, String)>,
    /// Why the first one has none, if all of them are new.
    why: Option<String>,
    age: Duration,
}

/// One ratio.
#[derive(Debug, Default)]
struct Sum {
    used: u128,
    whole: u128,
    /// What the objects that were not measured use at most.
    more: u128,
    /// Some of them have no limit.
    is_unbounded: bool,
}

impl Sum {
    fn add(&mut self, share: &Share, used: Option<u64>) {
        let Some(whole) = share.whole else { return };
        self.whole += u128::from(whole);
        match (used, share.most) {
            (Some(used), _) => self.used += u128::from(used),
            (None, Some(most)) => self.more += u128::from(most),
            (None, None) => self.is_unbounded = true,
        }
    }

    /// The bounds; none over nothing.
    fn ratio(&self) -> Option<(f64, f64)> {
        let over = |amount: u128| amount as f64 / self.whole as f64;
        let most = if self.is_unbounded { f64::INFINITY } else { over(self.used + self.more) };
        (self.whole > 0).then(|| (over(self.used), most))
    }
}

impl Tally {
    /// Adds an object.
    pub(super) fn add(&mut self, size: &Size, usages: &Usages, fresh: Fresh) {
        if !size.runs {
            return;
        }
        self.objects += 1;
        let used = match usages.find(size, fresh) {
            Ok((used, age)) => {
                self.age = self.age.max(age);
                Some(used)
            }
            Err(why) => {
                self.miss(size, &why, fresh.at);
                None
            }
        };
        self.cpu.add(&size.cpu, used.as_ref().map(|used| used.cpu));
        self.memory.add(&size.memory, used.as_ref().map(|used| used.memory));
        match used {
            Some(Used { all_memory, .. }) => self.most_memory = self.most_memory.max(Some(all_memory)),
            None => {
                let most = Some(size.memory.most.unwrap_or(u64::MAX));
                self.most_memory_unmeasured = self.most_memory_unmeasured.max(most);
            }
        }
    }

    fn miss(&mut self, size: &Size, why: &str, now: Timestamp) {
        self.unmeasured += 1;
        self.why.get_or_insert_with(|| why.to_owned());
        if second(now).saturating_sub(size.since) < SETTLES_WITHIN {
            return;
        }
        self.doubtful += 1;
        // Always the same one, because the text stands in the status.
        if self.example.as_ref().is_none_or(|(first, _)| size.name < *first) {
            self.example = Some((size.name.clone(), why.to_owned()));
        }
    }

    /// The fields, once all objects were added.
    ///
    /// # Errors
    /// There are no objects, or none of them was measured.
    pub(super) fn read(self, of: MetricsOf) -> Result<Read, Unanswered> {
        let kind = match of {
            MetricsOf::Nodes => "node",
            MetricsOf::Pods => "pod that runs",
        };
        if self.objects == 0 {
            let detail = format!("no {kind} matches; check the selector of the signal");
            return Err(Unanswered::unusable("EmptyScope", detail));
        }
        let Some(most_memory) = self.most_memory else {
            let example = self.example.map(|(name, why)| format!(", for example {name}: {why}"));
            let why = example.or(self.why.map(|why| format!(": {why}"))).unwrap_or_default();
            let detail = format!("metrics.k8s.io has no usable metric of any {kind}{why}");
            return Err(Unanswered::unusable("NoMetrics", detail));
        };
        let mut values = Values::new();
        let mut set = |field: &str, least: FieldValue, most: FieldValue| {
            let at_most = AT_MOST.into_iter().find(|(of, _)| *of == field).filter(|_| least != most);
            values.extend(at_most.map(|(_, at_most)| (at_most.to_owned(), most)));
            values.insert(field.to_owned(), least);
        };
        for (field, sum) in [("cpuRatio", &self.cpu), ("memoryRatio", &self.memory)] {
            if let Some((least, most)) = sum.ratio() {
                set(field, FieldValue::Double(least), FieldValue::Double(most));
            }
        }
        let whole = |bytes: u64| FieldValue::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
        let at_most = self.most_memory_unmeasured.unwrap_or(0).max(most_memory);
        set("maxMemoryBytes", whole(most_memory), whole(at_most));
        let unjudged = self.example.map(|(name, why)| {
            let doubtful = self.doubtful;
            format!("the usage of {doubtful} object(s) is not known, for example {name}: {why}")
        });
        Ok(Read { values, age: self.age, doubts: Doubts { uncounted: None, unjudged } })
    }
}
