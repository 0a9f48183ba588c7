//! The metrics of traces: whether they are sent, and what became of the spans.

use prometheus::{IntCounterVec, IntGauge, Opts};

use crate::telemetry::metrics::Metrics;

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The endpoint has accepted it.
    Sent,
    /// The queue was full.
    Dropped,
    /// The endpoint does not take it.
    Rejected,
    /// The endpoint was away for too long.
    Failed,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Sent, Self::Dropped, Self::Rejected, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// Shows whether traces are sent: not until it is set to 1.
///
/// # Errors
/// When a family has the name of another one.
pub fn show_enabled(metrics: &Metrics) -> Result<IntGauge, prometheus::Error> {
    let enabled = IntGauge::new("firebreak_traces_enabled", "Whether this process sends traces.")?;
    metrics.add(enabled.clone())?;
    Ok(enabled)
}

/// Counts spans by what became of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SpanCounter(IntCounterVec);

impl SpanCounter {
    /// Shows the metric from now on, all of it zero: a counter that first appears with its first loss shows no increase.
    ///
    /// # Errors
    /// When a family has the name of another one.
    pub fn show(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let about = Opts::new("firebreak_trace_spans_total", "Spans of traces, by what became of them.");
        let counter = IntCounterVec::new(about, &["result"])?;
        Fate::ALL.iter().for_each(|fate| counter.with_label_values(&[fate.label()]).reset());
        metrics.add(counter.clone())?;
        Ok(Self(counter))
    }

    /// Counts spans that ended like this.
    pub fn count(&self, fate: Fate, spans: u64) {
        self.0.with_label_values(&[fate.label()]).inc_by(spans);
    }

    /// How many have ended like this.
    #[must_use]
    pub fn of(&self, fate: Fate) -> u64 {
        self.0.with_label_values(&[fate.label()]).get()
    }
}
