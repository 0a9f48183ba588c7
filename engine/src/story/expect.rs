//! What must be true in a moment of a story.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::run::Stage;
use crate::change::Change;
use crate::path::FieldPath;
use crate::phase::Phase;
use crate::reason::Reason;

/// What must be true. Only what it names is checked. `None` as text means that there is none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// The phase of the Incident; `None` if there is no Incident.
    pub phase: Option<String>,
    /// Its severity.
    pub severity: Option<String>,
    /// What holds the response.
    pub held: Option<String>,
    /// Text in the message to that person.
    pub says: Option<String>,
    /// Text in what the sick objects have in common; `None` if nothing is known to be.
    pub common: Option<String>,
    /// Why it is closed or being closed.
    pub closing: Option<String>,
    /// The state of steps by name, and for a Pending step the reason: `Pending NoTargets`.
    #[serde(default)]
    pub steps: BTreeMap<String, String>,
    /// The state of the approval of a step, such as `Valid alice`; `None` if there is none.
    #[serde(default)]
    pub approvals: BTreeMap<String, String>,
    /// The state of changes by object, with the reason if there is one; `None` if there is no change.
    /// With several steps the key is `step/object`.
    #[serde(default)]
    pub changes: BTreeMap<String, String>,
    /// By object: the fields that its changes have set, as `before → after`; `-` means absent.
    #[serde(default)]
    pub lent: BTreeMap<String, BTreeMap<String, String>>,
    /// By object: current values; null means absent.
    #[serde(default)]
    pub objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Exactly the types of the new entries of the timeline.
    pub timeline: Option<Vec<String>>,
    /// Nothing happened and nothing was sent since the previous moment.
    #[serde(default)]
    pub nothing: bool,
    /// The number of writes since the previous moment.
    pub writes: Option<usize>,
    /// Rules that must be False once before they open an Incident again.
    pub waiting_for: Option<Vec<String>>,
    /// Text in the message of the policy about opening nothing; empty: there is no message.
    pub policy_says: Option<String>,
    /// The fields because of which the policy is rejected.
    pub refused: Option<Vec<String>>,
}

impl Expect {
    /// The expectations that are not met.
    pub(super) fn compare(&self, stage: &Stage) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut is = |what: &str, wanted: Option<&str>, found: &str| {
            if wanted.is_some_and(|wanted| wanted != found) {
                wrong.push(format!("{what} is {found}, not {}", wanted.unwrap_or_default()));
            }
        };
        let none = || "None".to_owned();
        let state = stage.world.state();
        let phase = if stage.is_there { Phase::of(state).name().to_owned() } else { none() };
        is("phase", self.phase.as_deref(), &phase);
        is("severity", self.severity.as_deref(), &state.severity.map_or_else(none, |s| s.to_string()));
        let held = state.held.as_ref();
        is("held", self.held.as_deref(), held.map_or("None", |held| held.reason.name()));
        is("closing", self.closing.as_deref(), state.closing.map_or("None", crate::incident::Closing::name));
        for (name, wanted) in &self.steps {
            let found = state.step(name).map_or_else(none, |status| {
                with_reason(&format!("{:?}", status.state), status.reason.as_ref())
            });
            is(&format!("step {name}"), Some(wanted), &found);
        }
        for (name, wanted) in &self.approvals {
            let approval = state.step(name).and_then(|status| status.approval.as_ref());
            let found =
                approval.map_or_else(none, |known| format!("{:?} {}", known.state, known.approved_by));
            is(&format!("approval of {name}"), Some(wanted), &found);
        }
        for (key, wanted) in &self.changes {
            let found = change(stage, key).map_or_else(none, |change| {
                with_reason(&format!("{:?}", change.state), change.reason.as_ref())
            });
            is(&format!("change of {key}"), Some(wanted), &found);
        }
        for (key, fields) in &self.lent {
            for (path, wanted) in fields {
                let found = change(stage, key)
                    .and_then(|change| change.fields().iter().find(|field| field.path.to_string() == *path))
                    .map_or_else(none, |field| {
                        format!("{} → {}", plain(field.before.as_ref()), plain(field.after.as_ref()))
                    });
                is(&format!("{path} of {key}"), Some(wanted), &found);
            }
        }
        for (name, values) in &self.objects {
            for (path, wanted) in values {
                let object = stage.world.server.objects.get(name);
                let at = path.parse::<FieldPath>().ok();
                let found = object.zip(at.as_ref()).and_then(|(object, path)| path.read(object));
                is(
                    &format!("{path} of {name}"),
                    Some(&plain(Some(wanted).filter(|value| !value.is_null()))),
                    &plain(found.as_deref()),
                );
            }
        }
        let happened = listed(&stage.happened);
        is("what happened", self.timeline.as_deref().map(listed).as_deref(), &happened);
        is("what happened", self.nothing.then_some("nothing"), &happened);
        let writes = if self.nothing { Some(0) } else { self.writes };
        is("number of writes", writes.map(|number| number.to_string()).as_deref(), &stage.writes.to_string());
        let list = |list: &Option<Vec<String>>| list.as_deref().map(listed);
        is("waitingFor", list(&self.waiting_for).as_deref(), &listed(&stage.world.policy_state.waiting_for));
        is("refused", list(&self.refused).as_deref(), &listed(&stage.refused));
        let told = stage.why_not.as_deref().unwrap_or_default();
        let is_told = |text: &String| if text.is_empty() { told.is_empty() } else { told.contains(text) };
        if let Some(text) = self.policy_says.as_ref().filter(|text| !is_told(text)) {
            wrong.push(format!("the policy says \"{told}\", not \"{text}\""));
        }
        let common = state.common.as_deref().unwrap_or("None");
        if let Some(text) = self.common.as_ref().filter(|text| !common.contains(*text)) {
            wrong.push(format!("the sick objects have in common: \"{common}\", not \"{text}\""));
        }
        let said = held.map(|held| held.message.as_str()).unwrap_or_default();
        if let Some(text) = self.says.as_ref().filter(|text| !said.contains(*text)) {
            wrong.push(format!("the message to a person is \"{said}\", without \"{text}\""));
        }
        wrong
    }
}

fn change<'a>(stage: &'a Stage, key: &str) -> Option<&'a Change> {
    let (step, object) = key.split_once('/').map_or((None, key), |(step, object)| (Some(step), object));
    let is_it =
        |change: &&Change| change.target.name == object && step.is_none_or(|step| step == change.step);
    stage.world.state().changes.iter().rfind(is_it)
}

fn with_reason(state: &str, reason: Option<&Reason>) -> String {
    match reason {
        Some(reason) => format!("{state} {reason}"),
        None => state.to_owned(),
    }
}

fn listed(list: &[String]) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
