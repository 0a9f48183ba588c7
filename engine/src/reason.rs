//! Why something is in its state: one word of a closed list, with its stable text.
//!
//! Every reason in a status, a condition or a plan is in this table. The words are part of the API, because
//! alerts, dashboards and runbooks match them, so none is ever renamed. A reason that this release does not
//! know, because another release wrote it, is kept unchanged ([`Reason::Other`]).
//! `docs/conditions.md` and `docs/reasons.md` explain each; a test compares them with the table.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What ends a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovesOn {
    /// A fact that changes without a person: time passes, objects change, a rule starts or stops to hold.
    Itself,
    /// A person: only their decision, or their change to the policy, to permissions or to an object.
    Person,
    /// Nothing: it says how something ended, or adds a remark.
    Nothing,
}

/// Whether a reason that holds the whole response also blocks new changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// It blocks them.
    NewChanges,
    /// It is only reported.
    Nothing,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $moves_on:ident $($stops:ident)?;)+) => {
        /// Why something is in its state.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
            /// One that this release does not know.
            Other(String),
        }

        impl Reason {
            /// The table: every reason of this release.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its stable text.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    Self::Other(text) => text,
                }
            }

            /// What ends it.
            pub fn moves_on(&self) -> MovesOn {
                match self {
                    $(Self::$name => MovesOn::$moves_on,)+
                    // Only a person can tell what it means.
                    Self::Other(_) => MovesOn::Person,
                }
            }

            /// Whether new changes may start while it holds the whole response.
            pub fn stops(&self) -> Stops {
                match self {
                    $(Self::$name => reasons!(@stops $($stops)?),)+
                    Self::Other(_) => Stops::Nothing,
                }
            }
        }
    };
    (@stops Stops) => { Stops::NewChanges };
    (@stops) => { Stops::Nothing };
}

reasons! {
    // The whole response is held.

    /// There were as many relapses as the policy allows.
    Relapsed Person Stops;
    /// A target failed, and the step halts on that.
    StepFailed Person Stops;
    /// It is not known whether a write took effect.
    OutcomeUnknown Person Stops;
    /// The policy says that the step must be approved.
    ApprovalRequired Person Stops;
    /// The step would change more objects than the guardrails allow.
    TooManyTargets Person Stops;
    /// So many objects look sick that the detector may be at fault.
    DetectorSuspect Person Stops;
    /// It is outside the windows in which a step may start without approval.
    OutsideWindows Person Stops;
    /// A pod does not terminate, and the pods behind it wait.
    PodStuckTerminating Person Stops;
    /// No step is left, and the rule still holds.
    LadderUsedUp Person Stops;
    /// Whether a step helped is not known.
    VerifyUnknown Itself Stops;
    /// Nothing is changed, and no step can start until a person acts.
    StepsBlocked Person;
    /// Nothing is changed although a rule holds. The steps start as soon as they can.
    NothingInForce Itself;
    /// The policy has responded automatically as often as it may.
    TooManyIncidents Person Stops;
    /// The policy has no rule left that could tell whether the withdrawal may continue.
    NoRuleToWatch Person;
    /// Whether what was reverted is healthy cannot be told.
    WaveUnknown Itself;
    /// An autoscaler still needs the limit that was raised.
    AutoscalerStillNeedsIt Itself;
    /// An autoscaler still needs the limit that was raised, and is set to never scale down.
    ScaleDownDisabled Person;
    /// No rule has held yet.
    NotClassified Itself;
    /// The remaining changes are reverted only on request.
    AwaitingWithdrawal Person;
    /// An object cannot be read or written, so it keeps its emergency values.
    CannotPutBack Person;
    /// A person has paused the response.
    Paused Person Stops;
    /// The brake is engaged.
    Braked Person Stops;
    /// The policy is gone, suspended, not Accepted, or in Observe.
    PolicyUnavailable Person Stops;
    /// The open Incident of the policy is another one.
    AnotherIncident Itself Stops;
    /// The Incident names no policy, and no rule of any policy in its namespace holds.
    NoPolicy Itself Stops;

    // A step has not started.

    /// It does not list the present severity.
    OtherSeverity Itself;
    /// An earlier step is not finished.
    WaitsForEarlierStep Itself;
    /// The last step started too recently.
    MinStepInterval Itself;
    /// An earlier step was verified.
    NotNeeded Itself;
    /// Its `when` is false.
    WhenFalse Itself;
    /// Its `when` is Unknown.
    WhenUnknown Itself;
    /// No object matches its targets.
    NoTargets Itself;
    /// Every object that matches already is as the action wants it.
    NothingToDo Itself;
    /// Each object that matches is left alone, for its own reason.
    NothingCanBeChanged Itself;
    /// The API server rejects the list of its targets.
    CannotListTargets Person;
    /// The list of its targets failed this time.
    TargetsUnknown Itself;
    /// The policy is in Observe.
    Observe Person;

    // A step has started.

    /// A check is False.
    VerifyFailed Itself;
    /// What was reverted is not healthy yet.
    WaveNotHealthy Itself;
    /// Pods return to a scheduler that is not available yet.
    WaitsForScheduler Itself;
    /// The template of an object is reverted, and the pace of its rollout is not yet.
    WaitsForRollout Itself;
    /// The API server rejects the deletion of pods that block the rollout.
    CannotDeletePods Person;
    /// The pods of the object cannot be listed.
    CannotListPods Person;

    // An object is left alone.

    /// It or its namespace is exempt.
    Exempt Person;
    /// It is stopped, parked or being deleted on purpose.
    Idle Itself;
    /// Its pods keep the template that they have until a person resumes its rollout.
    RolloutPaused Person;
    /// Another object controls it.
    OwnedByController Person;
    /// An autoscaler sets its replicas.
    OwnedByAutoscaler Person;
    /// Whether an autoscaler sets its replicas is not known.
    AutoscalerUnknown Itself;
    /// The step already changes as many objects at once as its action allows.
    LimitReached Itself;
    /// Other objects of the step have their turn first.
    WaitsForTurn Itself;
    /// An object that has its turn first is not back in time.
    LevelNotHealthy Person;
    /// It had no turn before the step stopped taking objects.
    NotAdmitted Itself;
    /// Another open Incident has changed it.
    HeldBy Itself;
    /// `where` is Unknown.
    WhereUnknown Itself;
    /// Something other than a selector keeps it on its accelerator.
    PinnedToAccelerator Person;
    /// Its kind has no field for the action.
    NotApplicable Person;
    /// A value that must be a number is something else.
    NotANumber Person;
    /// There is no value to take a percentage of.
    NoValue Person;
    /// The current value is not one that could be restored reliably.
    OutOfBounds Person;
    /// The undo record would restart its pods.
    RestartsPods Person;
    /// Its undo record is damaged.
    RecordUnreadable Person;
    /// Its undo record was copied from another object.
    RecordOfAnotherObject Person;
    /// An Incident that no longer exists has changed it.
    OrphanedRecord Person;
    /// There is no room for its undo record.
    CannotRecord Person;
    /// Its change does not fit into the Incident.
    EntryTooLarge Person;
    /// The Incident has no room for another change or step.
    JournalFull Person;
    /// It has changed since its plan was approved.
    PlanChanged Person;
    /// A GitOps tool may overwrite the change.
    GitOpsWarning Nothing;
    /// Something in the object or the cluster may keep the change from having the effect that it is for.
    MayHaveNoEffect Nothing;

    // A change is in progress or has failed.

    /// Someone else wrote the object first.
    Conflict Itself;
    /// The API server asked to try again later.
    Throttled Itself;
    /// The API server rejected the change.
    Refused Person;
    /// The change was not applied in time.
    Timeout Person;
    /// A fence is set before the change is given up.
    GivenUp Itself;
    /// The API server rejects the fence, so Firebreak waits until no late request is possible.
    FenceRefused Itself;
    /// The object cannot be read.
    CannotRead Itself;
    /// The write was accepted without its undo record.
    RecordNotKept Person;
    /// The write was accepted without the value that it carried.
    ValueNotKept Person;
    /// The undo record cannot be corrected.
    RecordNotCorrected Nothing;
    /// It is tried again after a pause.
    Resumed Itself;
    /// The request was not sent: the response was stopped before, or the cluster does not serve the kind of its object.
    NotSent Itself;

    // A change has ended.

    /// Someone else's value is in the field.
    ValueOfAnother Nothing;
    /// The object was deleted.
    ObjectGone Nothing;
    /// A person abandoned it.
    Abandoned Nothing;
    /// The Incident's namespace was deleted, and with it the permissions.
    NamespaceGone Nothing;
    /// The step sets `revert: Never`.
    RevertNever Nothing;
    /// A person kept the change.
    KeptByPerson Nothing;
    /// The response was withdrawn before the change was applied.
    Withdrawn Nothing;
    /// The pod no longer blocks the change.
    NoLongerStuck Nothing;
    /// An object with the name that the operation uses belongs to someone else.
    NameTaken Person;
    /// A person says that the operation did not happen.
    DidNotHappen Nothing;
    /// The Incident closed before the outcome of the operation was known.
    NeverSettled Nothing;
}

impl Reason {
    /// Whether a person resolves it by approving the plan of its step.
    pub fn asks_for_approval(&self) -> bool {
        matches!(
            self,
            Self::ApprovalRequired | Self::TooManyTargets | Self::DetectorSuspect | Self::OutsideWindows
        )
    }

    /// Whether it holds the response until a person or the brake lets it write again.
    pub fn is_a_rest(&self) -> bool {
        matches!(self, Self::Paused | Self::Braked)
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        let known = Self::ALL.iter().find(|reason| reason.name() == text);
        known.cloned().unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::from(text.as_str()))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Reason {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reason".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reason_is_stored_and_read_as_its_text() {
        for reason in Reason::ALL {
            let stored = serde_json::to_value(reason).unwrap();
            assert_eq!(stored, json!(reason.name()));
            assert_eq!(serde_json::from_value::<Reason>(stored).unwrap(), *reason);
            assert!(reason.name().len() <= 63, "{reason} is longer than the schema allows");
        }
    }

    #[test]
    fn a_text_that_is_not_in_the_table_is_kept() {
        let stored = json!("FromAnotherRelease");
        let read: Reason = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(read, Reason::Other("FromAnotherRelease".to_owned()));
        assert_eq!(serde_json::to_value(&read).unwrap(), stored);
        assert_eq!(read.moves_on(), MovesOn::Person, "a person has to look at it");
    }
}
