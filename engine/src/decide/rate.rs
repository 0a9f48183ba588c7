//! The guardrails on the rate: how soon the next step.

use super::Round;
use crate::period::{Period, after, clock_time};

impl Round<'_> {
    /// Why the next step may not start so soon after the last one, if so.
    pub(super) fn too_soon(&mut self) -> Option<String> {
        let interval = self.rules?.limits.min_step_interval;
        let started = self.next.steps.iter().filter_map(|step| Some((step.started_at?, &step.name)));
        let (at, last) = started.max()?;
        let due = after(at, interval);
        let why = format!(
            "guardrails.minStepInterval is {}, and step {last} started at {}",
            Period::from(interval),
            clock_time(at)
        );
        (due > self.now).then(|| {
            self.wake(Some(due));
            why
        })
    }
}
