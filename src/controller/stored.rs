//! How passes read objects of ours live and write their status: only what this release can continue, and only if the API
//! server stores all of it.

use kube::Api;
use serde::Serialize;

use super::error::Error;
use super::refusal::Refusal;
use crate::api::lean::Parts;
use crate::api::names;
use crate::kubernetes::own_kinds::{self, Stored};

/// Reads the object; none if there is none.
///
/// # Errors
/// A newer release wrote it, or the API server gives no answer, so it is not known.
pub async fn find<K: Parts + Clone>(api: &Api<K>, name: &str) -> Result<Option<K>, Error> {
    let found = own_kinds::find(api, name).await?;
    match found.as_ref().and_then(Refusal::of) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(found),
    }
}

/// Replaces the status of the object, which then has the version that the API server answered.
///
/// # Errors
/// Someone else wrote the object, the API server rejected it, or stored only a part of it.
pub async fn replace_status<K>(api: &Api<K>, object: &mut K) -> Result<(), Error>
where
    K: Parts + Clone + Serialize,
{
    match own_kinds::replace_status(api, object, names::MANAGER).await? {
        Stored::Whole => Ok(()),
        Stored::InPart => Err(Refusal::OldDefinitions { object: Box::new(object.object_ref(&())) }.into()),
    }
}
