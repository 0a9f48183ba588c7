//! The graceful shutdown: which parts stop in which order, and what is awaited.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Failure;
use crate::controller::refusal::Refusal;

/// How long work in flight may take to finish. Together with the release it fits into the 30 s that a Pod
/// has by default.
pub(super) const DRAIN: Duration = Duration::from_secs(20);
/// How long the release of the Lease and the last events may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The parts that are stopped, in this order.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) work: CancellationToken,
    pub(super) events: CancellationToken,
    pub(super) election: CancellationToken,
    pub(super) server: CancellationToken,
}

type Task<T> = tokio::task::JoinHandle<T>;

/// What runs.
pub(super) struct Parts {
    pub(super) controller: Task<Result<(), Refusal>>,
    /// What the controller has started and must finish: writes in flight.
    pub(super) tasks: TaskTracker,
    /// Receives alerts.
    pub(super) receiver: Task<()>,
    pub(super) election: Task<()>,
    pub(super) writer: Task<()>,
    /// If it ends, traces are lost, and nothing else is.
    pub(super) exporter: Option<Task<()>>,
    pub(super) server: Task<io::Result<()>>,
    pub(super) ends: Ends,
}

impl Parts {
    /// Waits for a signal, or for a part that ends unexpectedly, and then stops everything in order.
    pub(super) async fn supervise(mut self, signals: &mut Signals) -> Result<(), Failure> {
        let mut controller_ended = false;
        let why = tokio::select! {
            () = signals.next() => {
                tracing::info!("stopping; finishing work in flight first");
                Ok(())
            }
            ended = &mut self.controller => {
                controller_ended = true;
                Err(why_it_ended(ended))
            }
            // A controller that refuses to lead stops it first.
            _ = &mut self.receiver => match self.ends.work.is_cancelled() {
                true => {
                    controller_ended = true;
                    Err(why_it_ended((&mut self.controller).await))
                }
                false => Err(Failure::Part("the receiver of alerts")),
            },
            _ = &mut self.election => Err(Failure::Part("the leader election")),
            _ = &mut self.writer => Err(Failure::Part("the writer of events")),
            _ = &mut self.server => Err(Failure::Part("the metrics server")),
        };
        let ended = tokio::select! {
            ended = self.end(controller_ended) => ended,
            () = signals.next() => Err(Failure::SecondSignal),
        };
        why.and(ended)
    }

    async fn end(&mut self, controller_ended: bool) -> Result<(), Failure> {
        self.ends.work.cancel();
        let controller = &mut self.controller;
        let tasks = &self.tasks;
        let drained = timeout(DRAIN, async {
            if !controller_ended {
                // Its own failure was logged where it happened; here it only matters that it ended.
                let _ = controller.await;
            }
            tasks.close();
            tasks.wait().await;
        });
        drained.await.map_err(|_| Failure::NotDrained)?;

        // What it has not recorded, its senders send again.
        finish(&mut self.receiver).await;
        self.ends.events.cancel();
        self.ends.election.cancel();
        finish(&mut self.election).await;
        finish(&mut self.writer).await;
        if let Some(exporter) = &mut self.exporter {
            finish(exporter).await;
        }
        self.ends.server.cancel();
        Ok(())
    }
}

fn why_it_ended<E>(controller: Result<Result<(), Refusal>, E>) -> Failure {
    match controller {
        Ok(Err(refusal)) => Failure::Refused(refusal),
        Ok(Ok(())) | Err(_) => Failure::Part("the controller"),
    }
}

/// Waits for a part that was stopped, but not forever.
async fn finish(part: &mut Task<()>) {
    if !part.is_finished() && timeout(FAREWELL, part).await.is_err() {
        tracing::warn!("a part of the operator did not stop in time");
    }
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
