//! `firebreak check`: whether policies and Incidents in files are valid, without
//! a cluster, and on a cluster also whether Argo CD would restore what they change.
//!
//! The whole output is YAML: the findings are comments, and the permissions
//! that the policies need are ready to be piped into `kubectl apply -f -`.

mod argo;
mod cluster;
pub mod documents;
mod rights;
pub mod schema;
mod signals;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use firebreak_engine::decide_policy::NO_SEVERITY_RULES;
use firebreak_engine::policy::{PolicySpec, Severity};
use firebreak_engine::rules::Rules;
use serde_json::Value;

use self::documents::Document;
use self::rights::{Grant, Grantee};
use self::schema::Schemas;
use super::connection::Connection;
use super::screen::{Line, Screen, Style, note};
use super::{Answer, Error};
use crate::acceptance::{self, NamedKind};
use crate::endpoints::Endpoints;
use crate::kubernetes::built_in;
use crate::kubernetes::client::ClusterChoice;
use crate::kubernetes::discovery::{Discovery, ResolveError};
use crate::kubernetes::retry;
use crate::settings::CheckArgs;
use crate::workloads::Profiles;

/// The namespace of a policy whose file names none, without a cluster.
const ASSUMED: &str = "default";

/// Checks files. Yes if nothing is wrong with them: what Argo CD does is no fault of a policy. Without the operator's
/// configuration, it is not known which endpoints there are.
pub async fn run(
    screen: &Screen,
    cluster: &ClusterChoice,
    args: &CheckArgs,
    profiles: Profiles,
    endpoints: Option<Endpoints>,
) -> Result<Answer, Error> {
    let connection = if args.cluster { Some(reach(cluster).await?) } else { None };
    let assumed = connection.as_ref().map(|connection| connection.client.default_namespace());
    let assumed = args.namespace.as_deref().or(assumed).unwrap_or(ASSUMED);
    let checker = Checker { endpoints, ..Checker::new(profiles, assumed) };
    let mut good = Good::default();
    let faults = files(screen, args, &checker, connection.as_ref(), &mut good).await?;
    if let Some(connection) = &connection {
        note("reads the cluster as you; the operator may see less or more");
        for policy in &good.policies {
            let found = cluster::read(connection, &checker.profiles, &policy.namespace, &policy.rules).await;
            let called = format!("policy {}/{}", policy.namespace, policy.name);
            screen.lines(&argo::lines(&called, &found)?)?;
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
async fn files(
    screen: &Screen,
    args: &CheckArgs,
    checker: &Checker,
    cluster: Option<&Connection>,
    good: &mut Good,
) -> Result<usize, Error> {
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
            let Some(Checked { faults: mut found, policy }) = checker.check(&document) else {
                screen.lines(&[Line::of(format!("# {label}: skipped, not a Firebreak kind"))])?;
                continue;
            };
            if let Some(policy) = &policy {
                let discovery = cluster.map(|connection| &connection.discovery);
                found.extend(unknown_kinds(&policy.rules, discovery).await?);
            }
            objects += 1;
            faults += found.len();
            say(screen, &label, &found)?;
            if let Some(policy) = policy.filter(|_| found.is_empty()) {
                remark(screen, &label, &policy.remarks())?;
                good.add(policy, &checker.profiles);
            }
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

/// Says what is no fault of an object. In a pipe to kubectl nobody sees standard output.
fn remark(screen: &Screen, label: &str, remarks: &[String]) -> Result<(), Error> {
    screen.lines(&remarks.iter().map(|text| fault(text)).collect::<Vec<_>>())?;
    if !io::stdout().is_terminal() {
        remarks.iter().for_each(|text| note(&format!("{label}: {text}")));
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

/// The kinds of Kubernetes that do not exist, each with its field. What a cluster serves exists, however new it is.
async fn unknown_kinds(rules: &Rules, cluster: Option<&Discovery>) -> Result<Vec<String>, Error> {
    let mut faults = Vec::new();
    for NamedKind { field, api_version, kind } in acceptance::named_kinds(rules) {
        let Some(fault) = built_in::fault(&api_version, &kind) else { continue };
        let fault = match cluster {
            None => fault,
            Some(discovery) => match discovery.resolve(&api_version, &kind).await {
                Ok(_) => continue,
                Err(error @ (ResolveError::NotFound { .. } | ResolveError::Malformed(_))) => {
                    error.to_string()
                }
                Err(ResolveError::Unreachable { source, .. }) => {
                    return Err(Error::request(format!("cannot check {field}.kind on the cluster"), &source));
                }
            },
        };
        faults.push(format!("{field}.kind: {fault}"));
    }
    Ok(faults)
}

/// What the policies without faults need, and what they do.
#[derive(Default)]
struct Good {
    grants: BTreeMap<Grantee, Grant>,
    policies: Vec<Policy>,
}

impl Good {
    fn add(&mut self, policy: Policy, profiles: &Profiles) {
        let grantee = Grantee { namespace: policy.namespace.clone(), policy: policy.name.clone() };
        let grant = self.grants.entry(grantee).or_default();
        grant.assumed |= policy.assumed;
        grant.accounts.insert(policy.rules.service_account.clone());
        grant.used.extend(acceptance::used(&policy.rules, &policy.namespace, profiles));
        grant.rights.extend(acceptance::known_rights(&policy.rules, &policy.namespace));
        self.policies.push(policy);
    }
}

/// What was found in an object of ours.
struct Checked {
    /// Its faults, each with its field.
    faults: Vec<String>,
    /// The policy, if it is one without faults.
    policy: Option<Policy>,
}

/// A policy without faults.
struct Policy {
    name: String,
    namespace: String,
    /// Whether its file names no namespace.
    assumed: bool,
    rules: Rules,
}

impl Policy {
    /// What is no fault, and may surprise people.
    fn remarks(&self) -> Vec<String> {
        let Self { name, namespace, rules, .. } = self;
        let opens_nothing = || {
            let level = Severity::worst_of(rules.steps.iter().map(|step| &step.definition));
            let open = format!("firebreak open {name} -n {namespace} --severity {level}");
            format!("{NO_SEVERITY_RULES}: `{open}`")
        };
        let opens_nothing = rules.severity.is_empty().then(opens_nothing);
        opens_nothing.into_iter().chain(signals::unknown_functions(rules)).collect()
    }
}

/// What is needed to check any number of objects.
struct Checker {
    schemas: Schemas,
    profiles: Profiles,
    /// The namespace of a policy whose file names none.
    assumed: String,
    /// The endpoints of the operator's configuration; none if that was not given.
    endpoints: Option<Endpoints>,
}

impl Checker {
    fn new(profiles: Profiles, assumed: &str) -> Self {
        Self { schemas: Schemas::new(), profiles, assumed: assumed.to_owned(), endpoints: None }
    }

    /// What is found in an object; none at all if it is not one of our kinds.
    fn check(&self, document: &Document) -> Option<Checked> {
        let mut faults = self.schemas.check(document.value())?;
        if document.kind() != "RemediationPolicy" {
            return Some(Checked { faults, policy: None });
        }
        // Its expressions can be checked even if another field is invalid.
        let spec = document.value().get("spec").cloned().unwrap_or(Value::Null);
        let Ok(spec) = serde_json::from_value::<PolicySpec>(spec) else {
            return Some(Checked { faults, policy: None });
        };
        let policy = match acceptance::rules(&spec, &self.profiles) {
            Err(found) => {
                faults.extend(found);
                None
            }
            Ok(rules) => {
                let endpoints = self.endpoints.as_ref();
                faults
                    .extend(endpoints.map(|all| signals::missing_endpoints(&rules, all)).unwrap_or_default());
                faults.is_empty().then(|| Policy {
                    name: document.name().to_owned(),
                    namespace: document.namespace().unwrap_or(&self.assumed).to_owned(),
                    assumed: document.namespace().is_none(),
                    rules,
                })
            }
        };
        Some(Checked { faults, policy })
    }
}

#[cfg(test)]
mod tests;
