//! Which objects the targets of a step select by names, labels and namespaces, whatever `where` says.

use std::collections::BTreeSet;

use firebreak_engine::policy::TargetsSpec;
use firebreak_engine::rules::Step;
use serde_json::Value;

use super::{Reader, Unread};
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::names::is_name;
use crate::observe::selector_text;

/// The maximum number of names of a step for which each object is read by name.
const LOOKED_UP: usize = 4;

impl Reader<'_> {
    /// The resource of the targets of a step, and their labels as in the API.
    pub(super) async fn scope_of(&self, step: &Step) -> Result<(ServedKind, String), Unread> {
        let scope = &step.targets().scope;
        let kind = self.resolve(&scope.api_version, &scope.kind).await?;
        let everywhere = scope.namespaces.as_ref().is_some_and(|namespaces| namespaces.all);
        if !kind.namespaced && !everywhere {
            let why = format!("{} is cluster-scoped; set `namespaces: {{all: true}}`", scope.kind);
            return Err(Unread::Refused(why));
        }
        let labels = selector_text(scope.selector.as_ref()).map_err(Unread::Refused)?;
        Ok((kind, labels))
    }
}

/// One list for each of a few names, so that the number of other objects does not matter; otherwise one
/// for all.
pub(super) fn names_to_look_up(names: &[String]) -> Vec<Option<&str>> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let can_be_looked_up = (1..=LOOKED_UP).contains(&names.len()) && names.iter().all(|name| is_name(name));
    if can_be_looked_up { names.into_iter().map(Some).collect() } else { vec![None] }
}

pub(super) fn is_named(scope: &TargetsSpec, object: &Value) -> bool {
    scope.names.is_empty() || scope.names.iter().any(|name| is_called(name, object))
}

/// Whether this is the name of the object.
pub(super) fn is_called(name: &str, object: &Value) -> bool {
    object.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
}

/// The names that none of the objects has that were found.
pub(super) fn absent(scope: &TargetsSpec, found: &BTreeSet<&String>) -> Vec<String> {
    let names: BTreeSet<&String> = scope.names.iter().collect();
    names.difference(found).map(|name| (*name).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_names_are_looked_up_and_many_are_found_in_a_list_of_all() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names_to_look_up(&names(&["chat"])), [Some("chat")]);
        assert_eq!(names_to_look_up(&names(&["b", "a", "b"])), [Some("a"), Some("b")]);
        assert_eq!(names_to_look_up(&[]), [None]);
        assert_eq!(names_to_look_up(&names(&["a", "b", "c", "d", "e"])), [None]);
        assert_eq!(
            names_to_look_up(&names(&["a,metadata.namespace=b"])),
            [None],
            "it would be another selector"
        );
    }
}
