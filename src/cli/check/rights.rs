//! The minimal permissions that policies need, as YAML to apply: roles and bindings of their own for each policy, so that
//! what is printed for several policies adds up, whether they are checked together or one after the other.
//!
//! Offline it is not known which resource serves a kind: for kinds of Kubernetes and
//! those with a profile the plural follows from the kind; for others it is a
//! guess, and a comment says so.

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::policy::default_service_account;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::acceptance::{Presence, Used};
use crate::cli::Error;
use crate::kubernetes::access::Right;
use crate::look::targets::SCALED_OBJECT;
use crate::workloads::Profiles;

/// Verbs in the order in which people write them.
const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "use"];

/// The label of all roles and bindings, by which they are found and deleted.
const PART_OF: &str = "app.kubernetes.io/part-of";
/// Its value.
const FIREBREAK: &str = "firebreak";

/// A policy that needs permissions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grantee {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub policy: String,
}

impl Grantee {
    /// The name of its roles and bindings. One namespace may have roles of policies of several others.
    fn role(&self) -> String {
        format!("firebreak.{}.{}", self.policy, self.namespace)
    }
}

/// The permissions that a policy needs. A policy that is in several files has one grant for all of them.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The ServiceAccounts that act for it: one, unless files differ.
    pub accounts: BTreeSet<String>,
    /// Whether its namespace is only assumed.
    pub assumed: bool,
    /// What it uses.
    pub used: Vec<Used>,
    /// The permissions that do not depend on which resource serves a kind.
    pub rights: BTreeSet<Right>,
}

/// A resource, as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Resource {
    group: String,
    plural: String,
    /// The only object that is meant; none for all.
    name: Option<String>,
}
/// The verbs on each resource in each namespace; the empty namespace is the whole cluster.
type Rights = BTreeMap<String, BTreeMap<Resource, BTreeSet<&'static str>>>;

/// ServiceAccounts, roles and bindings for all of them.
pub fn manifests(grants: &BTreeMap<Grantee, Grant>, profiles: &Profiles) -> Result<String, Error> {
    let mut text = String::new();
    let mut created = BTreeSet::new();
    for (grantee, grant) in grants {
        let (mut rights, words) = rights(&grant.used, profiles);
        grant.rights.iter().for_each(|right| add(&mut rights, right));
        text.push_str("---\n");
        for comment in comments(grantee, grant).into_iter().chain(words) {
            text.push_str(&format!("# {comment}\n"));
        }
        let new = grant.accounts.iter().filter(|name| created.insert((&grantee.namespace, *name)));
        let accounts: Vec<Value> = new.map(|name| account(&grantee.namespace, name)).collect();
        let documents = accounts.into_iter().chain(roles(grantee, grant, &rights));
        let yaml: Result<Vec<String>, Error> = documents
            .map(|document| {
                serde_saphyr::to_string(&document).map_err(|error| Error::bug("cannot write YAML", error))
            })
            .collect();
        text.push_str(&yaml?.join("---\n"));
    }
    Ok(text)
}

/// What people must know about the permissions of a policy.
fn comments(grantee: &Grantee, grant: &Grant) -> Vec<String> {
    let Grantee { namespace, policy } = grantee;
    let accounts: Vec<&str> = grant.accounts.iter().map(String::as_str).collect();
    let mut comments = vec![format!(
        "The minimal permissions of policy {namespace}/{policy}, for ServiceAccount {}.",
        accounts.join(", ")
    )];
    if grant.assumed {
        comments.push(format!("The file sets no namespace, so this assumes the namespace {namespace}."));
    }
    if grant.used.iter().any(|used| used.verbs.contains(&"patch")) {
        comments.push(
            "If another object owns a target, Firebreak changes the owner instead: add get and patch on its kind."
                .to_owned(),
        );
    }
    let others = accounts.into_iter().filter(|name| *name != default_service_account());
    comments.extend(others.map(|name| {
        format!(
            "Add {name} to resourceNames in the operator's ClusterRole; otherwise the operator may not impersonate it."
        )
    }));
    comments
}

fn account(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    })
}

/// The permissions by namespace, and a note on what is uncertain.
fn rights(all: &[Used], profiles: &Profiles) -> (Rights, BTreeSet<String>) {
    let (mut rights, mut words) = (Rights::new(), BTreeSet::new());
    for used in all {
        let (group, version) = used.api_version.split_once('/').unwrap_or(("", &used.api_version));
        let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &used.kind)).plural;
        let may_be_absent = group.contains('.') && !group.ends_with(".k8s.io");
        if used.presence == Presence::Optional
            || matches!(used.presence, Presence::Helpful(_)) && may_be_absent
        {
            words.insert(format!("{plural}.{group} is needed only if it is installed."));
        }
        let is_needed_anyway = |other: &Used| {
            other.presence == Presence::Required
                && (&other.api_version, &other.kind) == (&used.api_version, &used.kind)
        };
        if let Presence::Helpful(unknown) = used.presence
            && !all.iter().any(is_needed_anyway)
        {
            words.insert(format!("Without list on {plural}, the policy works, but {unknown}."));
        }
        let is_known = !group.contains('.')
            || group.ends_with(".k8s.io")
            || (used.api_version.as_str(), used.kind.as_str()) == SCALED_OBJECT
            || profiles.find(&used.api_version, &used.kind).is_some();
        if !is_known {
            words.insert(format!(
                "{plural}.{group} is a guess from the kind {}; check it with `kubectl api-resources`.",
                used.kind
            ));
        }
        for namespace in &used.namespaces {
            let resources = rights.entry(namespace.clone()).or_default();
            // In a Role, `namespaces` means its own namespace, and can be restricted to it by name.
            let own = !namespace.is_empty() && group.is_empty() && plural == "namespaces";
            let name = own.then(|| namespace.clone());
            let resource = Resource { group: group.to_owned(), plural: plural.clone(), name };
            resources.entry(resource).or_default().extend(used.verbs);
        }
    }
    // A permission in the whole cluster need not be repeated in a namespace.
    let everywhere = rights.get("").cloned().unwrap_or_default();
    for (_, resources) in rights.iter_mut().filter(|(namespace, _)| !namespace.is_empty()) {
        for (resource, verbs) in resources.iter_mut() {
            let all = Resource { name: None, ..resource.clone() };
            verbs.retain(|verb| !everywhere.get(&all).is_some_and(|given| given.contains(verb)));
        }
        resources.retain(|_, verbs| !verbs.is_empty());
    }
    rights.retain(|_, resources| !resources.is_empty());
    (rights, words)
}

/// Adds one permission.
fn add(rights: &mut Rights, right: &Right) {
    let Right { verb, group, resource, namespace, name } = right.clone();
    let Some(verb) = VERBS.iter().copied().find(|known| *known == verb) else { return };
    let resources = rights.entry(namespace.unwrap_or_default()).or_default();
    resources.entry(Resource { group, plural: resource, name }).or_default().insert(verb);
}

/// A role and its binding for each namespace.
fn roles(grantee: &Grantee, grant: &Grant, rights: &Rights) -> Vec<Value> {
    let mut documents = Vec::new();
    let name = grantee.role();
    let subject =
        |account: &String| json!({"kind": "ServiceAccount", "name": account, "namespace": grantee.namespace});
    let subjects: Vec<Value> = grant.accounts.iter().map(subject).collect();
    for (namespace, resources) in rights {
        let labels = json!({PART_OF: FIREBREAK});
        let (kind, metadata) = if namespace.is_empty() {
            ("ClusterRole", json!({"name": name, "labels": labels}))
        } else {
            ("Role", json!({"name": name, "namespace": namespace, "labels": labels}))
        };
        documents.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": metadata, "rules": rules(resources),
        }));
        documents.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": subjects,
        }));
    }
    documents
}

/// The resources with the same group, name and verbs.
type Rules<'r> = BTreeMap<(&'r str, Option<&'r str>, Vec<&'r str>), Vec<&'r str>>;

/// One rule for each group, name and set of verbs.
fn rules(resources: &BTreeMap<Resource, BTreeSet<&'static str>>) -> Vec<Value> {
    let mut rules = Rules::new();
    for (Resource { group, plural, name }, verbs) in resources {
        let ordered = VERBS.iter().copied().filter(|verb| verbs.contains(verb)).collect();
        rules.entry((group, name.as_deref(), ordered)).or_default().push(plural);
    }
    rules
        .into_iter()
        .map(|((group, name, verbs), resources)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if let Some(name) = name {
                rule["resourceNames"] = json!([name]);
            }
            rule
        })
        .collect()
}
