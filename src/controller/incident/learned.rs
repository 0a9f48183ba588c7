//! What this process has learned about an Incident and no status says yet: the outcomes of what it sent, and the report
//! that it wrote.
//!
//! # Guarantees
//! It is dropped only once a decision that was made with it is recorded, or with the process. If it were lost,
//! a live read would show what became of a patch, but a person would have to say what became of an operation that may be
//! sent once. It is safe to keep: an outcome counts only for the exact request that is in the journal, so one of an intent
//! that another controller has taken further counts for nothing.

use std::collections::BTreeMap;

use firebreak_engine::decide::learn;
use firebreak_engine::effect::EffectId;
use firebreak_engine::facts::{Facts, Outcome, PolicyFact};
use firebreak_engine::incident::ReportStatus;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::untold::{keep_untold, last_told, tell_traces};
use super::{notices, record};
use crate::api::Incident;
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::stored::find;

/// How often others may write the Incident first while the last words of this process are recorded.
const LAST_TRIES: usize = 5;

/// What is learned and not recorded.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// What became of the effects of the last recorded decision.
    pub outcomes: BTreeMap<EffectId, Outcome>,
    /// What became of the report.
    pub report: Option<ReportStatus>,
}

impl Learned {
    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.report.is_none()
    }

    /// Adds it to the facts of a decision.
    pub fn tell(&self, facts: &mut Facts) {
        facts.outcomes.clone_from(&self.outcomes);
        facts.report.clone_from(&self.report);
    }

    /// A decision that was made with it is recorded, or the Incident was deleted.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The Incident as it is now, to decide about it again after somebody else wrote it first. None if it is gone: what is
/// known about it is known about no other one of its name.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn read_again(api: &Api<Incident>, name: &str, uid: &str) -> Result<Option<Incident>, Error> {
    let found = find(api, name).await?;
    Ok(found.filter(|incident| incident.uid().as_deref() == Some(uid)))
}

/// Records what was learned before this process ends, and nothing new: not even an intent, because nothing is sent any
/// more. The next leader continues with what is recorded. It sends again what may be sent again.
///
/// # Errors
/// The API server gives no answer, or others write the Incident again and again.
pub async fn record_last_words(
    operator: &Operator,
    api: &Api<Incident>,
    mut incident: Incident,
    learned: &mut Learned,
) -> Result<(), Error> {
    let (name, uid) = (incident.name_any(), incident.uid().unwrap_or_default());
    for _ in 0..LAST_TRIES {
        let now = Timestamp::now();
        let unused = PolicyFact::Unavailable { why: String::new() };
        let mut facts = Facts::new(incident.identity(), unused);
        facts.state = incident.state();
        learned.tell(&mut facts);
        let decision = learn(&facts, now);
        let (before, happened) = (incident.state(), decision.happened.clone());
        let told = last_told(operator, &incident);
        match record::record(api, incident, decision, now).await {
            Ok(recorded) => {
                learned.clear();
                notices::recorded(operator, recorded.incident(), &before, &happened);
                tell_traces(operator, recorded.incident(), told, now);
                return Ok(());
            }
            Err(error) => {
                keep_untold(operator, &uid, told, &error);
                if !matches!(error, Error::Conflict) {
                    return Err(error);
                }
            }
        }
        let Some(again) = read_again(api, &name, &uid).await? else { return Ok(()) };
        incident = again;
    }
    Err(Error::Conflict)
}
