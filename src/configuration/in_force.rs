//! The configuration in force, for every part of the process that reads some of it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::endpoints::Endpoints;
use crate::report::ReportTemplate;
use crate::workloads::Profiles;

/// A part of the configuration in force. Cheap to clone; all clones change together.
#[derive(Debug)]
pub struct InForce<T>(watch::Receiver<Arc<T>>);

/// The profiles in force.
pub type ProfilesInForce = InForce<Profiles>;
/// The endpoints in force.
pub type EndpointsInForce = InForce<Endpoints>;
/// The template of reports in force.
pub type TemplateInForce = InForce<ReportTemplate>;

impl<T> InForce<T> {
    /// This part, and the handle that replaces it.
    pub fn new(part: T) -> (watch::Sender<Arc<T>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(part));
        (sender, Self(receiver))
    }

    /// The present value.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Returns when the value has changed since this clone was last asked.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could change it.
            std::future::pending().await
        }
    }
}

impl<T> Clone for InForce<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A value that never changes.
impl<T> From<Arc<T>> for InForce<T> {
    fn from(part: Arc<T>) -> Self {
        Self(watch::channel(part).1)
    }
}
