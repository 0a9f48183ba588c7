//! Whether the objects of a wave are healthy, as far as their health says anything about the revert.
//!
//! Only an object that was healthy with its change and is not without it shows that the change is needed. One that was
//! healthy before the change and never with it gets the same time, because it should be healthy again, but it is no
//! relapse: to apply the change again would not help it. The same holds for one that was healthy with the change until
//! shortly before its revert. One that was healthy at neither time is not waited for at all,
//! so that it holds up nothing but itself. One that is off on purpose, gone, or keeps its pods is not waited for either,
//! and proves nothing for the others. Not knowing is no relapse either: then the next wave waits.

use jiff::Timestamp;

use super::Deciding;
use super::climb::RELIST_BUSY;
use super::relapse::Relapse;
use super::wave::Wave;
use crate::change::{Change, Evidence};
use crate::facts::{ObjectRead, Stage, Target};
use crate::incident::Held;
use crate::period::after;
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// What is known about the health of a wave.
pub(super) enum WaveHealth {
    /// No object was read in this decision.
    NotRead,
    /// Every object whose health says anything is healthy.
    Healthy,
    /// One is not, or this is not known.
    Missing {
        /// What is known of it.
        verdict: Verdict,
        /// What follows if it stays like that.
        evidence: Evidence,
        /// Since when it is expected to be healthy.
        expected: Option<Timestamp>,
        /// For people.
        why: String,
    },
}

/// What follows from the health of a wave.
pub(super) enum Judged {
    /// Nothing more is expected of it.
    Over,
    /// It is not over.
    Open(Wave),
}

impl Deciding<'_> {
    /// What the health of an object of this step says. What the targets return to has to be there first, so in an
    /// earlier stage it always counts. Pods that are updated one after the other may have to be deleted before they get
    /// the old template again, so their object has its time for that.
    pub(super) fn evidence_of(&self, step: &Step, change: &Change) -> Evidence {
        match self.stage_of(step, change) {
            Stage::Before(_) => Evidence::NeedsChange,
            Stage::Targets if change.is_in_order() => self.of_health(step, change).min(Evidence::NeedsTime),
            Stage::Targets => self.of_health(step, change),
        }
    }

    fn of_health(&self, step: &Step, change: &Change) -> Evidence {
        change.evidence(step.patience(), self.now)
    }

    /// Whether the health of an object of this step shows anything: what it is worth, and that it does not sit out.
    pub(super) fn shows(&self, step: &Step, change: &Change) -> bool {
        self.evidence_of(step, change) != Evidence::Nothing && !change.sits_out()
    }

    /// Whether these objects have rolled out and are healthy. Without a listing in this decision, this is not known.
    pub(super) fn wave_health(&mut self, step: &Step, back: &[&Change]) -> WaveHealth {
        let judged: Vec<&Change> = back
            .iter()
            .copied()
            .filter(|change| self.evidence_of(step, change) != Evidence::Nothing)
            .collect();
        let returned = back.iter().filter_map(|change| change.returned_at()).max();
        if judged.is_empty() {
            return WaveHealth::Healthy;
        }
        if !self.is_listing_newer(&step.name, returned) || self.listing(&step.name).is_none() {
            return WaveHealth::NotRead;
        }
        // All objects that are not listed are read at once; otherwise each would cost a pass of reads.
        let unlisted: Vec<&&Change> =
            judged.iter().filter(|change| self.listed(&step.name, &change.target.uid).is_none()).collect();
        if unlisted.into_iter().filter(|change| self.look_at(&change.target).is_none()).count() > 0 {
            return WaveHealth::NotRead;
        }
        self.note_idle(step);
        let missing = judged.into_iter().filter_map(|change| {
            let (verdict, why) = self.health_after(step, change)?;
            Some((self.evidence_of(step, change), verdict, change.expected_back_since(), why))
        });
        let missing: Vec<_> = missing.collect();
        let latest = missing.iter().filter_map(|(_, _, expected, _)| *expected).max();
        // What says most comes first, of that what is known, and of that what has had the most time.
        let first = missing
            .into_iter()
            .min_by_key(|(evidence, verdict, expected, _)| (*evidence, *verdict, *expected));
        match first {
            None => WaveHealth::Healthy,
            Some((evidence @ Evidence::NeedsChange, verdict, expected, why)) => {
                WaveHealth::Missing { verdict, evidence, expected, why }
            }
            // Each of them has its time.
            Some((evidence, verdict, _, why)) => {
                WaveHealth::Missing { verdict, evidence, expected: latest, why }
            }
        }
    }

    /// What is missing for a reverted object to be healthy, if anything.
    fn health_after(&self, step: &Step, change: &Change) -> Option<(Verdict, String)> {
        let id = &change.target;
        let target: &Target = match (self.listed(&step.name, &id.uid), self.facts.looked.objects.get(id)) {
            (Some(target), _) => target,
            (None, Some(ObjectRead::Found(target))) => target,
            (None, Some(ObjectRead::Gone)) => return None,
            (None, Some(ObjectRead::Refused { why } | ObjectRead::Failed { why })) => {
                return Some((Verdict::Unknown, format!("{id} cannot be read: {why}")));
            }
            (None, None) => return Some((Verdict::Unknown, format!("{id} was not read"))),
        };
        // A limit is reverted when its field is: it starts nothing, and whether its owner can read metrics is nothing
        // that the limit changes. Whether a higher one is needed was asked before it was reverted.
        if target.slots.is_only_a_limit() || self.why_it_sits_out(step, target).is_some() {
            return None;
        }
        match (target.is_well(), &target.rollout) {
            (Verdict::True, _) => None,
            (verdict, (Verdict::True, _)) => {
                let not =
                    if verdict == Verdict::False { "is not healthy" } else { "does not report its health" };
                Some((verdict, format!("{id} {not}")))
            }
            (verdict, (_, why)) => Some((verdict, format!("{id}: {why}"))),
        }
    }

    /// Whether these reverted objects are healthy, or still have time to become so.
    pub(super) fn judge_wave(&mut self, step: &Step, back: &[&Change], health: &WaveHealth) -> Judged {
        if matches!(health, WaveHealth::Healthy) {
            return Judged::Over;
        }
        let of_wave = || back.iter().filter_map(|change| change.expected_back_since()).max();
        let expected = match health {
            WaveHealth::Missing { expected, .. } => *expected,
            WaveHealth::NotRead | WaveHealth::Healthy => of_wave(),
        };
        let expected = expected.unwrap_or(self.now);
        let due = after(expected, step.patience());
        self.wake_in(RELIST_BUSY);
        self.wake(Some(due).filter(|due| *due > self.now));
        let WaveHealth::Missing { verdict, evidence, why, .. } = health else {
            // The result of a listing counts until the next one.
            let said = self.facts.state.held.clone();
            return Judged::Open(Wave::Waits(said.filter(|held| held.reason == Reason::WaveUnknown)));
        };
        let text = format!("waiting for the reverted objects: {why}");
        self.pending(&step.name, Reason::WaveNotHealthy, &text);
        match (verdict, evidence) {
            _ if due > self.now => Judged::Open(Wave::Waits(None)),
            (Verdict::False | Verdict::True, Evidence::NeedsChange) => {
                let why = format!("step {}: reverted, but not healthy: {why}", step.name);
                Judged::Open(Wave::Relapsed(Relapse::NotHealthy(why)))
            }
            (Verdict::Unknown, Evidence::NeedsChange) => {
                let message = format!(
                    "step {}: it is not known whether the reverted objects are healthy, so nothing more is reverted \
                     automatically: {why}. The withdrawal continues as soon as this can be read. To revert everything now: \
                     `{}`",
                    step.name,
                    self.facts.incident.withdraw_command()
                );
                Judged::Open(Wave::Waits(Some(Held::new(Reason::WaveUnknown, &message))))
            }
            (_, Evidence::NeedsTime | Evidence::Nothing) => Judged::Over,
        }
    }
}
