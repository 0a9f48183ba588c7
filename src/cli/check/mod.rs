//! `firebreak check`: whether policies and Incidents in files are valid, without
//! a cluster, and on a cluster also whether Argo CD would restore what they change.
//!
//! The whole output is YAML: the findings are comments, and the permissions
//! that the policies' ServiceAccounts need are ready to be piped into
//! `kubectl apply -f -`.

mod argo;
mod cluster;
pub mod documents;
mod rights;
pub mod schema;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::Rules;
use serde_json::Value;

use self::documents::Document;
use self::rights::{Account, Grant};
use self::schema::Schemas;
use super::connection::Connection;
use super::screen::{Line, Screen, Style, note};
use super::{Answer, Error};
use crate::acceptance;
use crate::kubernetes::client::ClusterChoice;
use crate::kubernetes::retry;
use crate::settings::CheckArgs;
use crate::workloads::Profiles;

/// The namespace of a policy whose file names none, without a cluster.
const ASSUMED: &str = "default";

/// Checks files. Yes if nothing is wrong with them: what Argo CD does is no fault of a policy.
pub async fn run(
    screen: &Screen,
    cluster: &ClusterChoice,
    args: &CheckArgs,
    profiles: Profiles,
) -> Result<Answer, Error> {
    let connection = if args.cluster { Some(reach(cluster).await?) } else { None };
    let assumed = connection.as_ref().map(|connection| connection.client.default_namespace());
    let assumed = args.namespace.as_deref().or(assumed).unwrap_or(ASSUMED);
    let checker = Checker::new(profiles, assumed);
    let mut good = Good::default();
    let faults = offline(screen, args, &checker, &mut good)?;
    if let Some(connection) = &connection {
        note("reads the cluster as you; the operator may see less or more");
        for policy in &good.policies {
            let found = cluster::read(connection, &checker.profiles, &policy.namespace, &policy.rules).await;
            screen.lines(&argo::lines(&policy.called, &found)?)?;
        }
    }
    screen.text(&rights::manifests(&good.grants, &checker.profiles)?)?;
    Ok(if faults == 0 { Answer::Yes } else { Answer::No })
}

/// A cluster that answers.
async fn reach(cluster: &ClusterChoice) -> Result<Connection, Error> {
    let connection = Connection::open(cluster).await?;
    match retry::read(|| connection.client.apiserver_version()).await {
        Ok(_) => Ok(connection),
        Err(error) => Err(Error::request("cannot check on the cluster", &error)),
    }
}

/// Checks all objects of the files, and returns the number of faults.
fn offline(screen: &Screen, args: &CheckArgs, checker: &Checker, good: &mut Good) -> Result<usize, Error> {
    let mut faults = 0;
    let mut objects = 0;
    for file in &args.files {
        let text = documents::text(file)?;
        let documents = match documents::parse(&text) {
            Ok(documents) => documents,
            Err(problem) => {
                faults += 1;
                say(screen, &file.display().to_string(), std::slice::from_ref(&problem))?;
                continue;
            }
        };
        for document in documents {
            let label = format!("{}: {document}", file.display());
            let Some(found) = checker.check(&document, good) else {
                screen.lines(&[Line::of(format!("# {label}: skipped, not a Firebreak kind"))])?;
                continue;
            };
            objects += 1;
            faults += found.len();
            say(screen, &label, &found)?;
        }
    }
    if objects == 0 && faults == 0 {
        return Err(Error::failed(
            "there is nothing to check",
            "no file has a RemediationPolicy or an Incident",
            "name a file that has one with -f",
        ));
    }
    Ok(faults)
}

/// Says what is wrong with an object, if anything. In a pipe to kubectl nobody sees standard output.
fn say(screen: &Screen, label: &str, faults: &[String]) -> Result<(), Error> {
    let lines = std::iter::once(verdict(label, faults)).chain(faults.iter().map(|text| fault(text)));
    screen.lines(&lines.collect::<Vec<_>>())?;
    if !io::stdout().is_terminal() {
        faults.iter().for_each(|text| note(&format!("{label}: {text}")));
    }
    Ok(())
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

/// What the policies without faults need, and what they do.
#[derive(Default)]
struct Good {
    grants: BTreeMap<Account, Grant>,
    policies: Vec<Policy>,
}

/// A policy without faults.
struct Policy {
    /// For people.
    called: String,
    namespace: String,
    rules: Rules,
}

/// What is needed to check any number of objects.
struct Checker {
    schemas: Schemas,
    profiles: Profiles,
    /// The namespace of a policy whose file names none.
    assumed: String,
}

impl Checker {
    fn new(profiles: Profiles, assumed: &str) -> Self {
        Self { schemas: Schemas::new(), profiles, assumed: assumed.to_owned() }
    }

    /// The faults of an object, each with its field; none at all if it is not one of our kinds.
    /// A policy without faults is added to the good ones.
    fn check(&self, document: &Document, good: &mut Good) -> Option<Vec<String>> {
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
                let namespace = document.namespace().unwrap_or(&self.assumed).to_owned();
                let used = acceptance::used(&rules, &namespace, &self.profiles);
                let name = rules.service_account.clone();
                let account = Account { namespace: namespace.clone(), name };
                let grant = good.grants.entry(account).or_default();
                grant.assumed |= document.namespace().is_none();
                grant.policies.insert(document.name().to_owned());
                grant.used.extend(used);
                let called = format!("policy {namespace}/{}", document.name());
                good.policies.push(Policy { called, namespace, rules });
            }
            Ok(_) => {}
        }
        Some(faults)
    }
}

#[cfg(test)]
mod tests;
