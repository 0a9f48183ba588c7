//! The parts of a profile: one struct for each thing that an emergency changes.
//!
//! The path of a field to change is never in `metadata` or `status`.

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::path::FieldPath;
use firebreak_engine::verdict::Verdict;
use serde::Deserialize;
use serde_json::Value;

use super::message::Message;
use super::names::{Pattern, Program};

/// Where an object requests accelerators.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accelerators {
    /// Maps that have `limits` and `requests`.
    #[serde(default)]
    pub resources: Vec<FieldPath>,
    /// Lists of containers, identified by `name`, each with `resources` of that kind.
    #[serde(default)]
    pub containers: Vec<FieldPath>,
    /// Lists of containers, too, of programs beside the model server, which may have containers of the same names. What
    /// containers need without an accelerator is meant for the model server, if it has a container of the name.
    #[serde(default)]
    pub beside: Vec<FieldPath>,
    /// Maps that are a container themselves. Their own `resources` are among [`Self::resources`].
    #[serde(default)]
    pub inline: Vec<Inline>,
    /// A quantity is a whole number from 0 to this; no other value is changed.
    pub at_most: u32,
    /// Lists that request devices in another way. They cannot be changed, so an entry is a pin.
    #[serde(default)]
    pub claims: Vec<Pin>,
    /// What people must know before accelerators are taken from it.
    #[serde(default)]
    pub warnings: Vec<Case>,
}

/// A map that is a container itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inline {
    /// The map.
    pub path: FieldPath,
    /// The name of the container.
    pub name: String,
}

/// Where the quantization of the model is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quantization {
    /// A Boolean: whether it is on.
    pub enabled: FieldPath,
    /// A string: which one.
    pub precision: FieldPath,
    /// The maximum length of the string in characters; a longer one is not changed.
    pub max_length: usize,
}

/// What decides on which nodes pods may start. Only the part that requests accelerator nodes (see
/// `accelerators.yaml`) is ever changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Maps of node labels.
    #[serde(default)]
    pub node_selector: Vec<FieldPath>,
    /// `requiredDuringSchedulingIgnoredDuringExecution` of a node affinity.
    #[serde(default)]
    pub required_node_affinity: Vec<FieldPath>,
    /// Names of a runtime class.
    #[serde(default)]
    pub runtime_class_name: Vec<FieldPath>,
    /// What binds pods that use accelerators to their nodes and cannot be released.
    #[serde(default)]
    pub pins: Vec<Pin>,
}

/// A field that makes a fallback useless when it is set and not empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// The field.
    pub path: FieldPath,
    /// The message for people.
    pub because: String,
}

/// Where the number of replicas is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replicas {
    /// The desired number; absent means 1.
    pub spec: FieldPath,
    /// How many are ready.
    pub ready: FieldPath,
    /// What an absent `ready` means.
    #[serde(default)]
    pub ready_absent: ReadyAbsent,
    /// A lower number of replicas is not changed.
    #[serde(default)]
    pub at_least: i64,
    /// Nor is a higher one.
    pub at_most: i64,
}

/// How many replicas are ready if the object does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ReadyAbsent {
    /// None: its controller omits a 0.
    #[default]
    Zero,
    /// That is not known: not every version of its controller reports the number.
    Unknown,
}

/// Which scheduler pods get if the object does not name one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SchedulerAbsent {
    /// That is not known: the operator of the kind may choose one.
    #[default]
    Unknown,
    /// `default-scheduler`, as in every pod: the map around the name becomes the spec of the pods.
    DefaultScheduler,
}

/// Where a kind reports how many pods it wants and has. Nobody sets these numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// How many it wants.
    pub desired: FieldPath,
    /// How many are ready.
    pub ready: FieldPath,
}

/// A state that an object may be in, and what it means for people.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// CEL over `object`: true in this state. Unknown counts as false.
    #[serde(deserialize_with = "super::condition")]
    pub when: ObjectCondition,
    /// The message for people.
    pub because: Message,
}

impl Case {
    /// The message of the first state that the object is in.
    pub fn first(cases: &[Self], object: &Value) -> Option<String> {
        Self::all(cases, object).next()
    }

    /// The messages of all states that the object is in.
    pub fn all<'a>(cases: &'a [Self], object: &'a Value) -> impl Iterator<Item = String> + use<'a> {
        let is_so = move |case: &&Self| case.when.evaluate(object, None).verdict == Verdict::True;
        cases.iter().filter(is_so).map(|case| case.because.about(object))
    }
}

/// How to find the pods of an object, and which of them have its newest template. None of it is changed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderedPods {
    /// CEL over `object`: true if each pod waits until the previous one is ready.
    #[serde(deserialize_with = "super::condition")]
    pub when: ObjectCondition,
    /// The label selector of its pods. Only those that the object controls count.
    pub selector: FieldPath,
    /// The revision of the newest template, once `status.observedGeneration` shows that it was observed.
    pub update_revision: FieldPath,
    /// The label of a pod with its revision.
    pub revision_label: String,
    /// How many pods, from the lowest number, keep their template; absent means none.
    #[serde(default)]
    pub held_back: Option<FieldPath>,
    /// The lowest number of a pod; absent means 0.
    #[serde(default)]
    pub first: Option<FieldPath>,
}

/// Where the highest number of replicas is that an autoscaler may set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The number; absent or 0 means that there is no limit, unless `absent` says another number.
    pub path: FieldPath,
    /// Further limits of the same object, for other parts of it, if it has them.
    #[serde(default)]
    pub also: Vec<FieldPath>,
    /// What absent or 0 means at `path`, if that is a number.
    #[serde(default)]
    pub absent: Option<Absent>,
    /// The states in which nothing uses the limit, so that it is left alone.
    #[serde(default)]
    pub unused: Vec<Case>,
    /// A lower number is not changed.
    #[serde(default)]
    pub at_least: i64,
    /// Nor is a higher one.
    pub at_most: i64,
}

/// The number that counts while a limit is absent or 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Absent {
    /// The number.
    pub number: i64,
    /// A field whose number counts instead if it is higher.
    #[serde(default)]
    pub or_higher: Option<FieldPath>,
    /// CEL over `object`: true where the number counts; elsewhere there is no limit. Default: everywhere.
    #[serde(default, deserialize_with = "super::optional_condition")]
    pub when: Option<ObjectCondition>,
    /// The states in which it is not known what absent or 0 means.
    #[serde(default)]
    pub unknown: Vec<Case>,
}

/// Where a number is that a model server uses: in a field, or in a flag of a container.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// The field. Exactly one of `path` and `flag` is set.
    #[serde(default)]
    pub path: Option<FieldPath>,
    /// Where the field must not be set although the kind has it. Only with `path`.
    #[serde(default)]
    pub only_with: Option<OnlyWith>,
    /// The flag.
    #[serde(default)]
    pub flag: Option<Flag>,
    /// What counts while it is absent. Default: a number that is not known.
    #[serde(default)]
    pub absent: Option<SettingDefault>,
    /// A lower number is not changed.
    #[serde(default)]
    pub at_least: i64,
    /// Nor is a higher one.
    pub at_most: i64,
}

/// What counts while a number of a model server is absent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingDefault {
    /// What is known of it.
    pub means: Means,
    /// The number; absent with `Unlimited`.
    #[serde(default)]
    pub number: Option<i64>,
    /// Other flags of the container whose number the default does not exceed. Only with a flag.
    #[serde(default)]
    pub not_above: Vec<String>,
}

/// What is known of the number that counts while a field is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Means {
    /// It is this number.
    Exactly,
    /// It is this number or a higher one.
    AtLeast,
    /// There is no limit.
    Unlimited,
}

/// A field without which another one must not be set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnlyWith {
    /// The field that must exist.
    pub path: FieldPath,
    /// The message for people if it does not.
    pub otherwise: String,
}

/// A flag in `args` or `command` of containers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flag {
    /// The spellings that the program accepts. A container without any of them gets the first.
    pub names: Vec<String>,
    /// Lists of containers, identified by `name`.
    pub containers: Vec<FieldPath>,
    /// Only a container that runs one of these gets a flag that it does not have: the last part of the path of a
    /// command, or a module as in `python -m`, with its subcommand if it has one.
    #[serde(default)]
    pub programs: Vec<Program>,
    /// Or a container with one of these images: the last part of the name, without tag and digest.
    #[serde(default)]
    pub images: Vec<Pattern>,
    /// Words and flags after which an argument is a value, besides those that are known of every server. A variable
    /// there holds no flags.
    #[serde(default)]
    pub values_after: Vec<String>,
    /// Flags that name a file with further flags. What it says is not known.
    #[serde(default)]
    pub files: Vec<String>,
    /// Variables of the container that hold further arguments of the program.
    #[serde(default)]
    pub variables: Vec<String>,
}
