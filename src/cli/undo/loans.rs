//! The writes of `undo`. Each is made from a live read and guarded by its version, and repeated from a new
//! read until it is known to have taken effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firebreak_engine::change::{Change, FieldChange};
use firebreak_engine::decide::cede_refused;
use firebreak_engine::facts::Outcome;
use firebreak_engine::id::TargetId;
use firebreak_engine::undo::{self, GuardedPatch, Loan, Unwritable};
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use crate::actuator::guarded_patch;
use crate::actuator::live_read::{self, Read};
use crate::cli::Error;
use crate::cli::screen::note;
use crate::kubernetes::discovery::ServedKind;
use crate::workloads::{self, Profiles};

/// Others may write the object at the same time, and answers may be lost.
const TRIES: u32 = 20;

/// How long a rollout is awaited between the two writes that end a loan.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked at.
const POLL: Duration = Duration::from_secs(1);

/// An object with a loan.
pub struct Borrower<'a> {
    client: &'a Client,
    kind: ServedKind,
    target: TargetId,
}

/// The result of handing field ownership back.
pub enum HandedBack {
    /// The fields belong to their owners again.
    Done,
    /// We owned no field.
    NothingToDo,
    /// The server rejected it; the values of the fields are unaffected.
    Refused(String),
}

/// A 422: the reason, and the fields that it names.
struct Invalid {
    why: String,
    fields: Vec<String>,
}

/// How a write ended.
enum Written {
    /// The server accepted it, and stored this.
    Done(Arc<Value>),
    /// A live read showed that it was not, or no longer, needed.
    NotNeeded,
}

/// What is left of a loan on its object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The pace of the rollout of the template, which is reverted.
    Pace,
    /// Nothing, or nothing that this command reverts.
    Nothing,
}

/// What the record of the object still has of this loan.
fn lent(object: &Value, loan: &Loan) -> Option<Loan> {
    let record = undo::record(object).ok().flatten()?;
    record.loans.into_iter().find(|other| other.id == loan.id && other.incident == loan.incident)
}

impl<'a> Borrower<'a> {
    /// The object with this uid, in this version of its kind.
    pub fn new(client: &'a Client, kind: ServedKind, target: TargetId) -> Self {
        Self { client, kind, target }
    }

    /// Reverts a loan: fields that still have the value of the loan are reverted, others are left alone. The
    /// fields tell which.
    pub async fn revert(&self, loan: &Loan) -> Result<Vec<FieldChange>, Error> {
        let mut change =
            Change::planned(loan.id.clone(), &loan.step, self.target.clone(), loan.fields.clone());
        // An earlier command was interrupted between its two writes.
        if undo::is_only_pace(loan) {
            self.wait_for_rollout().await?;
        }
        while self.write_back(loan, &mut change).await? == Left::Pace {
            change.template_is_back(Timestamp::now());
            self.wait_for_rollout().await?;
        }
        Ok(change.fields().to_vec())
    }

    /// The next write that reverts something.
    async fn write_back(&self, loan: &Loan, change: &mut Change) -> Result<Left, Error> {
        let is_first = change.template_back_at().is_none();
        let left_on = |object: &Value, change: &Change| {
            let left = lent(object, loan).filter(|left| undo::is_half_returned(left, change.fields()));
            left.map_or(Left::Nothing, |_| Left::Pace)
        };
        let mut left = Left::Nothing;
        let written = self.write(|object, invalid| {
            if let Some(Invalid { why, fields }) = invalid {
                cede_refused(change, &why, &fields);
            }
            left = if is_first { left_on(object, change) } else { Left::Nothing };
            match lent(object, loan) {
                // An earlier request succeeded and its reply was lost.
                Some(_) if left == Left::Pace => Ok(None),
                Some(_) => undo::three_way_patch(object, &loan.id, change.fields_mut()).map(Some),
                // The same, or someone else was faster.
                None => {
                    undo::cede_unreturned(object, change);
                    Ok(None)
                }
            }
        });
        if let Written::Done(stored) = written.await? {
            left = left_on(&stored, change);
            undo::cede_to_admission(&stored, change);
        }
        Ok(left)
    }

    /// Waits until the template that was reverted has rolled out, before the pace of the rollout is reverted.
    async fn wait_for_rollout(&self) -> Result<(), Error> {
        let profiles = Profiles::built_in().map_err(|error| Error::bug("cannot read the profiles", error))?;
        let (api_version, kind) = (&self.target.api_version, &self.target.kind);
        let Some(profile) = profiles.find(api_version, kind) else { return Ok(()) };
        let started = Instant::now();
        let mut is_told = false;
        loop {
            let object = self.read().await?;
            let (verdict, why) = workloads::rollout(profile, &object);
            if verdict == Verdict::True || workloads::idle(Some(profile), &object).is_some() {
                return Ok(());
            }
            if started.elapsed() >= PATIENCE {
                note(&format!(
                    "{}: its rollout has not ended within {} s ({why}); reverting maxSurge and maxUnavailable anyway",
                    self.target,
                    PATIENCE.as_secs()
                ));
                return Ok(());
            }
            if !is_told {
                note(&format!(
                    "{}: the template is reverted; maxSurge and maxUnavailable follow when it has rolled out, at most in \
                     {} s. You may interrupt this and run the same command again later",
                    self.target,
                    PATIENCE.as_secs()
                ));
                is_told = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Drops the record, readable or not, and leaves the values alone.
    pub async fn forget(&self) -> Result<(), Error> {
        self.write(|object, _| {
            let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(undo::INCIDENT));
            let is_there = undo::annotation(object, undo::UNDO).is_some() || label.is_some();
            if is_there { undo::forget_patch(object).map(Some) } else { Ok(None) }
        })
        .await
        .map(drop)
    }

    /// Hands ownership of these fields back, and removes the fence.
    pub async fn hand_back(&self, fields: &[FieldChange]) -> Result<HandedBack, Error> {
        let written = self
            .write(|object, _| match undo::record(object) {
                // A controller has made a new loan in the meantime, and will hand everything back.
                Ok(Some(_)) => Ok(None),
                Ok(None) | Err(_) => undo::hand_back_patch(object, fields, None),
            })
            .await;
        match written {
            Ok(Written::Done(_)) => Ok(HandedBack::Done),
            Ok(Written::NotNeeded) => Ok(HandedBack::NothingToDo),
            Err(Error::Failed { why, .. }) => Ok(HandedBack::Refused(why)),
            Err(error) => Err(error),
        }
    }

    /// Sends the patches that `next` makes from live reads, until one was accepted or `next` makes none.
    async fn write(
        &self,
        mut next: impl FnMut(&Value, Option<Invalid>) -> Result<Option<GuardedPatch>, Unwritable>,
    ) -> Result<Written, Error> {
        let failed =
            |why: String, next: &str| Error::failed(format!("cannot write {}", self.target), why, next);
        let (mut invalid, mut last) = (None, String::new());
        for tried in 0..TRIES {
            let object = self.read().await?;
            let patch = next(&object, invalid.take())
                .map_err(|error| failed(error.to_string(), "revert it by hand, then use --forget"))?;
            let Some(patch) = patch else { return Ok(Written::NotNeeded) };
            let pause = match guarded_patch::send(self.client, &self.kind, &self.target, &patch).await {
                Outcome::Done(object) => return Ok(Written::Done(object)),
                Outcome::Refused { code: 422, why, fields } => {
                    last.clone_from(&why);
                    invalid = Some(Invalid { why, fields });
                    Duration::ZERO
                }
                Outcome::Refused { code: 403, why, .. } => {
                    return Err(failed(why, "ask the cluster administrator for permission to patch it"));
                }
                Outcome::Refused { why, .. } => return Err(failed(why, "correct that and try again")),
                Outcome::Exists(_) | Outcome::Conflict => {
                    "someone else keeps writing it".clone_into(&mut last);
                    Duration::from_millis(10 * u64::from(tried))
                }
                Outcome::Throttled { after } => {
                    "the API server asks to retry later".clone_into(&mut last);
                    let asked = after.and_then(|after| Duration::try_from(after).ok()).unwrap_or_default();
                    asked.clamp(Duration::from_millis(200), Duration::from_secs(5))
                }
                Outcome::NotSent => Duration::ZERO,
                // The next read shows whether it took effect.
                Outcome::Unclear { why } => {
                    last = why;
                    Duration::from_millis(200)
                }
            };
            tokio::time::sleep(pause).await;
        }
        Err(failed(last, "try again later"))
    }

    async fn read(&self) -> Result<Arc<Value>, Error> {
        let failed =
            |why: String, next: &str| Error::failed(format!("cannot read {}", self.target), why, next);
        match live_read::object(self.client, &self.kind, &self.target).await {
            Read::Found(object) => Ok(object),
            Read::Gone => Err(failed(
                "it was deleted, or replaced by another object of the same name".to_owned(),
                "there is nothing left to revert",
            )),
            Read::Refused(why) => Err(failed(why, "ask the cluster administrator for permission to get it")),
            Read::Failed(why) => Err(failed(why, "try again later")),
        }
    }
}
