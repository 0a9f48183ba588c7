//! Restores what was recorded in a cluster, as if it had always been there.
//!
//! The API server gives every object another uid and another resourceVersion than the recorded one, and time has
//! passed. So all uids, the ids that depend on them, the namespace, the versions of intents, and all
//! times are replaced wherever they occur: in a status, in an undo record, or in a label.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use firebreak_engine::id::ChangeId;

use crate::{
    drill::{heartbeats, rights, touches},
    support::{
        manifest,
        object::{Object, Snapshot},
        operator::Operator,
        proxy::Record,
        rights::Rule,
        testbed::repository,
        world::World,
    },
};

/// The namespace in which everything was recorded.
const RECORDED_IN: &str = "upgrade-0-a";

/// One response as the previous release has left it, in its own world.
pub struct Restored {
    pub world: World,
    pub policy: Object,
    pub incident: Object,
    pub alarm: Object,
    pub targets: Vec<Target>,
    /// The Incident as it was restored.
    pub stored: DynamicObject,
    /// The report, if there is one.
    pub report: Option<Object>,
    /// The person who decides about the Incident.
    alice: Api<DynamicObject>,
}

/// What the response has changed, or would change.
pub struct Target {
    pub object: Object,
    /// Before the emergency.
    pub before: Snapshot,
    /// As the previous release has left it.
    pub stored: Snapshot,
}

impl Restored {
    pub async fn new(name: &str) -> Self {
        let world = World::new(&format!("upgrade-{name}")).await;
        allow(&world).await;
        let operator = world.operator_itself().await;
        world.admission().await;
        let alice = world.person("alice", &["firebreak-approver"]).await;

        let mut recording = Recording::read(name, &world.a);
        let policy = recording.create_policy(&world).await;
        let incident = recording.create_incident(&world, &operator).await;
        let mut objects = Vec::new();
        for number in 0..recording.count("targets") {
            objects.push(recording.create_target(&world, number).await);
        }
        let mut targets = Vec::new();
        for (number, object) in objects.into_iter().enumerate() {
            targets.push(recording.change_target(object, number).await);
        }
        let alarm = world.apply("harness", &plain(&recording.json["others"][0]).to_string()).await.remove(0);
        let mut report = None;
        if recording.count("others") > 1 {
            report = world.create("firebreak", &plain(&recording.json["others"][1]).to_string()).await.pop();
        }
        let alice = world.incidents_for(&alice, &world.a);
        decide_again(&alice, &recording.json["incidents"][0]).await;
        write_status(&operator, &recording.json["incidents"][0]).await;
        write_status(&operator, &recording.json["policy"]).await;
        let stored = incident.get().await;
        Self { world, policy, incident, alarm, targets, stored, report, alice }
    }

    /// Starts this release's operator, and waits until it has picked up the policy.
    pub async fn start(&self) -> Operator {
        let operator = self.world.operator().flag("--lease-duration").flag("3s").start().await;
        heartbeats(&operator, 1).await;
        operator
    }

    /// A person decides.
    pub async fn decides(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.alice.patch(self.incident.name(), &PatchParams::default(), &patch).await.expect("Alice may");
    }

    /// The alarm rings, or does not.
    pub async fn ring(&self, rings: &str) {
        self.alarm.merge("harness", json!({"data": {"rings": rings}})).await;
    }

    /// The target with this name.
    pub fn target(&self, name: &str) -> &Target {
        self.targets.iter().find(|target| target.object.name() == name).expect("a target")
    }

    /// No target was written since it was restored.
    pub async fn assert_no_target_was_written(&self, record: &Record) {
        for exchange in record.all() {
            let is_of = |target: &Target| touches(&exchange.call, target.object.name());
            assert!(!self.targets.iter().any(is_of), "written: {exchange}");
        }
        for target in &self.targets {
            assert_eq!(target.object.snapshot().await, target.stored, "{}", target.object);
        }
    }
}

impl Target {
    /// It is as it was before the emergency, after this many changes of its spec since it was restored.
    pub async fn assert_reverted(&self, changes: i64) {
        self.assert_reverted_except(changes, |_| {}).await;
    }

    /// The same, except for what someone else has done.
    pub async fn assert_reverted_except(&self, changes: i64, theirs: impl FnOnce(&mut Snapshot)) {
        let Self { object, before, stored } = self;
        let mut before = before.clone();
        theirs(&mut before);
        let after = object.snapshot().await;
        assert_eq!(after.spec, before.spec, "{object}: spec");
        assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
        assert_eq!((after.labels, after.annotations), (before.labels, before.annotations), "{object}");
        let owners = |managers: BTreeSet<String>| -> Vec<String> {
            managers.into_iter().filter(|manager| !manager.ends_with("/status")).collect()
        };
        assert_eq!(owners(after.managers), owners(before.managers), "{object}: managers");
        if stored.generation > 0 {
            assert_eq!(after.generation, stored.generation + changes, "{object}: generation");
        }
    }
}

/// What was recorded, in which more and more is replaced by what exists now.
struct Recording {
    json: Value,
}

impl Recording {
    fn read(name: &str, namespace: &str) -> Self {
        let path = repository().join(format!("tests/live/upgrade/fixtures/{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = text.replace(RECORDED_IN, namespace);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let recorded_at: Timestamp = json["recordedAt"].as_str().expect("a time").parse().expect("a time");
        // Whole seconds, because some times are not more precise.
        let passed = SignedDuration::from_secs(Timestamp::now().as_second() - recorded_at.as_second());
        let time = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").expect("a pattern");
        let later = |found: &Captures| {
            let then: Timestamp = found[0].parse().expect("a time");
            (then + passed).to_string()
        };
        Self { json: serde_json::from_str(&time.replace_all(&text, later)).expect("JSON") }
    }

    fn count(&self, list: &str) -> usize {
        self.json[list].as_array().map_or(0, Vec::len)
    }

    /// Replaces texts wherever they occur, including inside others.
    fn exchange(&mut self, texts: &BTreeMap<String, String>) {
        let mut all = self.json.to_string();
        for (old, new) in texts {
            all = all.replace(old, new);
        }
        self.json = serde_json::from_str(&all).expect("names need no escapes");
    }

    /// The object at this pointer was created again.
    fn is_now(&mut self, pointer: &str, object: &DynamicObject) {
        let old = self.json.pointer(pointer).and_then(|object| object["metadata"]["uid"].as_str());
        let uid = (old.expect("a uid").to_owned(), object.uid().expect("a uid"));
        self.exchange(&BTreeMap::from([uid]));
    }

    async fn create_policy(&mut self, world: &World) -> Object {
        let policy = world.apply("flux", &plain(&self.json["policy"]).to_string()).await.remove(0);
        self.is_now("/policy", &policy.get().await);
        policy
    }

    /// The Incident as the operator creates it: the decisions of people come later.
    async fn create_incident(&mut self, world: &World, operator: &Client) -> Object {
        assert_eq!(self.count("incidents"), 1, "one Incident of each response");
        let recorded = &self.json["incidents"][0];
        let mut incident = plain(recorded);
        incident["metadata"]["finalizers"] = recorded["metadata"]["finalizers"].clone();
        for decision in decisions(&recorded["spec"]) {
            for field in decision.as_object().expect("fields").keys() {
                incident["spec"].as_object_mut().expect("fields").remove(field);
            }
        }
        let created = manifest::create(operator, "firebreak", &incident).await;
        self.is_now("/incidents/0", &created.expect("the operator may create Incidents"));
        Object::of(&world.client, &incident)
    }

    /// The target as it was before the emergency, and the ids of its changes.
    async fn create_target(&mut self, world: &World, number: usize) -> Object {
        let before = plain(&self.json["targets"][number]["before"]);
        let object = world.create("flux", &before.to_string()).await.remove(0);
        let created = object.get().await;
        self.is_now(&format!("/targets/{number}/stored"), &created);

        let incident = self.json["incidents"][0].clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (incident_uid, uid) = (text(&incident["metadata"]["uid"]), created.uid().expect("a uid"));
        let mut exchanged = BTreeMap::new();
        let changes = incident["status"]["changes"].as_array().into_iter().flatten();
        for change in changes.filter(|change| change["target"]["uid"] == uid) {
            let id = ChangeId::of(&incident_uid, &text(&change["step"]), &uid);
            exchanged.insert(text(&change["id"]), id.to_string());
            for pod in change["pods"].as_array().into_iter().flatten() {
                let live = world.object("v1", "Pod", &world.a, &text(&pod["name"]));
                let live = live.wait_until("its controller has made it", |_| true).await;
                exchanged.insert(text(&pod["uid"]), live.uid().expect("a uid"));
            }
        }
        self.exchange(&exchanged);
        object
    }

    /// The target as the previous release has left it; intents with its version get the version that it has now.
    async fn change_target(&mut self, object: Object, number: usize) -> Target {
        let recorded = self.json["targets"][number].clone();
        let stored = &recorded["stored"];
        let first = object.get().await.resource_version().expect("a version");
        object.json_patch("harness", replacements(stored)).await;
        if stored["status"]["phase"].is_string() {
            object.merge_status("llm-d-operator", json!({"status": stored["status"]})).await;
        }
        // Last, because every other write changes it.
        let owners = json!({"metadata": {"managedFields": stored["metadata"]["managedFields"]}});
        let live = object.merge("harness", owners).await;

        let version = &stored["metadata"]["resourceVersion"];
        let uid = json!(live.uid());
        let changes = self.json["incidents"][0]["status"]["changes"].as_array_mut();
        for change in changes.into_iter().flatten().filter(|change| change["target"]["uid"] == uid) {
            if change["base"].is_string() {
                let is_of_now = change["base"] == *version;
                change["base"] = if is_of_now { json!(live.resource_version()) } else { json!(first) };
            }
        }
        let before = serde_json::from_value(recorded["before"].clone()).expect("an object");
        let stored = Snapshot::of(&live);
        let expected = Snapshot::of(&serde_json::from_value(recorded["stored"].clone()).expect("an object"));
        let stored_spec = &stored.spec;
        assert!(
            contains(stored_spec, &expected.spec),
            "{object}: {stored_spec:#} lacks some of {:#}",
            expected.spec
        );
        assert_eq!(stored.managers, expected.managers, "{object}");
        let mut before = Snapshot::of(&before);
        add_defaults(&mut before.spec, stored_spec, &expected.spec);
        Target { object, before, stored }
    }
}

/// Whether all of the expected value is there. A newer Kubernetes adds defaults.
fn contains(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => expected
            .iter()
            .all(|(key, expected)| value.get(key).is_some_and(|value| contains(value, expected))),
        (Value::Array(value), Value::Array(expected)) => {
            let pairs = || value.iter().zip(expected);
            value.len() == expected.len() && pairs().all(|(value, expected)| contains(value, expected))
        }
        _ => value == expected,
    }
}

/// Adds the defaults of a newer Kubernetes: what is there and was not recorded.
fn add_defaults(value: &mut Value, there: &Value, recorded: &Value) {
    let (Value::Object(value), Value::Object(there), Value::Object(recorded)) = (value, there, recorded)
    else {
        return;
    };
    for (key, there) in there {
        match (recorded.get(key), value.get_mut(key)) {
            (Some(recorded), Some(value)) => add_defaults(value, there, recorded),
            (None, None) => drop(value.insert(key.clone(), there.clone())),
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

/// The object without what the server adds, and without its status.
fn plain(recorded: &Value) -> Value {
    let mut object = recorded.clone();
    object.as_object_mut().expect("an object").remove("status");
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
    object
}

/// Spec, labels and annotations become exactly the recorded ones.
fn replacements(stored: &Value) -> Value {
    let put = |path: &str, value: &Value| {
        let value = if value.is_null() { json!({}) } else { value.clone() };
        json!({"op": "add", "path": path, "value": value})
    };
    let metadata = &stored["metadata"];
    json!([
        put("/spec", &stored["spec"]),
        put("/metadata/labels", &metadata["labels"]),
        put("/metadata/annotations", &metadata["annotations"]),
    ])
}

/// The decisions of people in this spec, one write each.
fn decisions(spec: &Value) -> Vec<Value> {
    let of = |fields: &[&str]| {
        let found = fields.iter().filter(|field| !spec[**field].is_null());
        let found: serde_json::Map<_, _> =
            found.map(|field| ((*field).to_owned(), spec[*field].clone())).collect();
        (!found.is_empty()).then_some(Value::Object(found))
    };
    let groups: [&[&str]; 3] = [&["acknowledgedBy"], &["response", "responseBy"], &["approvals"]];
    groups.into_iter().filter_map(of).collect()
}

async fn decide_again(alice: &Api<DynamicObject>, recorded: &Value) {
    let name = recorded["metadata"]["name"].as_str().expect("a name");
    for decision in decisions(&recorded["spec"]) {
        let patch = Patch::Merge(json!({"spec": decision}));
        alice.patch(name, &PatchParams::default(), &patch).await.expect("Alice decides in her own name");
    }
}

/// As the operator, because nobody else may.
async fn write_status(operator: &Client, recorded: &Value) {
    let (resource, namespace, name) = manifest::identity(recorded);
    let api = manifest::api(operator, &resource, namespace.as_deref());
    let mut object = api.get(&name).await.expect("it was created");
    object.data["status"] = recorded["status"].clone();
    let written = api.replace_status(&name, &PostParams::default(), &object).await;
    let written = written.unwrap_or_else(|error| panic!("status of {name}: {error}"));
    assert_eq!(written.data["status"], recorded["status"], "{name}: the API server keeps all of it");
}

async fn allow(world: &World) {
    let change = &["get", "list", "watch", "patch"];
    let more = vec![
        Rule { group: "apps", resources: &["statefulsets"], verbs: change },
        Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: change },
        Rule { group: "", resources: &["pods"], verbs: &["list", "delete"] },
    ];
    world.grant(&world.a, &[rights(), more].concat()).await;
}
