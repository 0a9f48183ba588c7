//! Dozens of long seeded runs of a pool of nodes that grows, shrinks, is not readable and is not watched. A memory without
//! bounds says how many nodes are expected at least and at most, and what each rule can be. And mutants, which must be
//! caught.

use firebreak_engine::decide_policy::{Access, PolicyDecision, PolicyFacts, PolicyState, decide_policy};
use firebreak_engine::facts::Reading;
use firebreak_engine::incident::RuleStatus;
use firebreak_engine::rules::Rules;
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};

use crate::dice::Dice;
use crate::workload::{reading, rules};

/// Both rules are suspended, so that no Incident is opened.
const POLICY: &str = r#"
mode: Observe
suspend: true
signals:
- {name: nodes, nodes: {}}
- {name: models, objects: {apiVersion: apps/v1, kind: Deployment}}
severity:
- {level: P0, reason: Lost, when: "signals.nodes.ready * 2 <= signals.nodes.expected", for: 30s, until: "signals.nodes.ready * 10 >= signals.nodes.expected * 8"}
- {level: P2, reason: Sick, when: "signals.models.unhealthy > 0"}
"#;
const WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// A fall is recorded up to one bucket late, and leaves at the end of one.
const SLACK: SignedDuration = SignedDuration::from_mins(2);
const ACCEPTED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The decision function; a mutant wraps the real one.
type DecidePolicy = fn(&PolicyFacts, Option<&Rules>, Timestamp) -> PolicyDecision;

/// How many nodes were ready, and the age of the window when so many were last seen.
struct Seen {
    ready: i64,
    aged: SignedDuration,
}

struct Run {
    dice: Dice,
    decide: DecidePolicy,
    rules: Rules,
    state: PolicyState,
    now: Timestamp,
    ready: i64,
    is_known: bool,
    models: (i64, i64, i64),
    unwatched: SignedDuration,
    seen: Vec<Seen>,
    /// How long the window has aged.
    aged: SignedDuration,
}

impl Run {
    fn new(seed: u64, decide: DecidePolicy) -> Self {
        Self {
            dice: Dice(seed),
            decide,
            rules: rules(POLICY),
            state: PolicyState::default(),
            now: Timestamp::from_second(1_767_225_600).unwrap(),
            ready: 8,
            is_known: true,
            models: (4, 0, 0),
            unwatched: SignedDuration::ZERO,
            seen: Vec::new(),
            aged: SignedDuration::ZERO,
        }
    }

    fn rule(&self, reason: &str) -> Option<&RuleStatus> {
        self.state.rules.iter().find(|rule| rule.reason == reason)
    }

    /// Whether the window stands still, by what is recorded.
    fn stands_still(&self) -> bool {
        let is_true = self.rule("Lost").is_some_and(|rule| rule.known == Verdict::True || rule.holds);
        is_true || !self.is_known
    }

    /// Time passes in which the controllers watch, or nobody does.
    fn pass(&mut self, length: SignedDuration, is_watched: bool) {
        self.now += length;
        if is_watched && !self.stands_still() {
            self.aged += length;
        }
    }

    /// Decides until nothing changes, and returns when to decide again.
    fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..10 {
            let (healthy, unhealthy, unknown) = self.models;
            let models = [("healthy", healthy), ("unhealthy", unhealthy), ("unknown", unknown)];
            let models = [&models[..], &[("total", healthy + unhealthy + unknown), ("idle", 0)]].concat();
            let stale = Reading::Unknown { reason: "Stale".to_owned(), detail: "no answer".to_owned() };
            let nodes = reading(&[("total", self.ready), ("ready", self.ready), ("notReady", 0)]);
            let facts = PolicyFacts {
                state: Some(self.state.clone()),
                access: Access::Complete,
                signals: [
                    ("nodes".to_owned(), if self.is_known { nodes } else { stale }),
                    ("models".to_owned(), reading(&models)),
                ]
                .into(),
                clocks_broken: self.unwatched > SignedDuration::from_mins(1),
                unwatched: std::mem::take(&mut self.unwatched),
                ..PolicyFacts::new("gpu", self.rules.limits.clone())
            };
            let decision = (self.decide)(&facts, Some(&self.rules), self.now);
            assert!(decision.look.is_none() && decision.create.is_none());
            self.note(&decision);
            if decision.next == self.state {
                return decision.wake_at;
            }
            self.state = decision.next;
        }
        panic!("it never settles: {:?}", self.state);
    }

    /// What the memory without bounds has seen.
    fn note(&mut self, decision: &PolicyDecision) {
        let accepted = |state: &PolicyState| state.expected.first().and_then(|it| it.accepted.clone());
        if let Some(accepted) =
            accepted(&decision.next).filter(|it| Some(it) != accepted(&self.state).as_ref())
        {
            self.seen = vec![Seen { ready: accepted.value, aged: self.aged }];
        } else if self.is_known {
            let aged = self.aged;
            match self.seen.last_mut() {
                Some(last) if last.ready == self.ready => last.aged = aged,
                // So many were there until now.
                Some(last) => {
                    last.aged = aged;
                    self.seen.push(Seen { ready: self.ready, aged });
                }
                None => self.seen.push(Seen { ready: self.ready, aged }),
            }
        }
    }

    /// The highest number within this window.
    fn highest(&self, within: SignedDuration) -> i64 {
        let is_within = |seen: &&Seen| self.aged - seen.aged < within;
        self.seen.iter().filter(is_within).map(|seen| seen.ready).max().unwrap_or(0)
    }

    fn check(&self) {
        let expected = self.state.expected.first();
        let found = expected.and_then(|it| it.highest(WITHIN, None, 0, self.now)).unwrap_or(0);
        let (least, most) = (self.highest(WITHIN), self.highest(WITHIN + SLACK));
        assert!((least..=most).contains(&found), "expected {found}, not {least} to {most}: {expected:?}");
        assert!(expected.is_none_or(|it| it.peaks.len() <= 16));
        let lost = match self.is_known && found > 0 {
            true => (self.ready * 2 <= found).into(),
            false => Verdict::Unknown,
        };
        assert_eq!(self.rule("Lost").map(|rule| rule.truth), Some(lost), "{expected:?}");
        let sick = match self.models {
            (_, 1.., _) => Verdict::True,
            (_, _, 0) => Verdict::False,
            _ => Verdict::Unknown,
        };
        assert_eq!(self.rule("Sick").map(|rule| rule.truth), Some(sick), "{:?}", self.models);
    }

    fn happens(&mut self) {
        match self.dice.roll(12) {
            0..=2 => self.ready = (self.ready - 1 - self.dice.roll(4) as i64).max(1),
            3 | 4 => self.ready += 1 + self.dice.roll(6) as i64,
            5 => self.ready = 8,
            6 => self.is_known = !self.is_known,
            7 => {
                let length = SignedDuration::from_secs(30 + self.dice.roll(7200) as i64);
                self.pass(length, false);
                self.unwatched = length;
                // Nobody sees how many there were meanwhile.
                self.ready = (self.ready - self.dice.roll(3) as i64).max(1);
            }
            _ => {}
        }
        let number = |dice: &mut Dice| dice.roll(3) as i64;
        if self.dice.one_in(4) {
            self.models = (number(&mut self.dice), number(&mut self.dice), number(&mut self.dice));
        }
    }

    fn play(mut self) {
        let mut wake = self.settle();
        self.check();
        for _ in 0..100 {
            let length = [2, 60, 600, 3000][self.dice.roll(4) as usize];
            let until = self.now + SignedDuration::from_secs(1 + self.dice.roll(length) as i64);
            while let Some(due) = wake.filter(|due| *due < until) {
                assert!(due > self.now, "it is woken again at once");
                self.pass(due.duration_since(self.now), true);
                wake = self.settle();
                self.check();
            }
            self.pass(until.duration_since(self.now), true);
            // So many were there until now, whether or not anything was due meanwhile.
            self.settle();
            self.check();
            self.happens();
            wake = self.settle();
            self.check();
        }
    }
}

fn run(seed: u64, decide: DecidePolicy) -> Result<(), String> {
    let playing = std::panic::AssertUnwindSafe(|| Run::new(seed, decide).play());
    std::panic::catch_unwind(playing).map_err(|panic| match panic.downcast::<String>() {
        Ok(why) => *why,
        Err(_) => "it panics".to_owned(),
    })
}

#[test]
fn a_memory_without_bounds_expects_the_same() {
    for seed in 0..60 {
        if let Err(why) = run(seed, decide_policy) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn a_loss_that_lasts_is_accepted_after_a_day_and_not_before() {
    let mut run = Run::new(0, decide_policy);
    run.settle();
    run.pass(SignedDuration::from_hours(1), true);
    run.ready = 3;
    let mut wake = run.settle();
    let lost_at = run.now;
    while run.state.expected[0].accepted.is_none() {
        let due = wake.expect("it goes on");
        run.pass(due.duration_since(run.now), true);
        wake = run.settle();
    }
    assert_eq!(run.now.duration_since(lost_at), ACCEPTED_AFTER);
}

/// The window goes on while a rule is true, or the number is not known.
fn never_stands_still(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    decision.next.expected.iter_mut().for_each(|expected| expected.frozen_since = None);
    decision
}

/// The window stands still for ever once it does.
fn never_goes_on(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    let frozen =
        facts.state.iter().flat_map(|state| &state.expected).find_map(|expected| expected.frozen_since);
    for expected in decision.next.expected.iter_mut().filter(|expected| expected.frozen_since.is_none()) {
        expected.frozen_since = frozen;
    }
    decision
}

/// The window ages while nobody watches.
fn ages_alone(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let facts = PolicyFacts { unwatched: SignedDuration::ZERO, ..facts.clone() };
    decide_policy(&facts, rules, now)
}

/// Nothing leaves the window.
fn never_ages(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let facts = PolicyFacts { unwatched: SignedDuration::MAX, ..facts.clone() };
    decide_policy(&facts, rules, now)
}

/// The window forgets what was there.
fn sees_only_the_present(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    for expected in &mut decision.next.expected {
        expected.peaks = expected.peaks.pop().into_iter().collect();
    }
    decision
}

/// What cannot be judged counts as sick.
fn unknown_is_sick(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    decide_policy(&with_unknown_as(facts, "unhealthy"), rules, now)
}

/// What cannot be judged counts as healthy.
fn unknown_is_healthy(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    decide_policy(&with_unknown_as(facts, "healthy"), rules, now)
}

/// One object that cannot be judged blinds the signal.
fn unknown_is_blind(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut facts = facts.clone();
    if unknown(&facts) > 0 {
        let reading = Reading::Unknown { reason: "Doubt".to_owned(), detail: "one is in doubt".to_owned() };
        facts.signals.insert("models".to_owned(), reading);
    }
    decide_policy(&facts, rules, now)
}

fn count(facts: &PolicyFacts, field: &str) -> i64 {
    let Some(Reading::Known { values }) = facts.signals.get("models") else { return 0 };
    values.get(field).and_then(|value| serde_json::to_value(value).ok()?.as_i64()).unwrap_or(0)
}

fn unknown(facts: &PolicyFacts) -> i64 {
    count(facts, "unknown")
}

fn with_unknown_as(facts: &PolicyFacts, field: &str) -> PolicyFacts {
    let mut counts: Vec<(&str, i64)> = ["total", "idle", "healthy", "unhealthy"]
        .into_iter()
        .map(|name| (name, count(facts, name)))
        .collect();
    for (name, value) in &mut counts {
        *value += if *name == field { unknown(facts) } else { 0 };
    }
    let mut facts = facts.clone();
    facts.signals.insert("models".to_owned(), reading(&counts));
    facts
}

#[test]
fn every_mutant_of_what_is_expected_is_caught() {
    let mutants: [(&str, DecidePolicy); 8] = [
        ("never stands still", never_stands_still),
        ("never goes on", never_goes_on),
        ("ages alone", ages_alone),
        ("never ages", never_ages),
        ("sees only the present", sees_only_the_present),
        ("takes the unknown for sick", unknown_is_sick),
        ("takes the unknown for healthy", unknown_is_healthy),
        ("is blinded by one that is unknown", unknown_is_blind),
    ];
    for (name, mutant) in mutants {
        std::panic::set_hook(Box::new(|_| {}));
        let found = (0..60).find_map(|seed| run(seed, mutant).err());
        let _ = std::panic::take_hook();
        let why = found.unwrap_or_else(|| panic!("{name} was not caught"));
        println!("{name}: {}", why.lines().next().unwrap_or_default());
    }
}
