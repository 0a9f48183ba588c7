//! A message on its way from the desk to the controller, and its answer.

use firebreak_engine::alerts::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Messages that wait for the controller.
const WAITING: usize = 16;

/// A message for a policy.
#[derive(Debug)]
pub struct Delivery {
    /// The namespace of the policy.
    pub namespace: String,
    /// The name of the policy.
    pub policy: String,
    /// What Alertmanager says.
    pub message: Message,
    /// Takes the answer. To drop it says that the message was not recorded.
    pub answer: oneshot::Sender<Answer>,
    /// The room that the message takes, free again when this is dropped.
    pub room: OwnedSemaphorePermit,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The status of the policy has it.
    Recorded,
    /// There is no such policy here.
    NoPolicy,
    /// The policy has no signal that receives alerts.
    NoSignal,
    /// The policy cannot be read, so nobody knows which alerts match.
    Undecodable,
    /// The policy is not Accepted, so nobody knows which alerts match.
    NotAccepted,
    /// This process does not lead, or has not seen all policies yet.
    NotLeading,
    /// Too much waits to be recorded.
    Full,
}

/// Where the controller takes messages from.
pub type Deliveries = mpsc::Receiver<Delivery>;

/// The way from the desk to the controller.
#[must_use]
pub fn channel() -> (mpsc::Sender<Delivery>, Deliveries) {
    mpsc::channel(WAITING)
}
