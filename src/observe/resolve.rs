//! Which resource serves the kind of object that a signal watches.

use std::sync::Arc;

use futures::FutureExt;

use super::hub::{Changes, ErrorCounter, Hub, Resolve};
use super::watch::{Served, Unresolved};
use crate::configuration::{EndpointsInForce, ProfilesInForce};
use crate::kubernetes::discovery::{Discovery, ResolveError};

/// The watches of signals, which find their kinds by this discovery.
pub fn hub(
    discovery: Discovery,
    profiles: impl Into<ProfilesInForce>,
    endpoints: impl Into<EndpointsInForce>,
    errors: ErrorCounter,
) -> (Hub, Changes) {
    let resolve: Resolve = Arc::new(move |api_version, kind| {
        let discovery = discovery.clone();
        async move {
            match discovery.resolve(&api_version, &kind).await {
                Ok(found) => Ok(Served { resource: found.resource, namespaced: found.namespaced }),
                Err(error @ (ResolveError::NotFound { .. } | ResolveError::Malformed(_))) => {
                    Err(Unresolved::NoSuchKind(error.to_string()))
                }
                Err(error @ ResolveError::Unreachable { .. }) => Err(Unresolved::Trouble(error.to_string())),
            }
        }
        .boxed()
    });
    Hub::new(profiles, endpoints, resolve, errors)
}
