//! Whether the CustomResourceDefinitions in the cluster store all that this release writes.
//!
//! The API server drops fields that a definition does not have, without a word. So before this process may lead, it lets the
//! API server store the status of one object of each kind with `dryRun`, together with the fields that came with the newest
//! format, and looks at the answer. If there is no object yet, a write of a status with such a field shows it, see
//! [`super::stored`]. Definitions come as a whole, so those that have these fields have the new ones of the spec, too.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope, Resource};
use kube::{Api, Error};
use serde_json::json;
use tokio::time::sleep;

use super::Operator;
use super::queue::Name;
use super::refusal::Refusal;
use super::seen::{Kept, Shelf};
use crate::api::format::FORMAT;
use crate::api::lean::Parts;
use crate::api::names;
use crate::kubernetes::retry;

/// How soon to ask again after the API server gave no answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Lets this process lead once every object that can be listed was seen and the definitions are found to be sufficient.
pub(super) async fn examine(operator: &Operator) {
    operator.all_tried.notified().await;
    let refusal = match insufficient(operator, &operator.policies).await {
        Some(refusal) => Some(refusal),
        None => insufficient(operator, &operator.incidents).await,
    };
    match refusal {
        Some(refusal) => operator.context.refuse(refusal),
        None if operator.context.refusal.get().is_none() => operator.context.surveyed.cancel(),
        None => {}
    }
    std::future::pending().await
}

/// Why this process must not lead, if the definition of the kind is older than this release.
async fn insufficient<K>(operator: &Operator, shelf: &Shelf<K>) -> Option<Refusal>
where
    K: Kept + Parts + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug,
{
    for name in shelf.names() {
        loop {
            match would_be_stored::<K>(operator, &name).await {
                Ok(Dry::Stored) => return None,
                Ok(Dry::StoredInPart(object)) => {
                    let object = Box::new(object.object_ref(&ApiResource::erase::<K>(&())));
                    return Some(Refusal::OldDefinitions { object });
                }
                Ok(Dry::Gone) => break,
                // It is refused for another reason, such as an admission webhook without dry runs, so another object may show it.
                Err(Error::Api(status)) if matches!(status.code, 400 | 422) => break,
                // What may not be written at all loses nothing.
                Err(Error::Api(status)) if status.code == 403 => return None,
                Err(error) => {
                    tracing::warn!(why = retry::explain(&error), "cannot examine the definitions yet");
                    sleep(AGAIN).await;
                }
            }
        }
    }
    None
}

/// What would become of a status of this release.
enum Dry {
    Stored,
    StoredInPart(Box<DynamicObject>),
    Gone,
}

async fn would_be_stored<K>(operator: &Operator, name: &Name) -> Result<Dry, Error>
where
    K: Parts + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(operator.context.client.clone(), &name.namespace, &resource);
    let Some(mut object) = retry::find(&name.name, || api.get(&name.name)).await? else {
        return Ok(Dry::Gone);
    };
    let mut probe = K::newest();
    probe.insert("format".to_owned(), json!(FORMAT));
    for (field, value) in &probe {
        object.data["status"][field] = value.clone();
    }
    let params = PostParams { dry_run: true, field_manager: Some(names::MANAGER.to_owned()) };
    let answer = retry::read(|| api.replace_status(&name.name, &params, &object)).await?;
    let stored = &answer.data["status"];
    let is_stored = probe.iter().all(|(field, value)| stored.get(field) == Some(value));
    Ok(if is_stored { Dry::Stored } else { Dry::StoredInPart(Box::new(answer)) })
}
