//! The claim: which Incident may act for a policy.
//!
//! # Flow
//! ```text
//! Vacant ── a rule asks ──► Announced ── the Incident exists ──► Bound ── it is closed or gone ──► Vacant
//!   │                          │ ▲                                 ▲
//!   │          create refused, │ │ (never)                         │ the Incident exists after all
//!   │          no rule asks    ▼ │                                 │
//!   │                       Revoked ───────────────────────────────┤
//!   │                          └─ a live read finds no Incident ──► Vacant
//!   └── a person's Incident: name and uid in one write ────────────┘
//! ```
//! Each arrow is one write of the policy's status, guarded by the version that the decision was based on, so of two
//! controllers only one can take it.
//!
//! # Why an announced Incident may act before its uid is recorded
//! An Incident acts if the claim is bound to its uid, in a view of the policy however old; or if the claim announces
//! its nonce, **in a live read of the policy that began after the Incident was known to exist**. At most one open
//! Incident acts, whatever two controllers do:
//!
//! 1. A bound claim is only cleared after a live read has shown its Incident closed, gone or replaced. So while an
//!    Incident is open, a view that binds the claim to it, however old, is still true; and a closed Incident acts no
//!    more, because each of its acts is recorded first, guarded by its own version.
//! 2. An announced claim is never cleared. It is revoked first, in a write of its own, and a revoked one is only
//!    cleared after a live read *that follows this write* has found no Incident with its nonce.
//! 3. Let R be a live read that showed the announcement of an Incident I, after I existed. If the announcement is
//!    revoked later, the live read after that follows R, so I exists in it, and the claim is bound to I rather than
//!    cleared. If it had been revoked before R, R would have shown that. So once R has been made, no other Incident
//!    gets the claim before I is closed, and R need not be made again.
//! 4. I does not close while it is only announced ([`Tenure::may_close`]), and carries its finalizer from its
//!    creation, so "does not exist" in a live read means that it was never created, and not that it has ended.
//! 5. A create request that arrives late makes an Incident that the claim no longer announces: its read R shows
//!    that, and it closes as Superseded without having acted.
//!
//! The nonce is an annotation that admission takes from nobody but the operator, so nobody can make an Incident that
//! is taken for the announced one.
//!
//! # When the policy is deleted and created again
//! The new policy has the name of the old one, another uid, and no status. Views of the old one remain, in caches and
//! as live reads that were made before the deletion, and an Incident that acts by such a view could act beside one
//! that the new policy announces. Hence a policy without state lists its Incidents live before it decides:
//!
//! 6. If an open Incident had the claim, the claim is bound to it. By 1 to 3 no view of the old policy lets another
//!    one act while it is open.
//! 7. If none had it, any open Incident may be about to act for the first time by a view of the old policy. The new
//!    policy decides nothing until each of them has recorded that it waits for the uid of the new policy. This record
//!    and the first act are writes of the same status, guarded by its version. If the act comes first, the policy
//!    finds an Incident that had the claim, as in 6. If the record comes first, it refuses each decision that was made
//!    before it; and a decision that is made after it takes no view of a policy with another uid from a watch, but
//!    reads the policy live, which no longer shows the old one.
//! 8. An Incident that is created after the list cannot act by a view of the old policy: the old policy was never
//!    bound to its uid, and a live read that began after the Incident existed does not show the old policy.
//! 9. Nothing waits for an Incident that starts nothing: one that is closed, is being deleted, or does not decode. Each
//!    of these has moved its version, so that what was decided before is refused.
//!
//! What the new policy knows of earlier responses is what the Incidents that still exist tell of them.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Creation, IncidentFact, PolicyFacts, PolicyLook};
use super::state::{ActiveIncident, PolicyState};
use crate::incident::Closing;
use crate::period::after;

/// How long the uid of a created Incident may be missing from the claim. The next write of the status includes it; a
/// separate write follows after this time, when the first changes have been made.
const UID_WITHIN: SignedDuration = SignedDuration::from_secs(1);

/// How soon a policy looks again whether its Incidents wait for it. What they record makes it due at once; this is for
/// the case that they cannot record it.
const AWARE_WITHIN: SignedDuration = SignedDuration::from_secs(2);

/// The state of the claim of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// No Incident has it.
    Vacant,
    /// An Incident of this name will be created with this nonce, or was.
    Announced {
        /// Its name.
        name: &'a str,
        /// Its nonce.
        nonce: &'a str,
    },
    /// The announcement is revoked, unless the Incident exists.
    Revoked {
        /// Its name.
        name: &'a str,
        /// Its nonce.
        nonce: &'a str,
    },
    /// An Incident that exists has it.
    Bound {
        /// Its name.
        name: &'a str,
        /// Its uid.
        uid: &'a str,
    },
}

impl<'a> Claim<'a> {
    /// The claim in the status.
    pub fn of(active: &'a ActiveIncident) -> Self {
        let name = active.name.as_str();
        match (&active.uid, &active.nonce) {
            (Some(uid), _) => Self::Bound { name, uid },
            (None, Some(nonce)) if !active.revoked => Self::Announced { name, nonce },
            (None, nonce) => Self::Revoked { name, nonce: nonce.as_deref().unwrap_or_default() },
        }
    }

    /// The name of the Incident that has it or will have it.
    pub fn name(self) -> Option<&'a str> {
        match self {
            Self::Vacant => None,
            Self::Announced { name, .. } | Self::Revoked { name, .. } | Self::Bound { name, .. } => {
                Some(name)
            }
        }
    }
}

/// The relation of an Incident to the claim of its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// The claim is bound to it: it acts.
    Bound,
    /// The claim announces it: it acts once a live read of the policy has shown the announcement.
    Announced,
    /// The claim announced it, and that is revoked unless the policy finds that it exists. The write that decides makes
    /// it due again.
    Revoked,
    /// No controller has looked at the policy since it was created. The write that decides makes it due again.
    Pending,
    /// No Incident has the claim, and it may be the next.
    Vacant,
    /// Another Incident has the claim, or the claim is not for this one.
    Lost {
        /// The Incident that has the claim, if one has it.
        by: Option<String>,
        /// Whether it was opened for a claim that it has lost.
        superseded: bool,
    },
}

impl Tenure {
    /// The relation of an Incident to the claim in this state of its policy. Without a state no controller has seen
    /// the policy since it was created.
    pub fn of(incident: &IncidentFact, policy: Option<&PolicyState>) -> Self {
        let Some(state) = policy else { return Self::Pending };
        let claim = state.claim();
        match claim {
            Claim::Bound { uid, .. } if uid == incident.uid => Self::Bound,
            Claim::Announced { name, nonce } if incident.is_announced_as(name, nonce) => Self::Announced,
            Claim::Revoked { name, nonce } if incident.is_announced_as(name, nonce) => Self::Revoked,
            Claim::Vacant if incident.may_claim() => Self::Vacant,
            Claim::Vacant | Claim::Announced { .. } | Claim::Revoked { .. } | Claim::Bound { .. } => {
                Self::Lost {
                    by: claim.name().map(str::to_owned),
                    superseded: incident.nonce.is_some() && (claim != Claim::Vacant || !incident.had_claim),
                }
            }
        }
    }

    /// Whether the Incident may be closed. One that is only announced waits for its uid to be recorded, also while the
    /// announcement is revoked, so that a claim that announces an Incident which does not exist was never acted on. A
    /// policy that has no state yet in a live read will only announce Incidents with new nonces, so this one may close.
    pub fn may_close(&self) -> bool {
        match self {
            Self::Announced | Self::Revoked => false,
            Self::Bound | Self::Pending | Self::Vacant | Self::Lost { .. } => true,
        }
    }

    /// Whether this counts as a watch has shown it. That the claim is lost, or that nobody has it yet, may be news of
    /// yesterday: it is read live.
    pub fn counts_as_seen(&self) -> bool {
        match self {
            Self::Bound | Self::Announced | Self::Revoked => true,
            Self::Pending | Self::Vacant | Self::Lost { .. } => false,
        }
    }
}

/// What is known about the Incident that has the claim, or will have it.
pub(super) enum Fate<'a> {
    /// No Incident has the claim.
    Vacant,
    /// No Incident has it, and this one is the first in line.
    Next(&'a IncidentFact),
    /// It is announced, and is not known to exist.
    Awaited,
    /// It is announced, and cannot be created.
    Hopeless,
    /// It exists, and its uid is not recorded.
    Created(&'a IncidentFact),
    /// The announcement was revoked, and it does not exist.
    NeverCreated,
    /// It is open, and its uid is recorded.
    Open,
    /// It is closed or gone.
    Over {
        /// Whether it closed because no rule held any more. If not, a person ended it.
        recovered: bool,
        /// When it closed, if it still exists.
        ended_at: Option<Timestamp>,
    },
}

impl<'a> Fate<'a> {
    /// What is known, or the missing live read.
    pub fn of(state: &PolicyState, facts: &'a PolicyFacts, now: Timestamp) -> Result<Self, PolicyLook> {
        match state.claim() {
            Claim::Vacant => next_in_line(facts),
            Claim::Announced { name, nonce } => announced(facts, name, nonce, now),
            Claim::Revoked { name, nonce } => {
                let live = live(facts, name)?;
                Ok(live
                    .filter(|live| live.is_announced_as(name, nonce))
                    .map_or(Self::NeverCreated, Self::Created))
            }
            Claim::Bound { name, uid } => bound(facts, name, uid),
        }
    }

    /// Whether an Incident has the claim, or will have it.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Next(_) | Self::Awaited | Self::Hopeless | Self::Created(_) | Self::Open => true,
            Self::Vacant | Self::NeverCreated | Self::Over { .. } => false,
        }
    }
}

/// The result of a live read of an Incident.
fn live<'a>(facts: &'a PolicyFacts, name: &str) -> Result<Option<&'a IncidentFact>, PolicyLook> {
    facts.reads.incidents.get(name).map(Option::as_ref).ok_or_else(|| PolicyLook::Incident(name.to_owned()))
}

/// The Incidents that must record that they wait for this policy, which has no state yet, before it decides anything:
/// all that do not know it, unless one that is open had the claim.
pub(super) fn unaware(all: &[IncidentFact], policy: &str) -> Vec<String> {
    if all.iter().any(|incident| incident.had_claim && !incident.is_closed()) {
        return Vec::new();
    }
    let unaware = all.iter().filter(|incident| incident.is_unaware_of(policy));
    unaware.map(|incident| incident.name.clone()).collect()
}

/// When to look again whether they have recorded it.
pub(super) fn aware_by(now: Timestamp) -> Timestamp {
    after(now, AWARE_WITHIN)
}

/// The open Incident that is first in line for a free claim.
fn next_in_line(facts: &PolicyFacts) -> Result<Fate<'_>, PolicyLook> {
    if facts.state.is_none() {
        // All were listed live. The watch may not have shown one that acts.
        let all = facts.reads.all.iter().flatten();
        return Ok(line(all).first().copied().map_or(Fate::Vacant, Fate::Next));
    }
    for seen in line(&facts.open) {
        // An Incident from the watch may already be closed: claiming it would end the response a second time.
        if let Some(live) = live(facts, &seen.name)?.filter(|live| live.uid == seen.uid && live.may_claim()) {
            return Ok(Fate::Next(live));
        }
    }
    Ok(Fate::Vacant)
}

/// Those that may get a free claim, the first one first: one that had the claim before the policy was deleted and
/// created again, then the oldest that a person created. An Incident that was announced and never had the claim has no
/// right to it: it closes.
fn line<'a>(incidents: impl IntoIterator<Item = &'a IncidentFact>) -> Vec<&'a IncidentFact> {
    let mut line: Vec<_> = incidents.into_iter().filter(|incident| incident.may_claim()).collect();
    line.sort_by_key(|incident| (!incident.had_claim, incident.created_at, incident.name.clone()));
    line
}

fn announced<'a>(
    facts: &'a PolicyFacts,
    name: &str,
    nonce: &str,
    now: Timestamp,
) -> Result<Fate<'a>, PolicyLook> {
    let is_it = |incident: &&IncidentFact| incident.is_announced_as(name, nonce);
    let read = facts.reads.incidents.get(name).and_then(Option::as_ref);
    if let Some(incident) = read.filter(is_it).or_else(|| facts.open.iter().find(is_it)) {
        return Ok(Fate::Created(incident));
    }
    let is_refused = facts.refusal.as_ref().is_some_and(|refusal| refusal.stands_at(now));
    match &facts.creation {
        Some(Creation::Created(incident)) if is_it(&incident) => Ok(Fate::Created(incident)),
        // It is from an earlier request of ours whose answer was lost, or someone else has taken the name.
        Some(Creation::AlreadyExists) => live(facts, name).map(|_| Fate::Hopeless),
        Some(Creation::Refused) => Ok(Fate::Hopeless),
        Some(Creation::Created(_)) | None if is_refused => Ok(Fate::Hopeless),
        Some(Creation::Created(_)) | None => Ok(Fate::Awaited),
    }
}

fn bound<'a>(facts: &'a PolicyFacts, name: &str, uid: &str) -> Result<Fate<'a>, PolicyLook> {
    if facts.open.iter().any(|incident| incident.uid == uid) {
        return Ok(Fate::Open);
    }
    Ok(match live(facts, name)?.filter(|live| live.uid == uid) {
        Some(live) if live.is_closed() => {
            Fate::Over { recovered: live.closing == Some(Closing::Recovered), ended_at: live.resolved_at }
        }
        Some(_) => Fate::Open,
        None => Fate::Over { recovered: false, ended_at: None },
    })
}

/// The claim of an Incident that exists.
pub(super) fn bind(incident: &IncidentFact) -> ActiveIncident {
    ActiveIncident {
        name: incident.name.clone(),
        nonce: incident.nonce.clone(),
        uid: Some(incident.uid.clone()),
        revoked: false,
    }
}

/// When the uid of this Incident must be recorded even if nothing else is written.
pub(super) fn uid_due(state: &PolicyState, incident: &IncidentFact) -> Option<Timestamp> {
    let is_it = |name: &str, uid: Option<&String>| name == incident.name && uid.is_none();
    let announced = state.recent_responses.iter().rfind(|one| is_it(&one.name, one.uid.as_ref()))?;
    let may_wait =
        !incident.is_closed() && !incident.deleting && matches!(state.claim(), Claim::Announced { .. });
    may_wait.then(|| uid_after(announced.at))
}

/// When the uid of an Incident that was announced at this moment is recorded.
pub(super) fn uid_after(announced_at: Timestamp) -> Timestamp {
    after(announced_at, UID_WITHIN)
}

/// The name of an Incident that opens now: `<policy>-<yyyymmdd-hhmmss>` in UTC.
pub fn incident_name(policy: &str, now: Timestamp) -> String {
    format!("{policy}-{}", now.strftime("%Y%m%d-%H%M%S"))
}
