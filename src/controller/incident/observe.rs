//! Gathers what a decision about an Incident starts from, and performs the live
//! reads that it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::decide::ladder;
use firebreak_engine::facts::{Look, LookResult, Reading, Target};
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::policy::{NamespacesSpec, TargetsSpec};
use firebreak_engine::rules::{Rules, Step};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::Value;

use crate::actuator::live_read::{self, Read};
use crate::kubernetes::discovery::{Discovery, ResolveError, ServedKind};
use crate::observe::{Hub, PolicyKey, selector_text};
use crate::workloads::{self, Profiles};

/// Live reads in flight.
const IN_FLIGHT: usize = 32;

/// The client that acts as the ServiceAccount, or why there is none.
pub type Account = Result<Client, String>;

/// Which resources serve kinds, and where kinds keep their fields.
#[derive(Clone, Copy)]
pub struct Kinds<'a> {
    /// Which resource serves a kind.
    pub discovery: &'a Discovery,
    /// Where a kind keeps its fields.
    pub profiles: &'a Profiles,
}

/// What the signals of a policy say.
pub fn signals(hub: &Hub, policy: &PolicyKey, rules: &Rules) -> BTreeMap<String, Reading> {
    let reading = |name: &String| hub.reading(policy, name);
    rules.signals.iter().map(|signal| (signal.name.clone(), reading(&signal.name))).collect()
}

/// Performs live reads, several at a time.
pub async fn look(
    kinds: Kinds<'_>,
    account: &Account,
    namespace: &str,
    state: &IncidentState,
    rules: Option<&Rules>,
    looks: impl IntoIterator<Item = Look>,
) -> Vec<(Look, LookResult)> {
    let client = match account {
        Ok(client) => client,
        Err(why) => {
            let refused = || LookResult::Refused { why: why.clone() };
            return looks.into_iter().map(|look| (look, refused())).collect();
        }
    };
    let steps = ladder(state, rules);
    let reader = Reader { kinds, client, namespace, state, steps: &steps };
    stream::iter(looks)
        .map(|look| async {
            let result = match &look {
                Look::Step(name) => reader.step(name).await,
                Look::Object(target) => reader.object(target).await,
            };
            (look, result)
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}

/// Objects, and the exempt ones of their namespaces.
type Place = (Vec<Arc<Value>>, BTreeSet<String>);

struct Reader<'a> {
    kinds: Kinds<'a>,
    client: &'a Client,
    namespace: &'a str,
    state: &'a IncidentState,
    steps: &'a [Step],
}

impl Reader<'_> {
    async fn object(&self, id: &TargetId) -> LookResult {
        let kind = match self.resolve(&id.api_version, &id.kind).await {
            Ok(kind) => kind,
            Err(result) => return result,
        };
        let step =
            self.steps.iter().find(|step| self.state.changes_of(&step.name).any(|c| c.target.uid == id.uid));
        match live_read::object(self.client, &kind, id).await {
            Read::Found(object) => match self.target(object, step, &BTreeSet::new()) {
                Ok(target) => LookResult::Found(Box::new(target)),
                Err(why) => LookResult::Failed { why },
            },
            Read::Gone => LookResult::Gone,
            Read::Refused(why) => LookResult::Refused { why },
            Read::Failed(why) => LookResult::Failed { why },
        }
    }

    async fn step(&self, name: &str) -> LookResult {
        let Some(step) = self.steps.iter().find(|step| step.name == name) else {
            return LookResult::Failed { why: format!("there is no step {name} any more") };
        };
        match self.listed(step).await {
            Ok(targets) => LookResult::Listed(targets),
            Err(result) => result,
        }
    }

    async fn listed(&self, step: &Step) -> Result<Vec<Target>, LookResult> {
        let scope = &step.targets().scope;
        let kind = self.resolve(&scope.api_version, &scope.kind).await?;
        let labels = selector_text(scope.selector.as_ref()).map_err(|why| LookResult::Refused { why })?;
        let places: Vec<Place> = stream::iter(namespaces(scope.namespaces.as_ref(), self.namespace))
            .map(|namespace| self.place(scope, &kind, &labels, namespace).boxed())
            .buffered(IN_FLIGHT)
            .try_collect()
            .await?;
        let (objects, exempt): (Vec<_>, Vec<_>) = places.into_iter().unzip();
        let objects = objects.into_iter().flatten();
        let exempt = exempt.into_iter().flatten().collect();
        let targets = objects.filter_map(|object| {
            self.target(object, Some(step), &exempt)
                .inspect_err(|why| tracing::warn!(step = step.name, %why, "one object is not a target"))
                .ok()
        });
        let known: BTreeSet<&str> =
            self.state.changes_of(&step.name).map(|change| change.target.uid.as_str()).collect();
        let wanted = |target: &Target| {
            target.matched != firebreak_engine::verdict::Verdict::False
                || known.contains(target.id.uid.as_str())
        };
        Ok(targets.filter(wanted).collect())
    }

    /// The objects of one namespace, or of the whole cluster, and which of their
    /// namespaces are exempt. A namespace that is known beforehand is read while
    /// its objects are listed, since the first change waits for both.
    async fn place(
        &self,
        scope: &TargetsSpec,
        kind: &ServedKind,
        labels: &str,
        namespace: String,
    ) -> Result<Place, LookResult> {
        let list = async {
            let mut objects = match live_read::list(self.client, kind, &namespace, labels).await {
                Read::Found(objects) => objects,
                Read::Gone => Vec::new(),
                Read::Refused(why) => return Err(LookResult::Refused { why }),
                Read::Failed(why) => return Err(LookResult::Failed { why }),
            };
            objects.retain(|object| is_named(scope, object));
            Ok(objects)
        };
        if !kind.namespaced || namespace.is_empty() {
            let objects = list.await?;
            let exempt = self.exempt_namespaces(&objects).await?;
            return Ok((objects, exempt));
        }
        let (objects, is_exempt) = tokio::join!(list, self.is_exempt(&namespace));
        let objects = objects?;
        // Of a namespace without targets it does not matter, nor that it cannot be read.
        let exempt = !objects.is_empty() && is_exempt?;
        Ok((objects, exempt.then_some(namespace).into_iter().collect()))
    }

    /// The namespaces of these objects that are exempt.
    async fn exempt_namespaces(&self, objects: &[Arc<Value>]) -> Result<BTreeSet<String>, LookResult> {
        let name = |object: &Arc<Value>| Some(object.pointer("/metadata/namespace")?.as_str()?.to_owned());
        let names: BTreeSet<String> = objects.iter().filter_map(name).collect();
        stream::iter(names)
            .map(|name| async move { Ok(self.is_exempt(&name).await?.then_some(name)) }.boxed())
            .buffered(IN_FLIGHT)
            .try_filter_map(|name| std::future::ready(Ok(name)))
            .try_collect()
            .await
    }

    /// Whether a namespace is exempt. One that cannot be read might be, so
    /// nothing in the listing is touched then.
    async fn is_exempt(&self, name: &str) -> Result<bool, LookResult> {
        let kind = self.resolve("v1", "Namespace").await?;
        match live_read::named(self.client, &kind, "", name).await {
            Read::Found(namespace) => Ok(workloads::is_exempt(&namespace)),
            Read::Gone => Ok(false),
            Read::Refused(why) => {
                let why = format!("whether namespace {name} is exempt cannot be read: {why}");
                Err(LookResult::Refused { why })
            }
            Read::Failed(why) => Err(LookResult::Failed { why }),
        }
    }

    fn target(
        &self,
        object: Arc<Value>,
        step: Option<&Step>,
        exempt: &BTreeSet<String>,
    ) -> Result<Target, String> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let profile = self.kinds.profiles.find(text("apiVersion"), text("kind")).cloned();
        let condition = step.map(|step| &step.targets().where_);
        workloads::target(profile.as_deref(), object, condition, None, exempt)
    }

    async fn resolve(&self, api_version: &str, kind: &str) -> Result<ServedKind, LookResult> {
        self.kinds.discovery.resolve(api_version, kind).await.map_err(|error| match error {
            ResolveError::NotFound { .. } | ResolveError::Malformed(_) => {
                LookResult::Refused { why: error.to_string() }
            }
            ResolveError::Unreachable { .. } => LookResult::Failed { why: error.to_string() },
        })
    }
}

/// Where to list: empty text means the whole cluster.
pub fn namespaces(spec: Option<&NamespacesSpec>, own: &str) -> Vec<String> {
    match spec {
        None => vec![own.to_owned()],
        Some(spec) if spec.all => vec![String::new()],
        Some(spec) => spec.names.clone(),
    }
}

fn is_named(scope: &TargetsSpec, object: &Value) -> bool {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    scope.names.is_empty() || scope.names.iter().any(|wanted| wanted == name)
}
