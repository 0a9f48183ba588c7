//! The metrics of the queue: how much work is due, and how long it has waited. They are read when they are asked for,
//! because a queue that stands still changes nothing.

use std::sync::Arc;

use firebreak_engine::policy::Severity;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntGaugeVec, Opts};
use tokio::time::Instant;

use super::queue::{Key, Queue};
use crate::kubernetes::lease::Leadership;
use crate::telemetry::metrics::Metrics;

/// The controllers, as the other metrics name them.
const CONTROLLERS: [&str; 2] = ["incident", "policy"];
const LEVELS: [Severity; 4] = [Severity::P0, Severity::P1, Severity::P2, Severity::P3];

/// The name of the controller of a key, in metrics.
pub(super) fn controller(key: &Key) -> &'static str {
    match key {
        Key::Incident(_) => "incident",
        Key::Policy(_) => "policy",
    }
}

/// The families. A replica that does not lead takes nothing from its queue, so it shows none of them.
struct Backlog {
    queue: Arc<Queue>,
    leadership: Leadership,
    depth: IntGaugeVec,
    running: GaugeVec,
    wait: Gauge,
}

/// Shows the queue from now on.
///
/// # Errors
/// When a family has the name of another one.
pub fn show(metrics: &Metrics, queue: Arc<Queue>, leadership: Leadership) -> Result<(), prometheus::Error> {
    let depth = Opts::new("workqueue_depth", "Objects that are due and that no worker has taken.");
    let running = Opts::new(
        "workqueue_longest_running_processor_seconds",
        "How long the longest running pass has been running.",
    );
    metrics.add(Backlog {
        queue,
        leadership,
        depth: IntGaugeVec::new(depth, &["name", "priority"])?,
        running: GaugeVec::new(running, &["name"])?,
        wait: Gauge::new(
            "firebreak_queue_longest_wait_seconds",
            "How long the object that has been due longest has waited for a worker.",
        )?,
    })
}

impl Collector for Backlog {
    fn desc(&self) -> Vec<&Desc> {
        [self.depth.desc(), self.running.desc(), self.wait.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if !self.leadership.leads() {
            return Vec::new();
        }
        for name in CONTROLLERS {
            self.running.with_label_values(&[name]).set(0.0);
            for level in LEVELS {
                self.depth.with_label_values(&[name, &level.to_string()]).set(0);
            }
        }
        let load = self.queue.load(Instant::now());
        for (key, urgency) in &load.due {
            self.depth.with_label_values(&[controller(key), &urgency.to_string()]).inc();
        }
        for (key, took) in &load.taken {
            let running = self.running.with_label_values(&[controller(key)]);
            running.set(running.get().max(took.as_secs_f64()));
        }
        self.wait.set(load.longest_wait.as_secs_f64());
        [self.depth.collect(), self.running.collect(), self.wait.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::queue::Name;
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let is_ours =
            |line: &&str| line.contains("queue_") && !line.starts_with('#') && !line.ends_with(" 0");
        text.lines().filter(is_ours).map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_due_and_work_that_is_taken_are_shown_with_their_age() {
        let metrics = Metrics::new().unwrap();
        let queue = Arc::new(Queue::default());
        show(&metrics, Arc::clone(&queue), Leadership::without_election()).unwrap();
        let (slow, waits) = (Name::new("ns", "slow"), Name::new("ns", "waits"));
        queue.nudge(Key::Incident(slow.clone()), Severity::P0);
        let taken = queue.next().await;
        queue.nudge(Key::Policy(waits), Severity::P2);
        let later = Instant::now() + Duration::from_secs(30);
        queue.due_at(Key::Policy(slow.clone()), Severity::P3, later);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(
            lines(&metrics),
            [
                "firebreak_queue_longest_wait_seconds 20",
                "workqueue_depth{name=\"policy\",priority=\"P2\"} 1",
                "workqueue_longest_running_processor_seconds{name=\"incident\"} 20",
            ]
        );
        // What is due later counts once its time has come, although nobody has looked at the queue since.
        queue.done(&taken);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(
            lines(&metrics),
            [
                "firebreak_queue_longest_wait_seconds 35",
                "workqueue_depth{name=\"policy\",priority=\"P2\"} 1",
                "workqueue_depth{name=\"policy\",priority=\"P3\"} 1",
            ]
        );
    }
}
