//! What the decisions of a person have in common: their author, how they are
//! written, and how to see that the controller has picked them up.
//!
//! # Guarantees
//! A decision is written with the resourceVersion of the Incident that it was based on, and is made again if
//! someone else was faster. So it never overwrites another person's decision.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::connection::Connection;
use super::error::Error;
use super::follow::Following;
use crate::api::{Incident, names};
use crate::kubernetes::{access, retry};
use crate::view::moves;

/// The controller may write the status between our read and our write, several times a second.
const TRIES: u32 = 20;
/// A running controller picks up a decision at once; a new leader needs a little longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An Incident, and what a person wants from it.
pub struct Decision<'a> {
    /// The cluster.
    pub connection: &'a Connection,
    /// The namespace of the Incident.
    pub namespace: String,
    /// Its name.
    pub name: &'a str,
    /// The purpose, as in "cannot … Incident".
    pub verb: &'static str,
}

impl Decision<'_> {
    /// The name under which the API server knows the user. A decision cannot have any other.
    pub async fn who_am_i(&self) -> Result<String, Error> {
        let name = access::who_am_i(&self.connection.client).await;
        let name = name.map_err(|error| Error::request("cannot ask the API server who you are", &error))?;
        if name.is_empty() {
            return Err(Error::failed(
                self.what(),
                "the API server does not say who you are",
                "log in again",
            ));
        }
        Ok(name)
    }

    /// Writes the merge patch that `next` makes from the present Incident, or nothing.
    /// Returns the resulting Incident, and whether it was written. A closed Incident is an error.
    pub async fn write(
        &self,
        mut next: impl FnMut(&Incident) -> Result<Option<Value>, Error>,
    ) -> Result<(Incident, Written), Error> {
        let api = self.connection.incidents(&self.namespace);
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let mut tried = 0;
        loop {
            let incident = self.connection.incident(&self.namespace, self.name).await?;
            if incident.is_closed() {
                return Err(Error::Said(format!("{}: {}", self.what(), moves::closed(&incident))));
            }
            let Some(spec) = next(&incident)? else { return Ok((incident, Written::No)) };
            let version = incident.resource_version();
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec});
            match api.patch(self.name, &params, &Patch::Merge(&patch)).await {
                Ok(incident) => return Ok((incident, Written::Yes)),
                Err(error) => {
                    tried += 1;
                    let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
                    // Writing the same twice is harmless, so a lost answer is no obstacle either.
                    if tried >= TRIES || !(is_conflict || retry::is_transient(&error)) {
                        return Err(self.refused(&incident, &error));
                    }
                    let wait = Duration::from_millis(20 * u64::from(tried)).max(retry::asked_to_wait(&error));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Waits until `done` is true for the Incident. The wish says for what, as in "until …".
    pub async fn wait_until(
        &self,
        incident: Incident,
        wish: &str,
        mut done: impl FnMut(&Incident) -> Result<bool, Error>,
    ) -> Result<Incident, Error> {
        if done(&incident)? {
            return Ok(incident);
        }
        let mut following = Following::of(self.connection, &incident);
        let waited = tokio::time::timeout(PATIENCE, async {
            while let Some(incident) = following.next().await? {
                if done(&incident)? {
                    return Ok(incident);
                }
            }
            Err(Error::failed(
                self.what(),
                "it has been deleted in the meantime",
                "`firebreak get -A` lists all Incidents",
            ))
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => Err(self.unseen(wish).await),
        }
    }

    /// That no operator has seen the decision in time.
    async fn unseen(&self, wish: &str) -> Error {
        let Self { connection, namespace, name, .. } = self;
        let absence = connection.operator.absence_after().await;
        Error::failed(
            format!("Incident {namespace}/{name}: the decision is recorded, but no operator acts on it"),
            format!("waited {} s until {wish}{absence}", PATIENCE.as_secs()),
            format!(
                "check that the operator runs and holds its lease; `firebreak watch {name} -n {namespace}` follows the \
                 Incident"
            ),
        )
    }

    /// The purpose.
    pub fn what(&self) -> String {
        format!("cannot {} Incident {}/{}", self.verb, self.namespace, self.name)
    }

    fn refused(&self, incident: &Incident, error: &kube::Error) -> Error {
        match error {
            kube::Error::Api(status) if status.message.contains("ValidatingAdmissionPolicy") => {
                let next = "ask the cluster administrator for this permission, or someone who has it to \
                    decide";
                Error::failed(self.what(), retry::explain(error), next)
            }
            // The message of a rule in the schema, which says which one.
            kube::Error::Api(status) if status.code == 422 => {
                Error::failed(self.what(), retry::explain(error), moves::next(incident))
            }
            other => Error::request(self.what(), other),
        }
    }
}

/// Whether a decision had to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was.
    Yes,
    /// It was already there.
    No,
}

/// Whether the status describes the present spec.
pub fn is_observed(incident: &Incident) -> bool {
    let observed = incident.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed >= incident.metadata.generation
}
