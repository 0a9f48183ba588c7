//! Expressions that cannot be used: rejected by the schema, or not Accepted with the field named.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    drill::{Drill, message_of, policy_manifest, targets},
    support::object::condition,
};

/// A name, the field that must be named, where to put the expression, and the expression.
type Case = (&'static str, &'static str, &'static str, String);

const WHEN: (&str, &str) = ("spec.severity[0].when", "/spec/severity/0/when");
const HEALTHY: (&str, &str) = ("spec.signals[0].objects.healthy", "/spec/signals/0/objects/healthy");
const WHERE: (&str, &str) =
    ("spec.steps[0].action.cpuFallback.targets.where", "/spec/steps/0/action/cpuFallback/targets/where");
const CHECK: (&str, &str) =
    ("spec.steps[0].verify.checks[0].cel.expression", "/spec/steps/0/verify/checks/0/cel/expression");

fn cases() -> Vec<Case> {
    let case = |name, (field, pointer), expression: &str| (name, field, pointer, expression.to_owned());
    let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    vec![
        case("does-not-compile", WHEN, "signals.alarm.unhealthy >"),
        case("misspells-a-signal", WHEN, "signals.alram.unhealthy > 0"),
        case("misspells-a-field", WHEN, "signals.alarm.unhealty > 0"),
        case("misspells-signals", WHEN, "signal.alarm.unhealthy > 0"),
        case("divides-integers", WHEN, "signals.alarm.unhealthy / 2 > 0"),
        case("takes-a-remainder", WHEN, "signals.alarm.unhealthy % 2 == 1"),
        case("is-no-truth", WHEN, "signals.alarm.unhealthy"),
        case("asks-has", WHEN, "has(signals.alarm.unhealthy)"),
        case("walks-over-signals", WHEN, "signals.alarm.all(field, true)"),
        case("computes-a-name", WHEN, "signals['al' + 'arm'].unhealthy > 0"),
        case("has-a-long-list", WHEN, &format!("{}.exists(x, x == signals.alarm.total)", list(65))),
        case(
            "costs-too-much",
            HEALTHY,
            "[1,2,3].all(a, [1,2,3].all(b, [1,2,3].all(c, object.data.rings == 'no')))",
        ),
        case("where-costs-too-much", WHERE, "[1].all(a, [1].all(b, [1].all(c, healthy)))"),
        case("where-knows-no-signals", WHERE, "signals.alarm.unhealthy > 0"),
        case("healthy-of-healthy", HEALTHY, "healthy"),
        case("check-misspelt", CHECK, "signals.alarm.totl == 1"),
    ]
}

#[tokio::test]
async fn an_expression_that_cannot_be_used_is_not_accepted_and_the_good_policy_beside_it_responds() {
    let drill = Drill::new("s12-cel").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let good = drill.policy().await;
    let mut complaints = String::new();
    let mut bad = Vec::new();
    for (name, field, pointer, expression) in cases() {
        let mut policy = policy_manifest(|_| {});
        policy["metadata"]["name"] = json!(name);
        *policy.pointer_mut(pointer).expect("the drill's policy has it") = json!(expression);
        bad.push((drill.world.apply("mallory", &policy.to_string()).await.remove(0), field));
    }
    for (policy, field) in &bad {
        let refused = policy.wait_until("judged", |policy| condition(policy, "Accepted").is_some()).await;
        let message = message_of(&refused, "Accepted");
        if condition(&refused, "Accepted") != Some("False") || !message.contains(field) {
            let truth = condition(&refused, "Accepted").unwrap_or_default();
            let _ = writeln!(complaints, "{policy}: Accepted={truth}, {field} is not named in {message:?}");
        }
        for (type_, truth) in [("Ready", "False"), ("Stalled", "True")] {
            if condition(&refused, type_) != Some(truth) {
                let _ = writeln!(complaints, "{policy}: {type_} is not {truth}");
            }
        }
    }
    assert_eq!(complaints, "", "{good}");

    let incident = drill.respond(&good).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
    assert!(operator.is_running(), "the operator exited");
}

/// Whether they are accepted does not matter: every program that reads them must survive.
#[tokio::test]
async fn expressions_as_deep_as_they_fit_end_nobody() {
    let drill = Drill::new("s12-deep").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let good = drill.policy().await;
    let nested = |open: &str, middle: &str, close: &str| {
        let times = (1024 - middle.len()) / (open.len() + close.len());
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let deep = [
        ("parentheses", nested("(", "true", ")")),
        ("lists", nested("[", "", "]")),
        ("maps", nested("{1:", "1", "}")),
        ("not", nested("!", "true", "")),
        ("minus", format!("{} > 0", nested("-", "1 > 0", ""))),
        ("choices", nested("true?true:", "true", "")),
        ("sums", format!("{} > 0", nested("1+", "1 > 0 ", ""))),
        ("calls", nested("size(", "''", ")")),
        ("fields", format!("signals{}", nested(".a", "signals", ""))),
        ("quote", format!("'{}", "\\\\".repeat(511))),
    ];
    let mut policies = Vec::new();
    for (name, mut expression) in deep {
        expression.truncate(1024);
        let mut policy = policy_manifest(|spec| {
            spec["severity"][0]["when"] = json!(expression);
            spec["signals"][0]["objects"]["healthy"] = json!(expression);
            spec["steps"] = json!([]);
            spec["mode"] = json!("Observe");
            // If it is accepted, it must not open anything.
            spec["severity"][0]["for"] = json!("1h");
        });
        policy["metadata"]["name"] = json!(name);
        policies.extend(drill.world.apply("mallory", &policy.to_string()).await);
    }
    for policy in &policies {
        policy.wait_until("judged", |policy| condition(policy, "Accepted").is_some()).await;
    }
    let incident = drill.respond(&good).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    assert!(operator.is_running(), "the operator exited");
}

#[tokio::test]
async fn the_schema_refuses_what_is_huge() {
    let drill = Drill::new("s12-huge").await;
    let refused = |edit: fn(&mut Value)| {
        let policy = policy_manifest(edit).to_string();
        let world = &drill.world;
        async move { world.try_apply("mallory", &policy).await.err().map(|error| error.to_string()) }
    };
    let long_when =
        refused(|spec| spec["severity"][0]["when"] = json!("true || ".repeat(128) + "true")).await;
    assert!(long_when.as_ref().is_some_and(|why| why.contains("spec.severity[0].when")), "{long_when:?}");
    let long_where = refused(|spec| targets(spec)["where"] = json!("healthy".repeat(200))).await;
    assert!(long_where.as_ref().is_some_and(|why| why.contains("where")), "{long_where:?}");
    let many_signals = refused(|spec| {
        let alarm = spec["signals"][0].clone();
        let named = |number: usize| {
            let mut signal = alarm.clone();
            signal["name"] = json!(format!("alarm{number}"));
            signal
        };
        spec["signals"] = json!((0..33).map(named).collect::<Vec<_>>());
    })
    .await;
    assert!(many_signals.as_ref().is_some_and(|why| why.contains("spec.signals")), "{many_signals:?}");
    let many_rules = refused(|spec| {
        let rule = |number: usize| json!({"level": "P1", "reason": format!("Rule{number}"), "when": "false"});
        spec["severity"] = json!((0..17).map(rule).collect::<Vec<_>>());
    })
    .await;
    assert!(many_rules.as_ref().is_some_and(|why| why.contains("spec.severity")), "{many_rules:?}");
    let no_duration = refused(|spec| spec["recovery"]["for"] = json!("1 week")).await;
    assert!(no_duration.as_ref().is_some_and(|why| why.contains("spec.recovery.for")), "{no_duration:?}");
}
