//! Kinds without a profile that a step scales: their definition says where the
//! number of replicas is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use firebreak_engine::action::Fields;
use firebreak_engine::rules::Step;

use super::Kinds;
use crate::workloads::{Profile, Profiles};

/// The profiles, including those from the definitions of further kinds that these steps scale; and by step, why
/// that is not known. A kind whose definition has no scale subresource stays without a profile.
pub(super) async fn with_scaled_kinds<'a>(
    kinds: Kinds<'a>,
    steps: &[Step],
) -> (Cow<'a, Profiles>, BTreeMap<String, String>) {
    let mut profiles = Cow::Borrowed(kinds.profiles);
    let mut unread = BTreeMap::new();
    for step in steps {
        match step.action.descriptor().fields {
            Fields::Profile => continue,
            Fields::ProfileOrScale => {}
        }
        let (api_version, kind) = (&step.targets().scope.api_version, &step.targets().scope.kind);
        if profiles.find(api_version, kind).is_some() {
            continue;
        }
        match scaled(kinds, api_version, kind).await {
            Ok(Some(profile)) => profiles = Cow::Owned(profiles.into_owned().with(profile)),
            Ok(None) => {}
            Err(why) => {
                unread.insert(step.name.clone(), format!("the definition of {kind} cannot be read: {why}"));
            }
        }
    }
    (profiles, unread)
}

async fn scaled(kinds: Kinds<'_>, api_version: &str, kind: &str) -> Result<Option<Profile>, String> {
    let served = kinds.discovery.resolve(api_version, kind).await.map_err(|error| error.to_string())?;
    if !served.has("scale") {
        return Ok(None);
    }
    let paths = kinds.discovery.scale_paths(&served).await.map_err(|error| error.to_string())?;
    Ok(paths.and_then(|paths| Profile::of_scale(api_version, kind, &paths.spec, &paths.status)))
}
