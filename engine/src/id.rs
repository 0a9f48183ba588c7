//! Identities of objects, of their versions, and of changes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::Severity;

/// An object. It identifies this one object only: another object of the same name has another `uid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetId {
    /// API group and version, for example `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(max = 317)))]
    pub api_version: String,
    /// Kind, for example `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub kind: String,
    /// Namespace. Empty for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub namespace: String,
    /// Name.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub name: String,
    /// The uid of the object.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub uid: String,
}

impl TargetId {
    /// A pod.
    pub fn pod(namespace: &str, name: String, uid: String) -> Self {
        let (api_version, kind) = ("v1".to_owned(), "Pod".to_owned());
        Self { api_version, kind, namespace: namespace.to_owned(), name, uid }
    }

    /// The command that reverts the object from its own record.
    pub fn undo_command(&self) -> String {
        format!("firebreak undo {}/{}{}", self.kind.to_ascii_lowercase(), self.name, self.namespace_flag())
    }

    /// The flag that names its namespace in a command, after a space; empty if it is cluster-scoped.
    pub fn namespace_flag(&self) -> String {
        if self.namespace.is_empty() { String::new() } else { format!(" -n {}", self.namespace) }
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A resourceVersion that makes a write conditional. The empty one, `0` and
/// null make a patch unconditional on the server, so they cannot be constructed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceVersion(String);

/// The text would make a write unconditional.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a resourceVersion that can guard a write")]
pub struct NotAGuard(String);

impl ResourceVersion {
    /// As the API wants it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResourceVersion {
    type Error = NotAGuard;
    fn try_from(text: String) -> Result<Self, NotAGuard> {
        if text.is_empty() || text.bytes().all(|byte| byte == b'0') {
            Err(NotAGuard(text))
        } else {
            Ok(Self(text))
        }
    }
}

impl From<ResourceVersion> for String {
    fn from(version: ResourceVersion) -> Self {
        version.0
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ResourceVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ResourceVersion".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 64})
    }
}

/// The identity of one change: one step of one Incident on one object. Every controller computes the same id,
/// so it is also the id of the loan in the undo record of the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ChangeId(#[cfg_attr(feature = "schema", schemars(length(max = 64)))] String);

impl ChangeId {
    /// The id of what `step` of the Incident with this uid does to the object
    /// with uid `target`.
    pub fn of(incident: &str, step: &str, target: &str) -> Self {
        Self(digest(&[incident, step, target])[..16].to_owned())
    }

    /// The id of a later attempt at an operation whose first one has this id.
    pub fn attempt(first: &Self, number: usize) -> Self {
        Self(digest(&[first.as_str(), &number.to_string()])[..16].to_owned())
    }

    /// The id of what is done to the object with uid `target` for this change.
    pub fn on_behalf_of(change: &Self, target: &str) -> Self {
        Self(digest(&[change.as_str(), target])[..16].to_owned())
    }

    /// The text in status and record.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over the parts, in hexadecimal. The boundaries between the parts count.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Incident that owns a loan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId {
    /// Namespace of the Incident.
    pub namespace: String,
    /// Name of the Incident.
    pub name: String,
    /// Its uid, which a second Incident of that name does not share.
    pub uid: String,
}

impl IncidentId {
    /// The command that reverts all changes and closes the Incident.
    pub fn withdraw_command(&self) -> String {
        self.command("withdraw")
    }

    /// The command that sets the severity of the open Incident.
    pub fn pin_command(&self, level: Severity) -> String {
        format!(
            "kubectl patch incident {} -n {} --type=merge -p '{{\"spec\":{{\"severity\":\"{level}\"}}}}'",
            self.name, self.namespace
        )
    }

    /// The command line with this verb for one step of the Incident.
    pub fn command_for_step(&self, verb: &str, step: &str) -> String {
        format!("firebreak {verb} {} {step} -n {}", self.name, self.namespace)
    }

    /// The command line with this verb for the Incident.
    pub fn command(&self, verb: &str) -> String {
        format!("firebreak {verb} {} -n {}", self.name, self.namespace)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.uid)
    }
}

/// The group of an apiVersion; empty for the core group.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_guards_nothing_cannot_be_built() {
        for text in ["", "0", "00"] {
            assert!(ResourceVersion::try_from(text.to_owned()).is_err());
        }
        assert!(ResourceVersion::try_from("48213".to_owned()).is_ok());
    }

    #[test]
    fn ids_depend_on_every_part() {
        let id = ChangeId::of("i", "step", "uid");
        assert_eq!(id, ChangeId::of("i", "step", "uid"));
        assert_ne!(id, ChangeId::of("i", "ste", "puid"));
    }
}
