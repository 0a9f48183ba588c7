//! What is wrong with a policy: everything, not only the first fault.

use std::collections::BTreeSet;

use super::{Fault, Shapes};
use crate::expression::{Condition, ExpressionError, ObjectCondition, ObjectScope};
use crate::selector::NamespacesSpec;

/// Everything that is wrong so far.
#[derive(Default)]
pub(crate) struct Faults {
    found: Vec<Fault>,
    /// Signals of an unknown kind. Expressions that read them are not checked, and are not at fault.
    shapeless: BTreeSet<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.found.push(Fault { field: field.into(), problem: problem.into() });
    }

    pub(super) fn is_shapeless(&mut self, signal: &str) {
        self.shapeless.insert(signal.to_owned());
    }

    /// The result if nothing is wrong with it.
    pub(crate) fn or<T>(self, result: T) -> Result<T, Vec<Fault>> {
        if self.found.is_empty() { Ok(result) } else { Err(self.found) }
    }

    pub(super) fn condition(&mut self, field: String, source: &str, shapes: &Shapes) -> Option<Condition> {
        match Condition::parse(source, shapes) {
            Ok(condition) => Some(condition),
            Err(ExpressionError::UnknownSignal(name, _)) if self.shapeless.contains(&name) => None,
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    pub(crate) fn object_condition(
        &mut self,
        field: String,
        source: &str,
        scope: ObjectScope,
    ) -> Option<ObjectCondition> {
        ObjectCondition::parse(source, scope).map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// `field` is the one that has the namespaces.
    pub(crate) fn check_namespaces(&mut self, namespaces: Option<&NamespacesSpec>, field: &str) {
        if namespaces.is_some_and(|namespaces| namespaces.all != namespaces.names.is_empty()) {
            self.add(format!("{field}.namespaces"), "exactly one of all: true and names must be set");
        }
    }

    pub(super) fn check_unique<'a>(
        &mut self,
        list: &str,
        key: &str,
        names: impl Iterator<Item = &'a String>,
    ) {
        let mut seen = BTreeSet::new();
        for (at, name) in names.enumerate() {
            if !seen.insert(name) {
                let problem = format!("\"{name}\" occurs twice; give each entry its own {key}");
                self.add(format!("{list}[{at}].{key}"), problem);
            }
        }
    }
}
