//! A raised limit is reverted when its autoscaler wants no more than before.

use jiff::Timestamp;

use super::Deciding;
use super::climb::{RELIST_BUSY, RELIST_IDLE};
use crate::change::Change;
use crate::facts::{Demand, ListingRead, ObjectRead, Role, ScaleDown, Slot, Target, Wanted};
use crate::id::ChangeId;
use crate::incident::Held;
use crate::path::FieldPath;
use crate::period::after;
use crate::reason::Reason;
use crate::rules::Step;
use crate::value::whole;

/// Why an autoscaler still needs a limit that was raised.
#[derive(Clone, PartialEq, Eq)]
struct Need {
    /// A person must act, or it passes without one.
    reason: Reason,
    /// For people.
    why: String,
}

impl Need {
    fn for_now(why: String) -> Self {
        Self { reason: Reason::AutoscalerStillNeedsIt, why }
    }
}

impl Deciding<'_> {
    /// The changes whose autoscaler wants no more than the old limit allows. The others wait, and report it.
    pub(super) fn wanted_no_more(
        &mut self,
        step: &Step,
        candidates: Vec<ChangeId>,
        due: Timestamp,
    ) -> (Vec<ChangeId>, Option<Held>) {
        // After the first read since it could be reverted, there is time.
        let age = self.facts.listing_age.get(&step.name).copied();
        let is_asked = age.is_some_and(|age| after(self.now, -age) >= due);
        if !self.is_listing_due(&step.name, if is_asked { RELIST_IDLE } else { RELIST_BUSY }) {
            // The result of a listing counts until the next one.
            let said = self.facts.state.held.clone();
            let is_of_this = |held: &Held| {
                [Reason::AutoscalerStillNeedsIt, Reason::ScaleDownDisabled].contains(&held.reason)
            };
            return (Vec::new(), said.filter(is_of_this));
        }
        self.wake_in(RELIST_IDLE);
        match self.listing(&step.name) {
            None => return (Vec::new(), None),
            Some(ListingRead::Listed(_)) => {}
            Some(ListingRead::Refused { why } | ListingRead::Failed { why }) => {
                let why = format!("step {}: cannot tell what the autoscalers want: {why}", step.name);
                return (Vec::new(), self.still_needed(step, Need::for_now(why), due));
            }
        }
        let candidates: Vec<Change> =
            self.next.changes.iter().filter(|change| candidates.contains(&change.id)).cloned().collect();
        let demands: Vec<Option<Demand>> =
            candidates.iter().map(|change| self.demand_of(step, change)).collect();
        let mut wanted = Vec::new();
        let mut waits: Option<Need> = None;
        for (change, demand) in candidates.into_iter().zip(demands) {
            let target = &change.target;
            let needs = match demand {
                None => return (Vec::new(), None), // a live read is still to come
                Some(Demand::None) => None,
                Some(Demand::Wants(all)) => all.iter().find_map(|wanted| self.needs(&change, wanted)),
                Some(Demand::Unknown(why)) => {
                    Some(Need::for_now(format!("cannot tell what the autoscaler wants: {why}")))
                }
            };
            let Some(Need { reason, why }) = needs else {
                wanted.push(change.id);
                continue;
            };
            // What only a person ends is said first.
            if waits.as_ref().is_none_or(|said| said.reason != reason && reason == Reason::ScaleDownDisabled)
            {
                waits = Some(Need { reason, why: format!("{target}: {why}") });
            }
        }
        let held = waits.and_then(|need| self.still_needed(step, need, due));
        (wanted, held)
    }

    /// What the autoscaler of a changed object wants. None if a live read has to be requested.
    fn demand_of(&mut self, step: &Step, change: &Change) -> Option<Demand> {
        if let Some(target) = self.listed(&step.name, &change.target.uid) {
            return Some(demand_of(target));
        }
        Some(match self.look_at(&change.target)? {
            ObjectRead::Found(target) if target.off_on_purpose().is_some() => Demand::None,
            ObjectRead::Found(target) if target.demand == Demand::None => {
                Demand::Unknown("the targets of the step do not include it any more".to_owned())
            }
            ObjectRead::Found(target) => target.demand.clone(),
            ObjectRead::Gone => Demand::None,
            ObjectRead::Refused { why } | ObjectRead::Failed { why } => Demand::Unknown(why.clone()),
        })
    }

    /// Why this autoscaler still needs the change; none if it wants no more than its old limit.
    fn needs(&self, change: &Change, wanted: &Wanted) -> Option<Need> {
        let replicas = wanted.replicas;
        let why = match self.old_limit(change, wanted) {
            Ok(before) if replicas <= before => return None,
            Ok(before) => format!("the autoscaler wants {replicas} replicas, and its old limit is {before}"),
            Err(why) => {
                format!("the autoscaler wants {replicas} replicas, and cannot tell its old limit: {why}")
            }
        };
        Some(match wanted.scale_down {
            ScaleDown::Enabled => Need::for_now(why),
            ScaleDown::Disabled => Need {
                reason: Reason::ScaleDownDisabled,
                why: format!(
                    "{why}. It never wants fewer, because behavior.scaleDown.selectPolicy is Disabled"
                ),
            },
        })
    }

    /// The limit of this autoscaler before the change; the largest number if the change did not raise it. An absent
    /// field, or 0, may mean a number; the error says why that is not known.
    fn old_limit(&self, change: &Change, wanted: &Wanted) -> Result<i64, String> {
        let target = self.seen(change);
        let slots = target.map(|target| &target.slots);
        let limits = || slots.into_iter().flat_map(|slots| slots.of(&Role::AutoscalerLimit));
        // The autoscaler has the number of the field that it was taken from, unless it has yet to follow.
        let is_its = |slot: &&Slot| {
            let now = target.and_then(|target| slot.path.read(&target.object).as_deref().and_then(whole));
            wanted.limit.is_some() && now == wanted.limit
        };
        let its: Vec<&FieldPath> = limits().filter(is_its).map(|slot| &slot.path).collect();
        let absent = |path: &FieldPath| limits().find(|slot| slot.path == *path)?.number_if_absent();
        // A number that somebody else has set since stays.
        let fields = change.fields().iter().filter(|field| field.ceded_to.is_none());
        let raised = fields.filter(|field| its.is_empty() || its.contains(&&field.path));
        let old = raised.filter_map(|field| {
            let before = field.before.as_ref().and_then(whole).filter(|before| *before > 0);
            before.or_else(|| absent(&field.path))
        });
        let obstacle =
            slots.and_then(|slots| slots.obstacles.iter().find(|found| found.role == Role::AutoscalerLimit));
        match (old.min(), obstacle) {
            (Some(limit), _) => Ok(limit),
            (None, Some(obstacle)) => Err(obstacle.why.clone()),
            (None, None) => Ok(i64::MAX),
        }
    }

    /// Reports on the step that its limit is still needed, and after a while on the whole response.
    fn still_needed(&mut self, step: &Step, need: Need, due: Timestamp) -> Option<Held> {
        let Need { reason, why } = need;
        self.not_done(&step.name, None, reason.clone(), &why);
        let late = after(due, step.timeout);
        if late > self.now {
            self.wake(Some(late));
            None
        } else {
            let message = format!(
                "{why}. The limit is reverted as soon as the autoscaler wants no more than that. To revert it now: `{}`",
                self.facts.incident.withdraw_command()
            );
            Some(Held::new(reason, &message))
        }
    }
}

/// What the autoscaler wants. One that is paused, or whose target is off, wants nothing.
fn demand_of(target: &Target) -> Demand {
    if target.off_on_purpose().is_some() { Demand::None } else { target.demand.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use serde_json::json;

    use super::super::fixture::{Fixture, NOW, at, field, live};
    use super::*;
    use crate::change::ChangeState;
    use crate::facts::{Obstacle, Target};

    /// One autoscaler that wants this many replicas and does not show its limit.
    fn wants(replicas: i64) -> Demand {
        Demand::Wants(vec![Wanted { replicas, limit: None, scale_down: ScaleDown::Enabled }])
    }

    /// What of `a`, whose limit was 10, may go back while its autoscaler wants this, and what holds it.
    fn wanted(demand: &Demand, due: i64) -> (usize, Option<Held>) {
        let given = Fixture::pinned()
            .change_with("one", "a", ChangeState::Applied, |change| {
                change.set_fields(vec![field("/spec/maxReplicas", &json!(10), &json!(20))]);
            })
            .listed("one", vec![Target { demand: demand.clone(), ..live("a") }]);
        let step = given.rules.steps[0].clone();
        let candidates = vec![given.facts.state.changes[0].id.clone()];
        let (wanted, held) = given.deciding().wanted_no_more(&step, candidates, at(due));
        (wanted.len(), held)
    }

    #[test]
    fn a_limit_goes_back_once_no_more_is_wanted_than_it_allowed_before() {
        let unknown = Demand::Unknown("no answer".to_owned());
        for (demand, number) in [(wants(10), 1), (wants(11), 0), (Demand::None, 1), (unknown, 0)] {
            assert_eq!(wanted(&demand, NOW).0, number, "{demand:?}");
        }
    }

    /// Whether `a` may go back, whose limits for decoding and for prefill were raised from 10 and from 2 to these numbers,
    /// while its two autoscalers have these limits and want these numbers.
    fn of_two(raised: [i64; 2], autoscalers: [(i64, i64); 2]) -> bool {
        let paths = ["/spec/decode", "/spec/prefill"];
        let slot = |path: &str| Slot {
            role: Role::AutoscalerLimit,
            path: path.parse().unwrap(),
            out_of_bounds: None,
            absent: None,
        };
        let mut target = live("a");
        let mut object = (*target.object).clone();
        object["spec"] = json!({"decode": raised[0], "prefill": raised[1]});
        target.object = Arc::new(object);
        target.slots.fields = paths.map(slot).to_vec();
        let wanted =
            |(limit, replicas)| Wanted { replicas, limit: Some(limit), scale_down: ScaleDown::Enabled };
        target.demand = Demand::Wants(autoscalers.map(wanted).to_vec());
        let given = Fixture::pinned()
            .change_with("one", "a", ChangeState::Applied, |change| {
                let fields = paths.iter().zip([10, 2]).zip(raised);
                let lent = fields.filter(|((_, before), after)| before != after);
                change.set_fields(
                    lent.map(|((path, before), after)| field(path, &json!(before), &json!(after))).collect(),
                );
            })
            .listed("one", vec![target]);
        let step = given.rules.steps[0].clone();
        let candidates = vec![given.facts.state.changes[0].id.clone()];
        given.deciding().wanted_no_more(&step, candidates, at(NOW)).0.len() == 1
    }

    #[test]
    fn each_autoscaler_is_compared_with_the_limit_that_it_was_taken_from() {
        assert!(of_two([20, 4], [(20, 3), (4, 2)]));
        assert!(of_two([20, 4], [(20, 10), (4, 2)]), "10 is no more than 10");
        assert!(!of_two([20, 4], [(20, 3), (4, 4)]), "prefill needs 4, and its old limit is 2");
        assert!(!of_two([20, 4], [(20, 11), (4, 1)]));
        assert!(of_two([10, 8], [(10, 9), (8, 2)]), "the limit of decoding was not raised");
        assert!(!of_two([10, 8], [(10, 9), (8, 3)]));
        assert!(!of_two([20, 4], [(10, 3), (2, 2)]), "neither has followed, so the least is assumed");
        assert!(of_two([20, 4], [(10, 2), (2, 2)]));
    }

    #[test]
    fn a_limit_whose_old_number_is_not_known_any_more_is_kept_while_its_autoscaler_wants_something() {
        let why = "it does not show its deployment mode";
        for (demand, number) in [(wants(1), 0), (Demand::None, 1)] {
            let mut target = Target { demand: demand.clone(), ..live("a") };
            target.slots.obstacles = vec![Obstacle { role: Role::AutoscalerLimit, why: why.to_owned() }];
            let given = Fixture::pinned()
                .change_with("one", "a", ChangeState::Applied, |change| {
                    let mut created = field("/spec/maxReplicas", &json!(1), &json!(2));
                    created.before = None;
                    change.set_fields(vec![created]);
                })
                .listed("one", vec![target]);
            let step = given.rules.steps[0].clone();
            let candidates = vec![given.facts.state.changes[0].id.clone()];
            let (wanted, held) = given.deciding().wanted_no_more(&step, candidates, at(0));
            assert_eq!(wanted.len(), number, "{demand:?}");
            assert_eq!(held.is_some_and(|held| held.message.contains(why)), number == 0, "{demand:?}");
        }
    }

    #[test]
    fn a_limit_that_is_needed_is_told_only_after_the_timeout_of_its_step() {
        let timeout = 120;
        assert_eq!(wanted(&wants(11), NOW - timeout + 1), (0, None));
        let (_, held) = wanted(&wants(11), NOW - timeout);
        let held = held.unwrap();
        assert_eq!(held.reason, Reason::AutoscalerStillNeedsIt);
        assert!(held.message.contains("wants 11 replicas, and its old limit is 10"), "{}", held.message);
    }

    #[test]
    fn between_two_listings_nothing_goes_back_and_what_was_said_stays() {
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied).with(|facts| {
            facts.listing_age.insert("one".to_owned(), SignedDuration::from_millis(500));
            facts.state.held = Some(Held::new(Reason::AutoscalerStillNeedsIt, "as before"));
        });
        let step = given.rules.steps[0].clone();
        let candidates = vec![given.facts.state.changes[0].id.clone()];
        let mut deciding = given.deciding();
        let (wanted, held) = deciding.wanted_no_more(&step, candidates, at(0));
        assert_eq!((wanted.len(), held), (0, given.facts.state.held.clone()));
        assert!(deciding.look.is_empty() && deciding.wake_at.is_some());
    }
}
