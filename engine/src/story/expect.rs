//! What has to be so in a moment of a story.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::run::Stage;
use crate::change::Change;
use crate::path::FieldPath;
use crate::phase::Phase;
use crate::reason::Reason;

/// What has to be so. What it does not name may be as it likes. `None` as text means that there is none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// The phase of the Incident; `None` if there is no Incident.
    pub phase: Option<String>,
    /// Its severity.
    pub severity: Option<String>,
    /// What holds the response.
    pub held: Option<String>,
    /// What the message to that person contains.
    pub says: Option<String>,
    /// Why it is closed or being closed.
    pub closing: Option<String>,
    /// The state of steps by name, for those that are Pending with the reason: `Pending NoTargets`.
    #[serde(default)]
    pub steps: BTreeMap<String, String>,
    /// What became of the approval of a step, such as `Valid alice`; `None` if there is none.
    #[serde(default)]
    pub approvals: BTreeMap<String, String>,
    /// The state of changes by object, with the reason if there is one; `None` if there is no change.
    /// With several steps the key is `step/object`.
    #[serde(default)]
    pub changes: BTreeMap<String, String>,
    /// By object: fields that its changes have lent, as `before → after`; absent is `-`.
    #[serde(default)]
    pub lent: BTreeMap<String, BTreeMap<String, String>>,
    /// By object: values that stand; absent is null.
    #[serde(default)]
    pub objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// The types of exactly the entries that are new on the timeline.
    pub timeline: Option<Vec<String>>,
    /// Nothing happened and nothing was sent in this moment, nor since the one before.
    #[serde(default)]
    pub nothing: bool,
    /// Writes that were sent since the moment before.
    pub writes: Option<usize>,
    /// Rules that must be False once before they open an Incident again.
    pub waiting_for: Option<Vec<String>>,
    /// What the policy says about opening nothing contains; empty: it has nothing to say.
    pub policy_says: Option<String>,
    /// The fields of the policy that are refused.
    pub refused: Option<Vec<String>>,
}

impl Expect {
    /// What is not as it has to be.
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
