//! Why nothing is changed: by the whole response, or by a step, in Observe as in Enforce.

use super::Deciding;
use super::plans::Plans;
use crate::incident::{Held, doubt};
use crate::policy::Severity;
use crate::reason::Reason;
use crate::rules::Step;
use crate::severity::keep_texts;
use crate::why::WhyNot;

impl Deciding<'_> {
    /// That no rule has held yet, with what a person can do about it.
    pub(super) fn not_classified(&self) -> Option<Held> {
        self.next.classified_at.is_none().then(|| {
            let (steps, severity) = self.rules.map(|it| (&*it.steps, &*it.severity)).unwrap_or_default();
            let does = if self.observes() { "planned" } else { "applied" };
            let why = match severity {
                [] => format!(
                    "the policy has no severity rules, so nothing is {does} without a severity, and the Incident closes \
                     after recovery.for"
                ),
                _ => format!(
                    "no rule of the policy holds, so nothing is {does}, and the Incident closes when every rule has been \
                     False for recovery.for; {}",
                    self.doubt().unwrap_or_else(|| "status.rules says why".to_owned())
                ),
            };
            let purpose = match self.observes() {
                true => "The policy is in Observe, so nothing is changed. To see the plan anyway",
                false => "To respond anyway",
            };
            let incident = &self.facts.incident;
            let wait = format!(
                "{why}. {purpose}, pin the severity: `{}`. To close it now: `{}`",
                incident.pin_command(Severity::worst_of(steps.iter().map(|step| &step.definition))),
                incident.withdraw_command()
            );
            Held::new(Reason::NotClassified, &wait)
        })
    }

    /// Which rules are Unknown, in the words of the status as long as they are.
    fn doubt(&self) -> Option<String> {
        let mut rules = self.next.rules.clone();
        keep_texts(&self.facts.state.rules, &mut rules, &[], &mut []);
        doubt(&rules)
    }

    /// Why a step would change no target now; none if it would change one.
    pub(super) fn nothing_to_change(&self, step: &Step, plans: &Plans) -> Option<(Reason, String)> {
        if plans.new_targets() > 0 {
            return None;
        }
        let is_going = |why: &&WhyNot| why.step == step.name && why.reason == Reason::WaitsForRollout;
        let going = self.why.iter().find(is_going);
        Some(match (plans.matched, plans.refused.first(), going) {
            (0, ..) => (Reason::NoTargets, self.no_targets(step, plans)),
            (_, Some(refused), _) => (
                Reason::NothingCanBeChanged,
                format!("{}: {}", refused.target, refused.message.clone().unwrap_or_default()),
            ),
            (_, None, Some(why)) => (Reason::WaitsForEarlierStep, why.message.clone()),
            (_, None, None) => {
                (Reason::NothingToDo, "every matching object already has these values".to_owned())
            }
        })
    }

    /// For people: that a step has no targets, which names no object has, and which objects would be some if they were
    /// not off.
    fn no_targets(&self, step: &Step, plans: &Plans) -> String {
        let is_off = |why: &&WhyNot| why.step == step.name && why.reason == Reason::Idle;
        let off =
            || self.why.iter().filter(is_off).filter_map(|why| Some((why.target.as_ref()?, &why.message)));
        let absent = match plans.absent.as_slice() {
            [] => String::new(),
            names => format!("; no object in scope is named {}", names.join(", ")),
        };
        match off().min_by_key(|(target, _)| target.to_string()) {
            None if plans.scope > 0 => {
                let targets = step.targets();
                let where_ = match &targets.scope.where_ {
                    Some(_) => "`where`".to_owned(),
                    None => format!("the default `where`, `{}`,", targets.where_.source()),
                };
                let scope = plans.scope;
                format!(
                    "no object matches its targets: {where_} is not true for any of {scope} in scope{absent}"
                )
            }
            None => format!("no object matches its targets{absent}"),
            Some((first, why)) => format!(
                "no object matches its targets, except {} that are off on purpose; the first is {first}: {why}{absent}",
                off().count()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::incident::Spared;

    #[test]
    fn a_step_without_targets_names_what_no_object_is_called() {
        let given = Fixture::pinned();
        let deciding = given.deciding();
        let step = deciding.ladder[0].clone();
        let nothing = |plans: Plans| deciding.nothing_to_change(&step, &plans);
        let absent = vec!["chat".to_owned(), "search".to_owned()];
        let (reason, text) = nothing(Plans { absent, ..Plans::default() }).unwrap();
        assert_eq!(reason, Reason::NoTargets);
        assert_eq!(text, "no object matches its targets; no object in scope is named chat, search");
        let (_, text) = nothing(Plans { scope: 3, ..Plans::default() }).unwrap();
        let default = "the default `where`, `!healthy`, is not true for any of 3 in scope";
        assert_eq!(text, format!("no object matches its targets: {default}"));
        let matched = Plans {
            matched: 1,
            nothing_to_do: vec![Spared::default()],
            absent: vec!["chat".to_owned()],
            ..Plans::default()
        };
        assert_eq!(nothing(matched).unwrap().0, Reason::NothingToDo);
    }
}
