//! Reads and status writes of our own kinds, with as little work as possible.
//!
//! A status write is answered with the whole object. Only its new version is news, because the write was guarded by the
//! old one, so only that is decoded, and what came with a format: the API server drops fields that the definition of the
//! kind does not have.

use firebreak_engine::alerts::ReceivedAlerts;
use firebreak_engine::expected::Peak;
use firebreak_engine::id::ResourceVersion;
use jiff::Timestamp;
use kube::api::{GetParams, PostParams};
use kube::core::Request;
use kube::{Api, Error, ResourceExt};
use serde::{Deserialize, Serialize};

use super::retry;
use crate::api::lean::{Lean, Parts};

/// Reads the object; none if there is none.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn find<K: Parts + Clone>(api: &Api<K>, name: &str) -> Result<Option<K>, Error> {
    let read = || async {
        let request = Request::new(api.resource_url()).get(name, &GetParams::default());
        let mut request = request.map_err(Error::BuildRequest)?;
        request.extensions_mut().insert("get");
        api.clone().into_client().request::<Lean<K>>(request).await
    };
    Ok(retry::find(name, read).await?.map(|Lean(object)| object))
}

/// The part of an answer to a status write that is news.
#[derive(Clone, Deserialize)]
struct Written {
    metadata: Version,
    #[serde(default)]
    status: Dated,
}

/// The part of what is sent that may be missing in the answer.
#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    status: Dated,
}

/// What came with a format: definitions of an earlier release drop it.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    format: Option<u16>,
    #[serde(default)]
    expected: Vec<Window>,
    expect_requested_at: Option<Timestamp>,
    #[serde(default)]
    alerts: Vec<ReceivedAlerts>,
    expected_accepted_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Deserialize)]
struct Window {
    #[serde(default)]
    peaks: Vec<Peak>,
}

/// What the API server has stored of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// All of it.
    Whole,
    /// Not what came with its format: the definition of the kind is older than the status.
    InPart,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: ResourceVersion,
}

/// Replaces the status of the object, which then has the version that the API server answered.
///
/// # Errors
/// Someone else wrote the object, or the API server rejected it.
pub async fn replace_status<K>(api: &Api<K>, object: &mut K, manager: &str) -> Result<Stored, Error>
where
    K: Parts + Clone + Serialize,
{
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    let sent: Sent = serde_json::from_slice(&body).map_err(Error::SerdeError)?;
    let request = Request::new(api.resource_url());
    let request = request.replace_subresource("status", &object.name_any(), &params, body);
    let mut request = request.map_err(Error::BuildRequest)?;
    request.extensions_mut().insert("replace_status");
    let written: Written = api.clone().into_client().request(request).await?;
    object.meta_mut().resource_version = Some(written.metadata.resource_version.into());
    Ok(if written.status == sent.status { Stored::Whole } else { Stored::InPart })
}
