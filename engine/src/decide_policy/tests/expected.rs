//! What a policy expects of its signals, from one decision to the next.

use super::*;
use crate::expected::ExpectRequest;

/// A policy with nodes of this selector and a rule that asks for the models, too.
fn watching(selector: &str) -> Rules {
    let policy = serde_json::json!({
        "signals": [
            {"name": "nodes", "nodes": {"selector": {"matchLabels": {"pool": selector}}}},
            {"name": "models", "objects": {"apiVersion": "apps/v1", "kind": "Deployment"}},
        ],
        "severity": [{
            "level": "P0", "reason": "Lost", "for": "30s",
            "when": "signals.nodes.ready * 2 <= signals.nodes.expected && signals.models.unhealthy > 0",
        }],
    });
    Rules::parse(&serde_json::from_value(policy).unwrap()).unwrap()
}

/// A policy that is decided again and again.
struct World {
    rules: Rules,
    state: PolicyState,
    asked: Option<ExpectRequest>,
    created_at: Option<Timestamp>,
    /// The unhealthy models; none if that is not known.
    unhealthy: Option<i64>,
}

fn world() -> World {
    World {
        rules: watching("a"),
        state: PolicyState::default(),
        asked: None,
        created_at: None,
        unhealthy: Some(0),
    }
}

impl World {
    /// Sees so many ready nodes at this second. Returns how many are expected then.
    fn sees(&mut self, ready: i64, second: i64) -> i64 {
        let known = |fields: &[(&str, i64)]| Reading::Known {
            values: fields
                .iter()
                .map(|(field, value)| ((*field).to_owned(), FieldValue::Int(*value)))
                .collect(),
        };
        let stale = Reading::Unknown { reason: "Stale".to_owned(), detail: "no answer".to_owned() };
        let models = self.unhealthy.map_or(stale, |unhealthy| {
            known(&[("total", 4), ("healthy", 4 - unhealthy), ("unhealthy", unhealthy)])
        });
        let facts = PolicyFacts {
            created_at: self.created_at,
            signals: [
                ("nodes".to_owned(), known(&[("total", ready), ("ready", ready)])),
                ("models".to_owned(), models),
            ]
            .into(),
            asked: self.asked.iter().map(|asked| ("nodes".to_owned(), asked.clone())).collect(),
            ..facts(0, self.state.clone())
        };
        self.state = decide_policy(&facts, Some(&self.rules), at(second)).next;
        let window = self.state.expected.iter().find(|expected| expected.signal == "nodes");
        window.map_or(0, |window| window.value)
    }

    fn is_asked(&mut self, value: i64, second: i64) {
        self.asked = Some(ExpectRequest { value, at: at(second) });
    }
}

#[test]
fn a_request_of_a_person_counts_once_whatever_becomes_of_the_signal() {
    let mut world = world();
    assert_eq!(world.sees(8, 0), 8);
    assert_eq!(world.sees(4, 60), 8);
    world.is_asked(4, 70);
    assert_eq!(world.sees(4, 80), 4);
    assert_eq!(world.state.expect_requested_at, Some(at(70)));
    // The annotation is still there when the pool is back and loses nodes again.
    assert_eq!((world.sees(8, 200), world.sees(4, 300)), (8, 8));
    // Nor does it count for a signal that was away for a while.
    let rules = std::mem::replace(&mut world.rules, rules());
    world.sees(8, 400);
    world.rules = rules;
    assert_eq!((world.sees(8, 500), world.sees(4, 600)), (8, 8));
    world.is_asked(4, 610);
    assert_eq!(world.sees(4, 620), 4, "a new request counts");
}

#[test]
fn a_request_that_is_older_than_the_policy_counts_for_nothing() {
    let mut world = World { created_at: Some(at(100)), ..world() };
    world.is_asked(4, 70);
    assert_eq!((world.sees(8, 110), world.sees(4, 120)), (8, 8));
    assert_eq!(world.state.expect_requested_at, None);
}

#[test]
fn other_objects_under_the_same_name_begin_anew() {
    let mut world = world();
    assert_eq!((world.sees(8, 0), world.sees(6, 60)), (8, 8));
    world.rules = watching("b");
    assert_eq!(world.sees(2, 120), 2);
    assert_eq!(world.sees(1, 180), 2);
}

#[test]
fn the_window_stands_still_while_a_rule_that_reads_a_loss_is_unknown() {
    let mut world = world();
    assert_eq!(world.sees(8, 0), 8);
    world.unhealthy = None;
    assert_eq!(world.sees(2, 3_600), 8);
    assert_eq!(world.sees(2, 7_200), 8, "whether it is an outage is not known");
    world.unhealthy = Some(1);
    assert_eq!(world.sees(2, 7_210), 8);
    world.sees(2, 7_240);
    assert!(world.state.rules[0].holds);

    // While it is known to be none, the loss is forgotten.
    let mut world = self::world();
    world.sees(8, 0);
    assert_eq!(world.sees(2, 3_600), 8);
    assert_eq!(world.sees(2, 7_200), 2);
}
