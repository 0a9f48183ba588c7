use serde_json::{Value, json};

use super::*;
use crate::expression::Condition;
use crate::verdict::Verdict;

const START: Timestamp = Timestamp::UNIX_EPOCH;

/// A policy with two signals: alerts with `team="llm"`, and all alerts.
fn rules() -> Rules {
    rules_with(json!([r#"team="llm""#]))
}

fn rules_with(matchers: Value) -> Rules {
    let signals = json!([
        {"name": "llm", "alertmanager": {"receive": {"matchers": matchers}, "severities": {"critical": "P0", "warning": "P2"}}},
        {"name": "all", "alertmanager": {"receive": {}}},
    ]);
    Rules::parse(&serde_json::from_value(json!({"signals": signals})).unwrap()).unwrap()
}

/// What a policy knows, at a time.
struct World {
    rules: Rules,
    known: Vec<ReceivedAlerts>,
    emergency: Emergency,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self { rules: rules(), known: Vec::new(), emergency: Emergency::None, now: START }
    }

    fn hear(&mut self, message: &Message) {
        self.known =
            take_in(&self.known, &self.rules, &News::of(message, &self.rules), self.emergency, self.now);
    }

    fn wait(&mut self, minutes: i64) {
        self.now = after(self.now, SignedDuration::from_mins(minutes));
        self.known = take_in(&self.known, &self.rules, &BTreeMap::new(), self.emergency, self.now);
    }

    fn read(&self, name: &str) -> (Reading, Option<Timestamp>) {
        let signal = self.rules.signals.iter().find(|signal| signal.name == name).unwrap();
        let known = self.known.iter().find(|known| known.signal == name);
        known.map_or((never_heard(), None), |known| known.reading(signal.hearing.unwrap(), self.now))
    }

    /// The counts of a signal as `firing/p0/p2`, or why it is Unknown.
    fn says(&self, name: &str) -> String {
        match self.read(name).0 {
            Reading::Known { values } => {
                let count = |field: &str| crate::signal::count(&values, field).unwrap();
                format!("{}/{}/{}", count("firing"), count("p0"), count("p2"))
            }
            Reading::Unknown { reason, .. } => reason,
        }
    }
}

fn alert(number: usize, state: AlertState, severity: &str) -> SentAlert {
    let labels =
        [("team", "llm"), ("severity", severity)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    SentAlert { fingerprint: fingerprint(number), state, labels: Some(labels.into()) }
}

fn fingerprint(number: usize) -> Fingerprint {
    format!("{number:016x}").parse().unwrap()
}

fn message(alerts: impl IntoIterator<Item = SentAlert>) -> Message {
    Message { alerts: alerts.into_iter().collect(), extent: Extent::Whole }
}

fn firing(numbers: impl IntoIterator<Item = usize>) -> Message {
    message(numbers.into_iter().map(|number| alert(number, AlertState::Firing, "critical")))
}

fn resolved(numbers: impl IntoIterator<Item = usize>) -> Message {
    message(numbers.into_iter().map(|number| alert(number, AlertState::Resolved, "critical")))
}

#[test]
fn an_alert_fires_from_its_message_until_it_is_resolved() {
    let mut world = World::new();
    assert_eq!((world.says("llm"), world.says("all")), ("NotHeard".into(), "NotHeard".into()));
    world.hear(&firing([1, 2]));
    assert_eq!((world.says("llm"), world.says("all")), ("2/2/0".into(), "2/0/0".into()));
    let once = world.known.clone();
    world.hear(&firing([1, 2]));
    assert_eq!(world.known, once, "a replay");
    world.hear(&message([alert(2, AlertState::Firing, "warning")]));
    assert_eq!(world.says("llm"), "2/1/1", "another level");
    world.hear(&resolved([1, 7]));
    assert_eq!(world.says("llm"), "1/0/1");
    world.hear(&resolved([2]));
    assert_eq!(world.says("llm"), "0/0/0");
}

#[test]
fn of_several_messages_the_last_word_on_an_alert_counts() {
    let rules = rules();
    let mut news = News::of(&firing([1, 2]), &rules);
    for later in [resolved([1]), firing([3]), resolved([2]), firing([2])] {
        for (signal, later) in News::of(&later, &rules) {
            news.get_mut(&signal).unwrap().absorb(later);
        }
    }
    assert_eq!(news["llm"].len(), 3);
    let known = take_in(&[], &rules, &news, Emergency::None, START);
    let names: Vec<Fingerprint> = known[0].firing.iter().map(|alert| alert.fingerprint).collect();
    assert_eq!(names, [fingerprint(2), fingerprint(3)]);
}

#[test]
fn an_alert_that_matches_nothing_shows_that_alertmanager_is_there() {
    let mut world = World::new();
    world.hear(&message([SentAlert {
        labels: Some(BTreeMap::new()),
        ..alert(1, AlertState::Firing, "none")
    }]));
    assert_eq!((world.says("llm"), world.says("all")), ("0/0/0".into(), "1/0/0".into()));
}

#[test]
fn what_was_not_heard_for_max_age_is_unknown_and_never_resolved() {
    let mut world = World::new();
    world.hear(&firing([1, 2]));
    let (_, changes_at) = world.read("llm");
    assert_eq!(changes_at, Some(after(START, SignedDuration::from_hours(5))));
    world.wait(4 * 60);
    world.hear(&firing([1]));
    assert_eq!(world.says("llm"), "2/2/0");
    world.wait(60);
    assert_eq!(world.says("llm"), "1/1/0", "the second was not repeated");
    let truth = |world: &World, when: &str| {
        let Reading::Known { values } = world.read("llm").0 else { panic!("it is Unknown") };
        let shapes = world.rules.signals.iter().map(|it| (it.name.clone(), it.kind.kind().shape())).collect();
        let readings = [("llm".to_owned(), values)].into();
        crate::expression::Condition::parse(when, &shapes).unwrap().evaluate(&readings).verdict
    };
    use crate::verdict::Verdict::{False, True, Unknown};
    for (when, expected) in [
        ("signals.llm.p0 > 0", True),
        ("signals.llm.p0 > 1", Unknown),
        ("signals.llm.p0 > 2", False),
        ("signals.llm.p0 == 0", False),
        ("signals.llm.firing > 0 && signals.llm.p2 == 0", True),
        ("signals.llm.firing == signals.llm.p0", Unknown),
    ] {
        assert_eq!(truth(&world, when), expected, "{when}");
    }
    assert!(world.read("llm").1.is_some_and(|at| at > world.now), "and the first, later");
    world.hear(&resolved([2]));
    assert_eq!(world.says("llm"), "1/1/0");
    world.hear(&resolved([1]));
    world.wait(5 * 60);
    assert_eq!(world.says("llm"), "Stale", "nothing is heard at all");
    world.hear(&firing([3]));
    assert_eq!(world.says("llm"), "1/1/0");
}

#[test]
fn a_repetition_is_recorded_once_in_a_sixteenth_of_max_age() {
    let mut world = World::new();
    world.hear(&firing([1]));
    let mut writes = 0;
    for _ in 0..5 * 60 {
        let before = world.known.clone();
        world.wait(1);
        world.hear(&firing([1]));
        writes += usize::from(world.known != before);
    }
    assert!((14..=16).contains(&writes), "{writes}");
    assert_eq!(world.says("llm"), "1/1/0");
}

#[test]
fn what_does_not_fit_may_fire_until_everything_was_repeated() {
    let mut world = World::new();
    world.hear(&firing(0..MOST));
    assert_eq!(world.says("llm"), "256/256/0");
    world.hear(&firing([MOST]));
    assert_eq!(world.says("llm"), "TooManyAlerts");
    assert_eq!(world.known[0].firing.len(), MOST);
    world.hear(&resolved(0..MOST));
    assert_eq!(world.says("llm"), "TooManyAlerts", "one of which nothing is known may fire");
    world.wait(4 * 60);
    world.hear(&firing([MOST]));
    assert_eq!(world.says("llm"), "TooManyAlerts");
    assert_eq!(world.read("llm").1, Some(after(START, SignedDuration::from_hours(5))));
    world.wait(60);
    assert_eq!(world.says("llm"), "1/1/0");
    assert_eq!(world.known[0].partial, None);
}

#[test]
fn a_message_that_was_cut_leaves_the_signal_unknown() {
    let mut world = World::new();
    world.hear(&Message { extent: Extent::Truncated, ..firing([1]) });
    assert_eq!(world.says("llm"), "TruncatedAlerts");
    let Reading::Unknown { detail, .. } = world.read("llm").0 else { panic!("it is known") };
    assert!(detail.contains("max_alerts") && detail.contains("again 5h (maxAge)"), "{detail}");
    world.wait(4 * 60);
    world.hear(&firing([1]));
    world.wait(60);
    assert_eq!(world.says("llm"), "1/1/0");
}

#[test]
fn a_message_that_was_too_long_leaves_the_signal_unknown_and_ends_nothing() {
    let mut world = World::new();
    world.hear(&firing([1]));
    world.hear(&Message { extent: Extent::Oversized, ..message([]) });
    assert_eq!(world.says("llm"), "OversizedMessage");
    assert_eq!(world.known[0].firing.len(), 1);
}

/// Whether a rule over the signal has a truth.
fn verdict(world: &World, when: &str) -> Verdict {
    let Reading::Known { values } = world.read("llm").0 else { panic!("it is Unknown") };
    let condition = Condition::parse(when, &world.rules.shapes()).unwrap();
    condition.evaluate(&[("llm".to_owned(), values)].into()).verdict
}

#[test]
fn an_alert_that_cannot_be_read_hides_no_other_and_leaves_open_what_depends_on_it() {
    let mut world = World::new();
    let unreadable = |number, state| SentAlert { labels: None, ..alert(number, state, "none") };
    let fires = || unreadable(9, AlertState::Firing);
    world.hear(&message([fires()]));
    assert_eq!(world.says("llm"), "0/0/0");
    assert_eq!(verdict(&world, "signals.llm.p0 > 0"), Verdict::Unknown);
    assert_eq!(verdict(&world, "signals.llm.firing < 2"), Verdict::True, "it is one");
    world.hear(&message([fires(), alert(1, AlertState::Firing, "critical")]));
    assert_eq!(verdict(&world, "signals.llm.p0 > 0"), Verdict::True);
    world.hear(&resolved([1]));
    assert_eq!(verdict(&world, "signals.llm.p0 > 0"), Verdict::Unknown, "the other one may fire");
    world.hear(&message([unreadable(9, AlertState::Resolved)]));
    assert_eq!(verdict(&world, "signals.llm.p0 > 0"), Verdict::False);
    world.hear(&firing([2]));
    world.hear(&message([unreadable(2, AlertState::Firing)]));
    assert_eq!(world.says("llm"), "1/1/0", "it was read before");
    world.hear(&message([unreadable(2, AlertState::Resolved)]));
    assert_eq!(world.says("llm"), "0/0/0");
    world.hear(&message([fires()]));
    world.wait(4 * 60);
    world.hear(&message([]));
    world.wait(60);
    assert_eq!(verdict(&world, "signals.llm.p0 > 0"), Verdict::False, "it was not repeated for maxAge");
    assert_eq!(world.known[0].unreadable, []);
    world.hear(&message((0..99).map(|number| unreadable(number, AlertState::Firing))));
    assert_eq!(world.says("llm"), "TooManyAlerts");
}

#[test]
fn an_edit_of_the_signal_resolves_nothing() {
    let mut world = World::new();
    world.hear(&firing([1]));
    world.rules = rules_with(json!([r#"team=~"llm|vllm""#]));
    world.wait(0);
    assert_eq!((world.says("llm"), world.says("all")), ("SignalEdited".into(), "1/0/0".into()));
    world.hear(&message([]));
    assert_eq!(world.says("llm"), "SignalEdited", "another message says nothing about it");
    world.wait(4 * 60);
    world.hear(&firing([1]));
    world.wait(60);
    assert_eq!(world.says("llm"), "1/1/0");
    world.hear(&resolved([1]));
    world.rules = rules();
    world.wait(0);
    assert_eq!(world.says("llm"), "0/0/0", "nothing fired when it was edited back");
}

#[test]
fn while_an_incident_is_open_a_list_that_begins_empty_is_not_the_whole_one() {
    let mut world = World::new();
    world.emergency = Emergency::Open;
    world.hear(&message([]));
    assert_eq!(world.says("llm"), "HeardSinceShortly");
    world.rules = rules_with(json!([]));
    world.wait(0);
    assert_eq!(world.says("llm"), "SignalEdited", "alerts may match now that did not before");
    world.wait(4 * 60);
    world.hear(&firing([1]));
    world.wait(60);
    assert_eq!(world.says("llm"), "1/1/0", "everything that fires was repeated");
    world.rules = rules();
    world.wait(0);
    assert_eq!(world.says("llm"), "SignalEdited");
}

#[test]
fn news_for_a_signal_as_it_was_before_an_edit_is_dropped() {
    let before = rules();
    let news = News::of(&firing([1]), &before);
    let known = take_in(&[], &rules_with(json!([])), &news, Emergency::None, START);
    assert_eq!(known.iter().map(|known| known.signal.as_str()).collect::<Vec<_>>(), ["all"]);
}

#[test]
fn a_status_that_is_stored_and_read_again_is_the_same() {
    let mut world = World::new();
    world.hear(&firing([1, usize::MAX]));
    let stored = serde_json::to_value(&world.known).unwrap();
    assert_eq!(stored[0]["firing"][0]["fingerprint"], "0000000000000001");
    assert_eq!(stored[0]["firing"][1]["heardAt"], "1970-01-01T00:00:00Z");
    assert_eq!(serde_json::from_value::<Vec<ReceivedAlerts>>(stored).unwrap(), world.known);
    for bad in ["", "1", "000000000000000g", "00000000000000001", "+000000000000001"] {
        assert_eq!(bad.parse::<Fingerprint>(), Err(NotAFingerprint), "{bad}");
    }
}

#[test]
fn the_status_of_a_policy_has_room_for_the_alerts_of_its_signals() {
    let signal = |at: usize| json!({"name": format!("s{at}"), "alertmanager": {"receive": {}}});
    let spec = |count: usize| json!({"signals": (0..count).map(signal).collect::<Vec<_>>()});
    let parse = |count| Rules::parse(&serde_json::from_value(spec(count)).unwrap());
    let faults = parse(MOST_SIGNALS + 1).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].field, "spec.signals[8].alertmanager.receive");
    let rules = parse(MOST_SIGNALS).unwrap();
    let known = take_in(&[], &rules, &News::of(&firing(0..MOST), &rules), Emergency::None, START);
    let bytes = serde_json::to_vec(&known).unwrap().len();
    assert!(bytes < 200 * 1024, "{bytes} bytes");
}
