//! `firebreak check`: whether policies and Incidents in files are valid, without
//! a cluster.
//!
//! The whole output is YAML: the findings are comments, and the permissions
//! that the policies' ServiceAccounts need are ready to be piped into
//! `kubectl apply -f -`.

pub mod documents;
mod rights;
pub mod schema;

use std::collections::BTreeMap;

use firebreak_engine::policy::PolicySpec;
use serde_json::Value;

use self::documents::Document;
use self::rights::{Account, Grant};
use self::schema::Schemas;
use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::acceptance;
use crate::settings::CheckArgs;
use crate::workloads::Profiles;

/// The namespace of a policy whose file names none.
const ASSUMED: &str = "default";

/// Checks files. Yes if nothing is wrong.
pub fn run(screen: &Screen, args: &CheckArgs, profiles: Profiles) -> Result<Answer, Error> {
    let checker = Checker::new(profiles);
    let mut faults = 0;
    let mut grants = BTreeMap::new();
    let mut objects = 0;
    for file in &args.files {
        let text = documents::text(file)?;
        let documents = match documents::parse(&text) {
            Ok(documents) => documents,
            Err(problem) => {
                faults += 1;
                screen.lines(&[
                    verdict(&file.display().to_string(), std::slice::from_ref(&problem)),
                    fault(&problem),
                ])?;
                continue;
            }
        };
        for document in documents {
            let label = format!("{}: {document}", file.display());
            let Some(found) = checker.check(&document, &mut grants) else {
                screen.lines(&[Line::of(format!("# {label}: skipped, not a Firebreak kind"))])?;
                continue;
            };
            objects += 1;
            faults += found.len();
            let lines: Vec<Line> = std::iter::once(verdict(&label, &found))
                .chain(found.iter().map(|text| fault(text)))
                .collect();
            screen.lines(&lines)?;
        }
    }
    if objects == 0 && faults == 0 {
        return Err(Error::failed(
            "there is nothing to check",
            "no file has a RemediationPolicy or an Incident",
            "name a file that has one with -f",
        ));
    }
    screen.text(&rights::manifests(&grants, &checker.profiles)?)?;
    Ok(if faults == 0 { Answer::Yes } else { Answer::No })
}

fn verdict(label: &str, faults: &[String]) -> Line {
    let line = Line::of(format!("# {label}: "));
    match faults.len() {
        0 => line.add(Style::Good, "OK"),
        1 => line.add(Style::Bad, "1 error"),
        number => line.add(Style::Bad, format!("{number} errors")),
    }
}

fn fault(text: &str) -> Line {
    Line::of(format!("#   {text}"))
}

/// What is needed to check any number of objects.
struct Checker {
    schemas: Schemas,
    profiles: Profiles,
}

impl Checker {
    fn new(profiles: Profiles) -> Self {
        Self { schemas: Schemas::new(), profiles }
    }

    /// The faults of an object, each with its field; none at all if it is not one of our kinds.
    /// The needs of a policy without faults are added to the grants.
    fn check(&self, document: &Document, grants: &mut BTreeMap<Account, Grant>) -> Option<Vec<String>> {
        let mut faults = self.schemas.check(document.value())?;
        if document.kind() != "RemediationPolicy" {
            return Some(faults);
        }
        // Its expressions can be checked even if another field is invalid.
        let spec = document.value().get("spec").cloned().unwrap_or(Value::Null);
        let Ok(spec) = serde_json::from_value::<PolicySpec>(spec) else { return Some(faults) };
        match acceptance::rules(&spec, &self.profiles) {
            Err(found) => faults.extend(found),
            Ok(rules) if faults.is_empty() => {
                let namespace = document.namespace().unwrap_or(ASSUMED).to_owned();
                let used = acceptance::used(&rules, &namespace, &self.profiles);
                let account = Account { namespace, name: rules.service_account };
                let grant = grants.entry(account).or_default();
                grant.assumed |= document.namespace().is_none();
                grant.policies.insert(document.name().to_owned());
                grant.used.extend(used);
            }
            Ok(_) => {}
        }
        Some(faults)
    }
}

#[cfg(test)]
mod tests;
