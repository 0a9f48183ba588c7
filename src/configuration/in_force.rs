//! The profiles in force, for everybody who reads them while the process runs.

use std::sync::Arc;

use tokio::sync::watch;

use crate::workloads::Profiles;

/// The profiles in force. Cheap to clone; all clones change together.
#[derive(Clone, Debug)]
pub struct ProfilesInForce(watch::Receiver<Arc<Profiles>>);

impl ProfilesInForce {
    /// These profiles, and where to put others into force.
    pub fn new(profiles: Profiles) -> (watch::Sender<Arc<Profiles>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(profiles));
        (sender, Self(receiver))
    }

    /// Those in force now.
    pub fn now(&self) -> Arc<Profiles> {
        Arc::clone(&self.0.borrow())
    }

    /// Returns when others are in force than when this clone was asked last.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could change them.
            std::future::pending().await
        }
    }
}

/// Profiles that never change.
impl From<Arc<Profiles>> for ProfilesInForce {
    fn from(profiles: Arc<Profiles>) -> Self {
        Self(watch::channel(profiles).1)
    }
}
